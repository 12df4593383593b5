"""JSON decoders that threads may ask for at the same time.

msgspec (0.22) learns a struct's fields when a type is first used. Threads that do this at once, for
types that share a struct, crash the interpreter; using a decoder that is made is safe.
"""

from threading import Lock
from typing import Any

import msgspec

_decoders: dict[Any, "msgspec.json.Decoder[Any]"] = {}
_making = Lock()


def decoder(document_type: Any) -> "msgspec.json.Decoder[Any]":
    """The decoder of a type, made once per process."""
    with _making:
        if document_type not in _decoders:
            _decoders[document_type] = msgspec.json.Decoder(document_type)
        return _decoders[document_type]

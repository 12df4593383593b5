"""Everything read from one target at one moment.

An inventory is immutable, knows what it could not read, and is the only thing
that passes from `targets` to `model`. Its file form is the snapshot format: typed
documents hold only the fields that the model uses, so environment values and
secret data are dropped while decoding and can never reach a file.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from pytest_containerpolicy.errors import UsageError

Platform = Literal["docker", "compose", "swarm", "kubernetes"]
FORMAT = "containerpolicy-inventory/1"
EVERY_KIND = "*"


class Unreadable(Struct, frozen=True):
    """A kind (of one namespace, or of all) that could not be read, and why.

    `kind` is `EVERY_KIND` when what is missing may have been of any kind: a file
    with a syntax error, for example. `needs` is the right or tool that is missing.
    """

    kind: str
    reason: str
    namespace: str | None = None
    needs: str = ""

    def __str__(self) -> str:
        place = f" in namespace {self.namespace}" if self.namespace else ""
        needs = f": needs {self.needs}" if self.needs else ""
        subject = "" if self.kind == EVERY_KIND else f"{self.kind}{place}: "
        return f"{subject}{self.reason}{needs}"


class CustomResource(Struct, frozen=True, kw_only=True):
    """An object of a kind that the model does not read: what it makes, its operator knows."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Header(Struct, frozen=True, kw_only=True):
    """What an inventory says of itself, besides its documents.

    `custom_resources` are those of files; live, what they made is there to be read.
    """

    format: str = FORMAT
    target: str
    platform: Platform
    version: str = ""
    taken_at: str = ""
    seconds: float = 0.0
    objects: int = 0
    live: bool = True
    complete: bool = True
    notes: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    custom_resources: tuple[CustomResource, ...] = ()


class _File(Struct):
    header: Header
    documents: dict[str, Raw]


class Inventory:
    """The documents of one target by kind, decoded when first asked for."""

    def __init__(self, header: Header, documents: Mapping[str, Sequence[Any]]) -> None:
        self.header = header
        self._documents: dict[str, Sequence[Any] | Raw] = dict(documents)

    def documents(self, kind: str) -> Sequence[Any]:
        """The documents of a kind, such as `deployments`; empty when there are none."""
        found = self._documents.get(kind, ())
        if isinstance(found, Raw):
            decoded = self._documents[kind] = _decode(self.header.platform, kind, found)
            return decoded
        return found

    @property
    def kinds(self) -> list[str]:
        """The kinds that were read, sorted."""
        return sorted(self._documents)

    def with_header(self, header: Header) -> "Inventory":
        """The same documents under another header."""
        inventory = Inventory(header, {})
        inventory._documents = self._documents
        return inventory

    def __len__(self) -> int:
        return sum(len(self.documents(kind)) for kind in self._documents)

    def to_bytes(self) -> bytes:
        """This inventory as JSON, one document a line, ready for `from_bytes`."""
        kinds = {kind: _encode_lines(self.documents(kind)) for kind in self.kinds}
        return msgspec.json.encode(_File(self.header, kinds))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "Inventory":
        """Read what `to_bytes` wrote; `name` is used in errors.

        Raises `UsageError` if the content is not an inventory of this version.
        """
        try:
            file = msgspec.json.decode(content, type=_File)
        except msgspec.DecodeError as error:
            raise UsageError(f"{name}: not a containerpolicy snapshot: {error}") from None
        if file.header.format != FORMAT:
            raise UsageError(
                f"{name}: snapshot format {file.header.format!r}, this version reads {FORMAT!r}:"
                " take the snapshot again with `containerpolicy snapshot`"
            )
        inventory = cls(file.header, {})
        inventory._documents = dict(file.documents)
        return inventory

    def save(self, path: Path) -> None:
        """Write the snapshot, readable by its owner only, in one step."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.touch(mode=0o600)
        partial.write_bytes(self.to_bytes())
        partial.replace(path)


def _encode_lines(documents: Iterable[Any]) -> Raw:
    # One document a line keeps a committed snapshot reviewable as a diff.
    lines = b",\n".join(msgspec.json.encode(document) for document in documents)
    return Raw(b"[" + lines + b"]")


def _decode(platform: Platform, kind: str, content: Raw) -> list[Any]:
    from pytest_containerpolicy.targets.documents import document_type

    list_type: Any = list[document_type(platform, kind)]  # type: ignore[misc]
    try:
        documents: list[Any] = msgspec.json.decode(content, type=list_type)
    except msgspec.DecodeError as error:
        raise UsageError(f"snapshot: {kind}: {error}") from None
    return documents

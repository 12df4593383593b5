"""How much disk a container's log can take.

https://docs.docker.com/engine/logging/drivers/json-file/ and .../local/: only these two drivers
keep a log on the engine's disk and bound it. Their sizes are decimal: `10m` is 10,000,000 bytes.
"""

import re
from collections.abc import Mapping

from pytest_containerpolicy.errors import UsageError

_SIZE = re.compile(r"(?i)([0-9]*\.?[0-9]+) ?([kmgtp]?)i?b?")
_LOCAL = {"max-size": "20m", "max-file": "5"}


def log_limit(driver: str, options: Mapping[str, object]) -> int | None:
    """The most bytes that a log driver keeps of one container; None is without bound or not here.

    `json-file` is unbounded unless `max-size` is set, and keeps one file unless `max-file` says
    otherwise; `local` keeps five files of 20 MB. Raises `UsageError` for a size that is none.
    """
    if driver not in ("", "json-file", "local"):
        return None
    settings = (_LOCAL if driver == "local" else {}) | dict(options)
    size = str(settings.get("max-size") or "")
    # The drivers take -1 for "without bound".
    if not size or size == "-1":
        return None
    limit = _decimal_bytes(size) * int(str(settings.get("max-file") or 1))
    # The drivers refuse a size or a number of files that is not positive: it bounds nothing.
    return limit if limit > 0 else None


def _decimal_bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"max-size: {text!r} is not a size such as 10m")
    return int(float(match[1]) * 1000 ** " kmgtp".index(match[2].lower() or " "))

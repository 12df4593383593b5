"""Byte values and durations as Compose writes them.

https://github.com/compose-spec/compose-spec/blob/main/11-extension.md#specifying-byte-values
"""

import re

from pytest_containerpolicy.errors import UsageError

_SIZE = re.compile(r"(?i)(\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?) ?([kmgtp](?:i?b)?|b)?")
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[hmsdw]|ms|[uµμn]s))+)")
_DURATION_PART = re.compile(r"([0-9]*\.?[0-9]*)(ms|us|µs|μs|ns|[hmsdw])")
_SECONDS = {
    "w": 604800.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}


def compose_bytes(value: float | str) -> int:
    """A Compose byte value: `"512m"` is 512 MiB, a bare number is bytes.

    Raises `UsageError` for text that is not a byte value.
    """
    if not isinstance(value, str):
        return int(value)
    match = _SIZE.fullmatch(value)
    if match is None:
        raise UsageError(f"{value!r} is not a size such as 512m, 1gb or 1073741824")
    return int(float(match[1]) * 1024 ** "bkmgtp".index((match[2] or "b")[0].lower()))


def compose_seconds(value: float | str) -> float:
    """A Compose duration: `"1m30s"` is 90.0; a number is seconds.

    Raises `UsageError` for text that is not a duration.
    """
    if not isinstance(value, str):
        return float(value)
    if not _DURATION.fullmatch(value):
        raise UsageError(f"{value!r} is not a duration such as 10s, 1m30s or 500ms")
    parts = _DURATION_PART.findall(value)
    total = sum((float(number) * _SECONDS[unit] for number, unit in parts), 0.0)
    return -total if value.startswith("-") else total

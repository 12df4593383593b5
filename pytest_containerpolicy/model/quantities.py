"""Amounts as numbers: bytes, cores and seconds.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Those of Compose are read in `targets`, which checks them while reading files.
"""

import math
import re
from decimal import Decimal
from functools import lru_cache

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.compose_values import compose_bytes as compose_bytes
from pytest_containerpolicy.targets.compose_values import compose_seconds as compose_seconds

_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}
_BINARY = {unit + "i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", start=1)}
_KUBERNETES = _DECIMAL | _BINARY
# Either an exponent or a unit: `1E` is an exa, `1E3` a thousand, `1e3Mi` is nothing.
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i))?"
)


def quantity(value: float | str) -> float:
    """A Kubernetes quantity as a number: `"500m"` is 0.5, `"256Mi"` is 268435456.

    Raises `UsageError` for text that is not a quantity.
    """
    return float(_exact(value)) if isinstance(value, str) else value


def whole_bytes(value: float | str) -> int:
    """A Kubernetes quantity of bytes, fractions rounded up as the API does."""
    return math.ceil(_exact(value) if isinstance(value, str) else value)


@lru_cache(maxsize=4096)
def _exact(text: str) -> Decimal:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a quantity such as 500m, 1.5, 256Mi or 1G")
    number, exponent, unit = match.groups()
    return Decimal(number + (exponent or "")) * _KUBERNETES[unit or ""]


def human_bytes(value: float) -> str:
    """Bytes for people, exact where a binary unit divides them: `268435456` is `256Mi`."""
    size, unit = float(value), ""
    for bigger in ("Ki", "Mi", "Gi", "Ti", "Pi"):
        if size < 1024:
            break
        size, unit = size / 1024, bigger
    return f"{size:.4g}{unit or ' bytes'}"


def human_seconds(value: float) -> str:
    """Seconds for people: `30.0` is `30 s`."""
    return f"{value:g} s"

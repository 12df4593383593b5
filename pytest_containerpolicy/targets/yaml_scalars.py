"""Plain YAML scalars as the API server's tools read them.

YAML 1.1 booleans, no base-60 numbers, timestamps are text: what sigs.k8s.io/yaml makes of them
(https://github.com/yaml/go-yaml/blob/v2.4.4/resolve.go).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

STR, INT, FLOAT, BOOL, NULL, MERGE, SEQ, MAP = (
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "merge", "seq", "map")
)
# The first characters of every plain scalar that may be something else than text.
NOT_TEXT = frozenset("yYnNtTfFoO~+-.0123456789<")
_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@lru_cache(maxsize=4096)
def plain_tag(value: str) -> str:
    """The tag of a plain scalar."""
    if value in _NULLS:
        return NULL
    if value in _TRUE or value in _FALSE:
        return BOOL
    if value == "<<":
        return MERGE
    digits = value.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return INT
    return FLOAT if _DECIMAL.fullmatch(digits) or _INFINITE.fullmatch(value) else STR


def _integer(value: str) -> int:
    digits = value.replace("_", "")
    leading_zero = digits.lstrip("+-")[:2]
    return int(digits, 8 if leading_zero.isdigit() and leading_zero[0] == "0" else 0)


def _decimal(value: str) -> float:
    number = float(value.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    # The API server gets JSON, which has one kind of number: `replicas: 3.0` is 3.
    return int(number) if number.is_integer() else number


# What turns the text of a scalar into its value, by tag; text needs nothing.
CONVERTERS: dict[str, Callable[[str], Any]] = {
    INT: _integer,
    FLOAT: _decimal,
    BOOL: _TRUE.__contains__,
    NULL: lambda _: None,
}

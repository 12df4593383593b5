"""Kubernetes quantities as numbers, by the API's own rules."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.quantities import (
    human_bytes,
    human_seconds,
    quantity,
    whole_bytes,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("500m", 0.5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5),
        ("+2", 2),
        ("-1", -1),
        ("100n", 1e-7),
        ("2u", 2e-6),
        ("1k", 1000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("12e-1", 1.2),
        ("1Ki", 1024),
        ("1.5Gi", 1610612736),
        (2, 2),
        (0.25, 0.25),
    ],
)
def test_quantities_are_numbers(text: str | float, expected: float) -> None:
    """Decimal and binary units, exponents, and plain numbers as YAML gives them."""
    assert expected == quantity(text)


@pytest.mark.parametrize(
    "text", ["", "m", "1.2.3", "1e3Mi", "256MB", "1 Gi", " 1", "1K", "0x10", "1e", "--1", "\u0661"]
)
def test_what_the_api_refuses_is_refused(text: str) -> None:
    """No guess at what may have been meant: the error shows the text and what is allowed."""
    with pytest.raises(UsageError) as caught:
        quantity(text)

    assert f"{text!r} is not a quantity such as 500m, 1.5, 256Mi or 1G" == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1500m", 2), ("0.1", 1), ("256Mi", 268435456), (1.5, 2), (7, 7)],
)
def test_bytes_are_whole(text: str | float, expected: int) -> None:
    """Fractions of a byte round up."""
    assert expected == whole_bytes(text)


def test_bytes_are_exact() -> None:
    """A number that a float can't hold keeps its last digit."""
    assert 9007199254740993 == whole_bytes("9007199254740993")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (268435456, "256Mi"),
        (1610612736, "1.5Gi"),
        (2**60, "1024Pi"),
    ],
)
def test_bytes_for_people(value: float, expected: str) -> None:
    """In the largest binary unit that keeps the number above one."""
    assert expected == human_bytes(value)


def test_seconds_for_people() -> None:
    """Without needless digits."""
    assert ("30 s", "0.5 s") == (human_seconds(30.0), human_seconds(0.5))

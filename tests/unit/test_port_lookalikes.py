"""Forwarders told from other programs by what they answer."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.experiments.port_lookalikes import is_alike


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ((b"a", b"a"), b"a", True),
        ((b"a", b"b"), b"b", True),
        ((b"a", b"a"), b"c", False),
        ((b"a", b"a"), b"", False),
        ((b"", b""), b"c", False),
        ((b"", b""), b"", None),
        ((b"a", b"b"), b"c", None),
        ((b"a", b"b"), b"", None),
    ],
)
def test_is_alike(own: tuple[bytes, bytes], other: bytes, expected: bool | None) -> None:
    """Only what a container always answers shows that another answer is not its own."""
    assert expected is is_alike(own, other)

"""Whether a course of replacements gets on, by a clock that the test sets."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.experiments import headway
from pytest_containerpolicy.experiments.headway import Headway

PATIENCE = 10.0


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which headway is told."""
    found = Clock()
    monkeypatch.setattr(headway, "time", found)
    return found


def _ended_after(clock: Clock, found: Headway, *states: tuple[int, ...]) -> float | None:
    """When it stood still, if these states come round every second, the last one for good."""
    for second in range(200):
        clock.now = float(second)
        if found.stands_still(states[min(second, len(states) - 1)], PATIENCE):
            return clock.now
    return None


def test_standing_still(clock: Clock) -> None:
    """Patience begins anew with each new best."""
    assert 13.0 == _ended_after(clock, Headway(1000), (0, 2), (1, 1), (1, 2))


def test_flapping_is_no_headway(clock: Clock) -> None:
    """What goes to and fro reaches nothing that was not reached before."""
    flapping = [(1, 1), (1, 2)] * 100
    assert 12.0 == _ended_after(clock, Headway(1000), *flapping)


def test_what_matters_more_comes_first(clock: Clock) -> None:
    """One more pod that is gone is headway, though fewer are ready than before."""
    assert 12.0 == _ended_after(clock, Headway(1000), (0, 3), (1, 0))


def test_steps_without_an_end(clock: Clock) -> None:
    """All of it together may take no longer than its bound."""
    steps = [(number,) for number in range(100)]
    assert 31.0 == _ended_after(clock, Headway(30), *steps)

"""Whether a course of replacements still gets on, or only goes back and forth."""

import time


class Headway:
    """Counts as getting on what was never reached before, within a bound for the whole course.

    `at_most` are the seconds that all of it may take, as many a step may take a little.
    """

    def __init__(self, at_most: float) -> None:
        self._begun = self._moved = time.monotonic()
        self._at_most = at_most
        self._best: tuple[int, ...] = ()

    def stands_still(self, state: tuple[int, ...], patience: float) -> bool:
        """Whether nothing was reached for `patience` seconds, or all has taken too long.

        `state` are counts, those first that matter more: a probe that flaps moves the last of them
        to and fro, which is no headway.
        """
        now = time.monotonic()
        if state > self._best:
            self._best, self._moved = state, now
        return now - self._moved > patience or now - self._begun > self._at_most

"""What a measurement allows to say of availability, and what breaks a budget of failures."""

from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.measurement import Measurement

# An outage hides only in a span in which the prober itself was held up: short ones hide short ones,
# and many of them hide many.
_BLIND_SECONDS = 1.0
_BLIND_SHARE = 0.2


class Budget(Struct, frozen=True):
    """How many requests may fail, and for how many ms at a stretch; None is without bound."""

    failed: int = 0
    longest_gap_ms: float | None = None

    def is_broken(self, measurement: Measurement) -> bool:
        """Whether clients noticed more than they may."""
        return measurement.failed > self.failed or self._gap_is_broken(measurement)

    def _gap_is_broken(self, measurement: Measurement) -> bool:
        longest = self.longest_gap_ms
        return longest is not None and measurement.longest_gap_ms > longest

    def violations(self, measurement: Measurement, path: str, why: str) -> Iterator[Violation]:
        """What clients noticed, if it is more than they may."""
        if measurement.failed > self.failed:
            yield Violation(
                found=failures_text(measurement),
                wanted=f"at most {self.failed}" if self.failed else "none",
                path=path,
                why=why,
            )
        elif self._gap_is_broken(measurement):
            yield Violation(
                found=f"nobody was served for {measurement.longest_gap_ms:.0f} ms",
                wanted=f"at most {self.longest_gap_ms:g} ms",
                path=path,
                why=why,
            )


def failures_text(measurement: Measurement) -> str:
    """Totals and classes in one line."""
    classes = ", ".join(f"{count} {name}" for name, count in measurement.failures.items())
    return (
        f"{measurement.failed} of {measurement.requests} requests failed ({classes}),"
        f" for {measurement.longest_gap_ms:.0f} ms at the longest"
    )


class Caveats(Struct, frozen=True):
    """What a viewpoint can't see (`unseen`), and which failures there may be no fault (`doubtful`).

    `doubtful` is about answers with a status: others are failures whatever was asked for.
    """

    unseen: str = ""
    doubtful: str = ""

    def require_conclusive(self, measurement: Measurement, budget: Budget) -> None:
        """Raise `CannotLook` if neither a pass nor a failure follows from a measurement."""
        if not budget.is_broken(measurement):
            self._require_sight(measurement)
            return
        answered = sum(n for name, n in measurement.failures.items() if name.isdigit())
        if self.doubtful and measurement.failed - answered <= budget.failed:
            raise CannotLook(f"{failures_text(measurement)}: {self.doubtful}")

    def _require_sight(self, measurement: Measurement) -> None:
        passed = f"{measurement.failed} of {measurement.requests} requests failed"
        if self.unseen:
            raise CannotLook(f"{passed} {measurement.vantage}, but {self.unseen}")
        if held_up := _held_up(measurement):
            raise CannotLook(
                f"{passed}, but the prober itself {held_up}:"
                " measure at a lower rate, or when less is going on"
            )


def _held_up(measurement: Measurement) -> str:
    """How much of a measurement its prober missed; empty if next to nothing."""
    longest = max((span.end - span.begin for span in measurement.blind), default=0.0)
    if longest > _BLIND_SECONDS:
        return f"was held up for {longest:.1f} s at a stretch"
    blind = measurement.blind_ms / 1e3
    if blind > _BLIND_SHARE * measurement.duration:
        return f"was held up for {blind:.1f} of {measurement.duration:.1f} s in all"
    due = len(measurement.ticks)
    if measurement.unsent > _BLIND_SHARE * due:
        return f"did not send {measurement.unsent} of {due} requests"
    return ""

"""How copies of a workload were replaced, whatever the platform: what was seen of them."""

from msgspec import Struct


class Stop(Struct, frozen=True, kw_only=True):
    """How one old copy stopped: seconds from being told to, exit codes by container.

    `codes` lacks what was not seen. `killed`: it did not end by itself within its grace period.
    `told` is when that was seen to begin, by the monotonic clock, where several stop in turn.
    """

    name: str
    seconds: float
    codes: dict[str, int]
    killed: bool = False
    told: float | None = None

    def __str__(self) -> str:
        codes = "/".join(str(code) for code in self.codes.values()) or "not seen"
        return f"exit {codes} after {self.seconds:.1f} s"


class Replacement(Struct, frozen=True, kw_only=True):
    """What a platform did to replace all copies of a workload.

    `seconds` until the last new copy was ready and the last old one gone. `fewest_ready` copies
    were ready at the worst moment, none at all for `without_ready` seconds. `reasons` say why it
    is not `completed`.
    """

    seconds: float
    copies: int
    completed: bool
    stops: tuple[Stop, ...] = ()
    fewest_ready: int | None = None
    without_ready: float = 0
    reasons: tuple[str, ...] = ()

    @property
    def stops_text(self) -> str:
        """How the old copies stopped, in one line; empty if none was seen to."""
        if not self.stops:
            return ""
        times = sorted(stop.seconds for stop in self.stops)
        killed = sum(stop.killed for stop in self.stops)
        by_force = f", {killed} of {len(times)} killed after the grace period" if killed else ""
        return f"old ones ended after {times[0]:.1f} to {times[-1]:.1f} s{by_force}"

    def __str__(self) -> str:
        end = "" if self.completed else ", not completed"
        return f"{self.seconds:.1f} s, {self.copies} replaced{end}"


class BadRevision(Struct, frozen=True, kw_only=True):
    """What a revision that never gets ready did to the copies of a workload.

    `before` copies were ready, and `fewest_ready` at the worst moment until it was taken back;
    none at all for `without_ready` seconds. `stuck` is why it does not come up, in the platform's
    words. `stops` are those of the old copies that made way for it. `lasting` says what stays lost
    until somebody acts, on a platform that may take a bad revision back by itself.
    """

    before: int
    fewest_ready: int
    stuck: str
    without_ready: float = 0
    stops: tuple[Stop, ...] = ()
    lasting: str = ""

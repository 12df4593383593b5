"""How one instance of a workload stopped when it was told to, whatever the platform."""

from msgspec import Struct

from pytest_containerpolicy.experiments.replacement import Stop

KILLED = 137


class GracefulStop(Struct, frozen=True):
    """What became of one instance that was told to stop, and of a request that it had open.

    `grace` is how many seconds it had. `request` is None where none was open, empty where it was
    answered, else what went wrong with it. `back` are the seconds until another one was ready.
    """

    workload: str
    grace: float
    stop: Stop
    request: str | None
    back: float

    def __str__(self) -> str:
        how = f"killed, {self.stop}" if self.stop.killed else str(self.stop)
        lines = [f"stop of {self.workload}: {self.stop.name}: {how} of {self.grace:g} s grace"]
        if self.request is None:
            lines.append("  no request was held open meanwhile: give slow_path")
        else:
            outcome = f"cut ({self.request})" if self.request else "finished"
            lines.append(f"  the request that it had open: {outcome}")
        lines.append(f"  ready again {self.back:.1f} s after it was told to stop")
        return "\n".join(lines)


def signal_name(given: str | None) -> str:
    """A stop signal as it is commonly written; SIGTERM where none is given."""
    name = (given or "SIGTERM").upper()
    return "SIGKILL" if name in ("9", "KILL") else name

"""Run programs and say how long they took and how much memory they held at most."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Without what only this project's own tests need: a user's pytest does not pay for it.
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q"),
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
)


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds on the clock and of processors, MiB of memory at its peak."""

    seconds: float
    cpu: float
    peak: float


def measure(argv: Sequence[str], folder: Path, allowed: Collection[int] = (0,)) -> Cost:
    """The cost of one run of a program in a folder.

    Raises `SystemExit` with what it printed if its exit code is not allowed. The peak includes
    what this process held when it started the program: keep this process small.
    """
    started = time.perf_counter()
    with (folder / "output").open("wb+") as output:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=output, stderr=output, env=_environment()
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        printed = (folder / "output").read_text(errors="replace")
        raise SystemExit(f"{' '.join(argv)}: exit {process.returncode}\n{printed[-3000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}


def compare(
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    rounds: int = 5,
    faultless: Collection[str] = (),
) -> None:
    """Print each command's best run of several, and its ratio to the first command's.

    The commands take turns, so that a busy moment of the machine meets them all. Those that are
    `faultless` must find nothing and miss nothing: to give up early takes little time.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, argv in commands.items():
            allowed = (0,) if name in faultless else (0, 1)
            costs[name].append(measure(argv, folder, allowed))
    first = _best(next(iter(costs.values())))
    for name, found in costs.items():
        best = _best(found)
        wall = f"{best.seconds:6.2f} s {best.seconds / first.seconds:5.2f} x"
        cpu = f"{best.cpu:6.2f} s of CPU {best.cpu / first.cpu:5.2f} x"
        sys.stdout.write(f"{name:28} {wall} {cpu} {best.peak:6.0f} MiB\n")


def _best(costs: Sequence[Cost]) -> Cost:
    return Cost(
        min(cost.seconds for cost in costs),
        min(cost.cpu for cost in costs),
        max(cost.peak for cost in costs),
    )

"""What became of an instance of a workload whose main process was killed, whatever the platform."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook

_DEATH_SECONDS = 60.0
_POLL = 0.2
_GIVEN_UP = 1
# Calls what it is given when it strikes, and returns what kept it from it.
Kill = Callable[[Callable[[], None]], str]


class Crash(Struct, frozen=True, kw_only=True):
    """How an instance came back after a crash, in seconds since; None if it did not.

    `within` is how long that was waited for. For `stays` seconds after it was watched: `restarts`
    is how often it ended then, and `stayed` whether it was ready at the end. `state` is what was
    seen last. It was not `provoked` if it crashed by itself before it could be killed.
    """

    workload: str
    instance: str
    within: float
    stays: float
    back: float | None = None
    restarts: int = 0
    stayed: bool = False
    state: str = ""
    provoked: bool = True

    @property
    def is_recovered(self) -> bool:
        """Whether it came back in time, and stayed."""
        return self.provoked and self.stayed

    def __str__(self) -> str:
        if not self.provoked:
            return f"crash of {self.workload}: {self.instance} crashes by itself: {self.state}"
        text = f"crash of {self.workload}: the main process of {self.instance} was killed\n  "
        if self.back is None:
            return f"{text}not ready {self.within:g} s later: {self.state}"
        after = "still ready" if self.stayed else self.state
        return f"{text}ready again after {self.back:.1f} s, {self.stays:g} s later {after}"


class Sight(Struct, frozen=True):
    """One look at an instance. `life` changes whenever it is started; `state` is for people."""

    life: str
    is_ready: bool
    state: str


@cache
def killer() -> str:
    """The program that kills the main process of a container beside it, for `python3 -c`."""
    return Path(__file__).with_name("main_process.py").read_text()


def complaint(code: int, err: str) -> str:
    """Why the killer gave up; empty if it did its work, by which it often ends itself too."""
    return err.strip() if code == _GIVEN_UP else ""


def followed(crash: Crash, kill: Kill, look: Callable[[], Sight]) -> Crash:
    """The same crash with what became of it. Raises `CannotLook` if nothing died."""
    before, begun = look(), time.monotonic()

    def strike() -> None:
        nonlocal begun
        begun = time.monotonic()

    if problem := kill(strike):
        return _by_itself(crash, look, before, problem)
    if not _until(lambda: _has_died(look(), before), _DEATH_SECONDS):
        raise CannotLook(f"{crash.instance}: its main process was to be killed, but runs on")
    if not _until(lambda: _is_back(look(), before), crash.within):
        return replace(crash, state=look().state)
    back = time.monotonic() - begun
    return _watched(replace(crash, back=back), look)


def _by_itself(crash: Crash, look: Callable[[], Sight], before: Sight, problem: str) -> Crash:
    """What could not be killed may have crashed before: it is started anew then."""
    patience = 0 if look().is_ready else _DEATH_SECONDS
    if not _until(lambda: look().life != before.life, patience):
        raise CannotLook(f"{crash.instance}: its main process could not be killed: {problem}")
    return replace(crash, provoked=False, state=look().state)


def _watched(crash: Crash, look: Callable[[], Sight]) -> Crash:
    lives = {look().life}

    def has_ended_twice() -> bool:
        lives.add(look().life)
        return len(lives) > 2

    _until(has_ended_twice, crash.stays)
    last = look()
    restarts = len(lives | {last.life}) - 1
    stayed = last.is_ready and not restarts
    return replace(crash, restarts=restarts, stayed=stayed, state=last.state)


def _has_died(now: Sight, before: Sight) -> bool:
    return now.life != before.life or not now.is_ready


def _is_back(now: Sight, before: Sight) -> bool:
    return now.life != before.life and now.is_ready


def _until(question: Callable[[], object], seconds: float) -> bool:
    """Whether something comes true within the time; it is asked once at least."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True

"""Who uses an environment: it starts for the first user, stays for the next, ends after the last.

A user is a process; one that was killed no longer counts. `python -m tests.testbed up` keeps an
environment for people, until `down`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from tests.testbed.layout import Site, state_root
from tests.testbed.shell import TestbedError

KEPT = "kept"
_NUMBERS = itertools.count()


@contextmanager
def leased(
    site: Site, up: Callable[[], bool], start: Callable[[], None], stop: Callable[[], None]
) -> Iterator[None]:
    """Hold the environment; start it when it is not up, stop it when nobody else holds it."""
    holder = f"{os.getpid()}-{_started(os.getpid())}-{next(_NUMBERS)}"
    acquire(site, holder, up, start, stop)
    try:
        yield
    finally:
        release(site, holder, stop)


def acquire(
    site: Site,
    holder: str,
    up: Callable[[], bool],
    start: Callable[[], None],
    stop: Callable[[], None],
) -> bool:
    """Note the holder and see that the environment is up; whether it had to be started."""
    if os.geteuid():
        raise TestbedError("only root can make network namespaces, mounts and cgroups")
    with _locked(site):
        fresh = not (holders(site) and up())
        if fresh:
            others = holders(site)
            stop()
            _start_whole(start, stop)
            for other in others:
                _note(site, other)
        _note(site, holder)
        return fresh


def _start_whole(start: Callable[[], None], stop: Callable[[], None]) -> None:
    try:
        start()
    except BaseException:
        stop()
        raise


def release(site: Site, holder: str, stop: Callable[[], None]) -> None:
    """Forget the holder; the last one out stops the environment."""
    with _locked(site):
        (_folder(site) / holder).unlink(missing_ok=True)
        if not holders(site):
            stop()


def release_everybody(site: Site, stop: Callable[[], None]) -> None:
    """Stop the environment whoever holds it: what a person means by `down`."""
    with _locked(site):
        for file in _folder(site).glob("*"):
            file.unlink()
        stop()


def holders(site: Site) -> list[str]:
    """Everybody who still needs the environment."""
    return [file.name for file in _folder(site).glob("*") if _counts(file.name)]


def _counts(holder: str) -> bool:
    if holder == KEPT:
        return True
    pid, started, _ = holder.split("-")
    return _started(int(pid)) == started


def _started(pid: int) -> str:
    """When the process started, so that a reused number is not taken for the same process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _note(site: Site, holder: str) -> None:
    _folder(site).mkdir(parents=True, exist_ok=True)
    (_folder(site) / holder).touch()


def _folder(site: Site) -> Path:
    return state_root() / f"{site.name}.holders"


def _locked(site: Site) -> FileLock:
    state_root().mkdir(parents=True, exist_ok=True)
    return FileLock(state_root() / f"{site.name}.lock")

"""A restart of a Docker daemon: do containers run on?

Live restore keeps them: https://docs.docker.com/engine/daemon/live-restore/
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.cluster import Engine

_BACK_SECONDS = 120.0
_SETTLE_SECONDS = 15.0
_CUT_SECONDS = 2.0
_POLL = 0.2
_Processes = dict[str, tuple[int, str]]


def _may_have_it(engine: Engine) -> bool:
    """Whether the daemon is no part of a Swarm, which rules live restore out."""
    return engine.swarm_state == "inactive"


@experiment("probe", "asks the daemon whether live restore is in force", applies=_may_have_it)
def live_restore_in_force(_: Engine, lab: Lab) -> Iterator[Violation]:
    """The running daemon has live restore on, whatever its configuration file says by now."""
    docker = _daemon(lab)
    with daemon_errors("info"):
        info: Any = docker.client.api.info()
    if not info.get("LiveRestoreEnabled"):
        yield Violation(
            found="LiveRestoreEnabled false",
            wanted="live-restore: true in daemon.json, and the daemon reloaded",
            path="LiveRestoreEnabled",
            why="a restart or upgrade of the daemon stops every container on this host",
        )


class DaemonRestart(Struct, frozen=True):
    """What a restart of a daemon did to the containers that ran: by name.

    `kept` ran on as the same process, `restarted` were stopped and started again, `lost` do not
    run. `seconds` from the order to restart until the API answered.
    """

    kept: tuple[str, ...]
    restarted: tuple[str, ...]
    lost: tuple[str, ...]
    seconds: float

    @property
    def keeps_all(self) -> bool:
        """Whether nothing was stopped."""
        return not self.restarted and not self.lost

    def __bool__(self) -> bool:
        return self.keeps_all

    def __str__(self) -> str:
        parts = [f"restart of the daemon in {self.seconds:.1f} s: {len(self.kept)} ran on"]
        parts += [f"stopped and started: {', '.join(self.restarted)}"] if self.restarted else []
        parts += [f"not running any more: {', '.join(self.lost)}"] if self.lost else []
        return "; ".join(parts)


def measure_daemon_restart(lab: Lab, restart: Callable[[], None]) -> DaemonRestart:
    """Have the caller restart the daemon, and compare the containers' processes before and after.

    Docker's API can't restart a daemon: how to, the caller knows. Raises `CannotLook` if nothing
    runs, if `restart` did not restart this daemon, or if it does not come back.
    """
    docker = _daemon(lab)
    lab.require_level("disrupt", f"{lab.target.id}: a restart of the daemon")
    before = _processes(docker)
    if not before:
        raise CannotLook(f"{lab.target.id}: no container runs that a restart could stop")
    with _ending(docker) as ended:
        begun = time.monotonic()
        restart()
        lab.wait_for(lambda: _answers(docker), _BACK_SECONDS, "the daemon to answer again")
        seconds = time.monotonic() - begun
        if not ended.wait(_CUT_SECONDS):
            raise CannotLook(f"{lab.target.id} was not restarted: its connections outlived it")
    result = _compared(before, _settled(docker, before), seconds)
    lab.record(result)
    return result


def _compared(before: _Processes, after: _Processes, seconds: float) -> DaemonRestart:
    names = sorted(before)
    return DaemonRestart(
        kept=tuple(name for name in names if after.get(name) == before[name]),
        restarted=tuple(name for name in names if after.get(name, before[name]) != before[name]),
        lost=tuple(name for name in names if name not in after),
        seconds=seconds,
    )


@contextmanager
def _ending(lab: DockerLab) -> Iterator[Event]:
    """Set once the daemon has cut a connection that it would hold open as long as it runs."""
    ended = Event()
    with daemon_errors("events"):
        stream: Any = lab.client.api.events()

    def follow() -> None:
        with suppress(Exception):
            for _ in stream:
                pass
        ended.set()

    Thread(target=follow, daemon=True).start()
    try:
        yield ended
    finally:
        with suppress(Exception):
            stream.close()


def _settled(lab: DockerLab, before: _Processes) -> _Processes:
    """The processes once all that ran before run again, or long enough after."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        after = _processes(lab)
        if before.keys() <= after.keys() or time.monotonic() > deadline:
            return after
        time.sleep(_POLL)


def _processes(lab: DockerLab) -> _Processes:
    """The running containers: process number and when it was started."""
    with daemon_errors("containers"):
        rows = lab.client.api.containers()
        found = [lab.inspect(row["Id"]) for row in rows]
    return {
        document["Name"].removeprefix("/"): (
            int(document["State"]["Pid"]),
            str(document["State"]["StartedAt"]),
        )
        for document in found
        if document and document["State"]["Running"] and not document["State"]["Restarting"]
    }


def _answers(lab: DockerLab) -> bool:
    try:
        with daemon_errors("ping"):
            return bool(lab.client.api.ping())
    except CannotLook:
        return False


def _daemon(lab: Lab) -> DockerLab:
    if not isinstance(lab, DockerLab):
        raise CannotLook(f"{lab.target.id} is no Docker daemon")
    return lab

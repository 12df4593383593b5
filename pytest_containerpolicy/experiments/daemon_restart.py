"""A restart of a Docker daemon: do containers run on?

Live restore keeps them: https://docs.docker.com/engine/daemon/live-restore/
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.cluster import Engine

_BACK_SECONDS = 120.0
_POLL = 0.1


def _may_have_it(engine: Engine) -> bool:
    """Whether the daemon is no part of a Swarm, which rules live restore out."""
    return engine.swarm_state == "inactive"


@experiment("probe", "asks the daemon whether live restore is in force", applies=_may_have_it)
def live_restore_in_force(_: Engine, lab: Lab) -> Iterator[Violation]:
    """The running daemon has live restore on, whatever its configuration file says by now."""
    if not isinstance(lab, DockerLab):
        raise CannotLook(f"{lab.target.id} is no Docker daemon")
    with daemon_errors("info"):
        info: Any = lab.client.api.info()
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
    run. `away` is for how many seconds the API did not answer.
    """

    kept: tuple[str, ...]
    restarted: tuple[str, ...]
    lost: tuple[str, ...]
    away: float

    @property
    def keeps_all(self) -> bool:
        """Whether nothing was stopped."""
        return not self.restarted and not self.lost

    def __str__(self) -> str:
        parts = [f"restart of the daemon: away for {self.away:.1f} s, {len(self.kept)} ran on"]
        parts += [f"stopped and started: {', '.join(self.restarted)}"] if self.restarted else []
        parts += [f"not running any more: {', '.join(self.lost)}"] if self.lost else []
        return "; ".join(parts)


def measure_daemon_restart(lab: Lab, restart: Callable[[], None]) -> DaemonRestart:
    """Have the caller restart the daemon, and compare the containers' processes before and after.

    Docker's API can't restart a daemon: how to, the caller knows. Raises `CannotLook` if nothing
    runs, or if the daemon does not come back.
    """
    if not isinstance(lab, DockerLab):
        raise CannotLook(f"{lab.target.id} is no Docker daemon")
    before = _processes(lab)
    if not before:
        raise CannotLook(f"{lab.target.id}: no container runs that a restart could stop")
    begun = time.monotonic()
    restart()
    lab.wait_for(lambda: _answers(lab), _BACK_SECONDS, "the daemon to answer again")
    away = time.monotonic() - begun
    after = _processes(lab)
    restarted = [n for n, pid in before.items() if n in after and after[n] != pid]
    result = DaemonRestart(
        kept=tuple(sorted(name for name, pid in before.items() if after.get(name) == pid)),
        restarted=tuple(sorted(restarted)),
        lost=tuple(sorted(set(before) - set(after))),
        away=away,
    )
    lab.record(result)
    return result


def _processes(lab: DockerLab) -> dict[str, tuple[int, str]]:
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
        if document and document["State"]["Running"]
    }


def _answers(lab: DockerLab) -> bool:
    try:
        with daemon_errors("ping"):
            return bool(lab.client.api.ping())
    except CannotLook:
        time.sleep(_POLL)
        return False

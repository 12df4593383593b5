"""What has befallen containers since they were started: kills, throttling, restarts."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.inside import (
    FROM_INSIDE,
    Copy,
    in_every_copy,
    keeps_running,
    look_into,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_bytes

Document = dict[str, Any]
_OOM_KILLED = "OOMKilled"
_BACKING_OFF = "CrashLoopBackOff"
# What the kubelet says of a container that was gone when it looked.
_UNSEEN = "ContainerStatusUnknown"
_KILLED = 137
_NEVER = datetime.min.replace(tzinfo=UTC)


@experiment("probe", f"reads its cgroup {FROM_INSIDE}", applies=keeps_running)
def no_oom_kills(container: Container, lab: Lab) -> Iterator[Violation]:
    """The kernel killed none of its processes for want of memory since it was started.

    Nor the container itself the time before, where the platform remembers that.
    """

    def kills(copy: Copy) -> Iterator[Violation]:
        was_killed = _ended_by_kill(copy) or _engine_remembers_kill(copy, lab)
        try:
            cgroup = look_into(copy, lab).cgroup
        except CannotLook:
            # What is killed again and again is seldom there to be looked into.
            if was_killed:
                yield _oom_kill(container, "killed for want of memory")
            raise
        if count := cgroup.oom_kills:
            limit = cgroup.memory_limit
            bound = f" at a limit of {human_bytes(limit)}" if limit else ""
            yield _oom_kill(container, f"{count} processes killed for want of memory{bound}")
        elif was_killed:
            yield _oom_kill(container, "killed for want of memory, and started again")
        else:
            require_known_end(copy)

    yield from in_every_copy(container, lab, kills)


@experiment("probe", f"reads its cgroup {FROM_INSIDE}", applies=keeps_running)
def not_throttled(
    container: Container, lab: Lab, at_most: float = 0.25, enough: int = 600
) -> Iterator[Violation]:
    """Its CPU limit made it wait in no more than `at_most` of the periods in which it ran.

    Fewer than `enough` periods (of 100 ms) say more about its start than about its work.
    """

    def throttling(copy: Copy) -> Iterator[Violation]:
        cgroup = look_into(copy, lab).cgroup
        if cgroup.cpu_limit is None:
            return
        periods, throttled = cgroup.periods, cgroup.throttled_periods
        if throttled <= at_most * periods:
            return
        if periods < enough:
            raise CannotLook(
                f"it ran in {periods} periods only, {throttled} of them throttled: look again"
                " when it has worked for a while"
            )
        yield Violation(
            found=f"throttled in {throttled / periods:.0%} of {periods} periods at"
            f" {cgroup.cpu_limit:g} cores",
            wanted=f"at most {at_most:.0%}",
            path=field_path(container, "cpu_limit"),
        )

    yield from in_every_copy(container, lab, throttling)


@experiment("probe", "reads how often it was restarted", applies=keeps_running)
def no_crash_loop(
    container: Container, lab: Lab, at_most: int = 2, within: float = 86400
) -> Iterator[Violation]:
    """It was restarted no more than `at_most` times, or not in the last `within` seconds."""

    def crashes(copy: Copy) -> Iterator[Violation]:
        restarts = restarts_of(copy)
        is_recent = datetime.now(UTC) - restarts.last <= timedelta(seconds=within)
        if restarts.is_looping or (restarts.count > at_most and is_recent):
            yield Violation(found=str(restarts), wanted=f"at most {at_most} restarts")

    yield from in_every_copy(container, lab, crashes)


class Restarts(Struct, frozen=True, kw_only=True):
    """How often a container was started again, when last, and what it ended with before.

    `is_looping` where the platform holds its next start back because it fails again and again.
    """

    count: int
    last: datetime = _NEVER
    ending: str = ""
    is_looping: bool = False

    def __str__(self) -> str:
        loop = ", held back for failing again and again" if self.is_looping else ""
        ending = f", last after {self.ending}" if self.ending else ""
        return f"restarted {self.count} times{loop}{ending}"


def restarts_of(copy: Copy) -> Restarts:
    """What the platform remembers of a copy's restarts: the API, the engine, the Swarm's tasks.

    Raises `CannotLook` where it does not remember when the last one was.
    """
    if "spec" in copy.document:
        return _of_pod(copy.status)
    if copy.task:
        return _of_tasks(copy.failed)
    count = copy.document.get("RestartCount", 0)
    waits = bool(copy.status.get("Restarting"))
    return Restarts(
        count=count,
        last=_time(copy.status["StartedAt"]) if count else _NEVER,
        ending=f"exit code {copy.status.get('ExitCode')}" if waits else "",
        is_looping=waits and count > 1,
    )


def _of_pod(status: Document) -> Restarts:
    ended = _earlier_end(status)
    state = status.get("state") or {}
    count = status.get("restartCount", 0)
    if not count and not ended:
        return Restarts(count=0)
    # Nobody knows when a container ended that was lost with its node, or removed from it since: not
    # after the start that followed.
    last = ended.get("finishedAt") or (state.get("running") or {}).get("startedAt")
    is_looping = (state.get("waiting") or {}).get("reason") == _BACKING_OFF
    if not last and not is_looping:
        raise CannotLook(f"it was restarted {count} times, and nobody knows when last")
    ending = f"exit code {ended.get('exitCode')} ({ended.get('reason', 'no reason')})"
    return Restarts(
        count=count,
        last=_time(last) if last else _NEVER,
        ending=ending if ended else "",
        is_looping=is_looping,
    )


def _earlier_end(status: Document) -> Document:
    """How a pod's container ended before its last restart, empty where that is forgotten."""
    ended: Document = (status.get("lastState") or {}).get("terminated") or {}
    return ended


def _of_tasks(failed: tuple[Document, ...]) -> Restarts:
    if not failed:
        return Restarts(count=0)
    last = max(failed, key=lambda task: str(task["Status"]["Timestamp"]))["Status"]
    return Restarts(
        count=len(failed),
        last=_time(last["Timestamp"]),
        ending=last.get("Err") or last.get("Message", ""),
    )


def _ended_by_kill(copy: Copy) -> bool:
    """Whether the platform says so of the container itself, now or before its last restart."""
    states = (copy.status.get(key) for key in ("state", "lastState"))
    reasons = [(state.get("terminated") or {}).get("reason") for state in states if state]
    return _OOM_KILLED in reasons or bool(copy.status.get(_OOM_KILLED))


def require_known_end(copy: Copy) -> None:
    """Raise `CannotLook` where a container ended before, and nobody knows any more of what."""
    earlier = [task["Status"].get("ContainerStatus") or {} for task in copy.failed]
    if count := copy.document.get("RestartCount", 0):
        raise CannotLook(f"it was restarted {count} times, and the engine has forgotten why")
    restarts = copy.status.get("restartCount", 0)
    if restarts and _earlier_end(copy.status).get("reason", _UNSEEN) == _UNSEEN:
        raise CannotLook(f"it was restarted {restarts} times, and nobody knows any more why")
    if any(status.get("ExitCode") == _KILLED for status in earlier):
        raise CannotLook("the task before it was killed, and the Swarm does not know by whom")


def _engine_remembers_kill(copy: Copy, lab: Lab) -> bool:
    """Whether an engine knows of a kill of this container, or of one of the tasks before it."""
    if not isinstance(lab, DockerLab):
        return False
    earlier = (task["Status"].get("ContainerStatus") or {} for task in copy.failed)
    ids = {copy.id, *(status.get("ContainerID", "") for status in earlier)}
    return not _engine_kills(lab).isdisjoint(ids)


def _engine_kills(lab: DockerLab) -> frozenset[str]:
    """The containers with an out-of-memory event among the last 256 that an engine remembers.

    An engine forgets `State.OOMKilled` when it starts a container again.
    """

    def look() -> frozenset[str]:
        filters = {"type": "container", "event": "oom"}
        with daemon_errors("events"):
            events = lab.client.api.events(
                since=1, until=int(time.time()), filters=filters, decode=True
            )
            return frozenset(event["Actor"]["ID"] for event in events)

    return lab.once("out-of-memory events", look)


def _oom_kill(container: Container, found: str) -> Violation:
    return Violation(
        found=found, wanted="none since it was started", path=field_path(container, "memory_limit")
    )


def _time(text: str) -> datetime:
    """A time of an API; Docker's has more digits than Python knows."""
    seconds, _, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{rest[:6] or 0}+00:00")

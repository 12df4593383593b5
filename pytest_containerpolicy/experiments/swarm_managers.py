"""The managers of a Swarm: how many there are, which can be reached, and how many may be lost.

https://docs.docker.com/engine/swarm/admin_guide/#maintain-the-quorum-of-managers
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.cluster import Swarm

_POLL = 0.2
_BACK_SECONDS = 60.0


class Managers(Struct, frozen=True):
    """The managers of a Swarm at one moment, by host name."""

    reachable: tuple[str, ...]
    unreachable: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many there are to make a majority of."""
        return len(self.reachable) + len(self.unreachable)

    @property
    def quorum(self) -> int:
        """How many must be reachable for the Swarm to be managed at all."""
        return self.total // 2 + 1

    @property
    def may_be_lost(self) -> int:
        """How many of those that are reachable now."""
        return max(0, len(self.reachable) - self.quorum)

    def __str__(self) -> str:
        missing = f", {', '.join(self.unreachable)} not" if self.unreachable else ""
        return (
            f"{len(self.reachable)} of {self.total} managers reachable{missing}: quorum is"
            f" {self.quorum}, {self.may_be_lost} may be lost"
        )


@experiment("probe", "asks a manager which managers are reachable")
def managers_may_be_lost(_: Swarm, lab: Lab, at_least: int = 1) -> Iterator[Violation]:
    """At least so many of the managers that are reachable now may be lost."""
    managers = managers_of(_swarm(lab))
    lab.record(managers)
    if managers.may_be_lost < at_least:
        yield Violation(
            found=str(managers),
            wanted=f"{2 * at_least + 1} managers or more, all of them reachable",
            why="without a quorum nothing can be deployed, scaled or moved away from a dead node;"
            " what runs goes on until it fails",
        )


def managers_of(lab: DockerLab) -> Managers:
    """The managers as the one that was asked sees them now. Raises `CannotLook`."""
    reachable: list[str] = []
    unreachable: list[str] = []
    with daemon_errors("nodes of the Swarm"):
        api: Any = lab.client.api
        nodes: list[Document] = api.nodes()
    for node in nodes:
        status = node.get("ManagerStatus")
        if status:
            well = status.get("Reachability") == "reachable"
            (reachable if well else unreachable).append(node["Description"]["Hostname"])
    return Managers(tuple(sorted(reachable)), tuple(sorted(unreachable)))


class ManagerLoss(Struct, frozen=True):
    """What the loss of one manager did: `manageable_after` the seconds until the Swarm took changes
    without it (None: it did not), `back_after` those from its start until all were reachable again.
    """

    before: Managers
    manageable_after: float | None
    back_after: float

    @property
    def keeps_quorum(self) -> bool:
        """Whether the Swarm went on being managed."""
        return self.manageable_after is not None

    def __bool__(self) -> bool:
        return self.keeps_quorum

    def __str__(self) -> str:
        after = self.manageable_after
        went_on = "took no more changes" if after is None else f"took changes after {after:.1f} s"
        return (
            f"loss of one of {self.before.total} managers: the Swarm {went_on}, all back"
            f" {self.back_after:.1f} s after it was started"
        )


def measure_manager_loss(
    lab: Lab, stop: Callable[[], None], start: Callable[[], None], *, within: float = 60.0
) -> ManagerLoss:
    """Take one manager away with `stop`, see whether the others manage the Swarm, and `start` it.

    Docker's API can't stop a daemon: how to, the caller knows (a service manager over SSH, for
    example). The manager must not be the one that the laboratory talks to. `start` is called
    whatever happens, but not after the end of this process: then somebody has to. Raises
    `CannotLook` if a manager is missing already, or if none is within `within` seconds.
    """
    swarm = _swarm(lab)
    lab.require_level("disrupt", f"{lab.target.id}: the loss of a manager")
    before = managers_of(swarm)
    if before.unreachable:
        raise CannotLook(f"{before}: nothing was touched")
    begun = time.monotonic()
    try:
        stop()
        _await_loss(swarm, within)
        manageable = _changed_after(swarm, within, begun)
    finally:
        started = time.monotonic()
        start()
    lab.wait_for(lambda: _is_whole(swarm), _BACK_SECONDS, "all managers to be back")
    loss = ManagerLoss(before, manageable, time.monotonic() - started)
    lab.record(loss)
    return loss


def _await_loss(lab: DockerLab, within: float) -> None:
    """Wait until a manager is missing, or there is no quorum to ask for it.

    Raises `CannotLook` if none is, or if the missing one is the one that is asked.
    """

    def shows() -> bool:
        try:
            return bool(managers_of(lab).unreachable)
        except CannotLook:
            _require_answer(lab)
            return True

    lab.wait_for(shows, within, "the loss of a manager to show")


def _changed_after(lab: DockerLab, within: float, begun: float) -> float | None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            _change_something(lab)
            return time.monotonic() - begun
        except CannotLook:
            _require_answer(lab)
            time.sleep(_POLL)
    return None


def _change_something(lab: DockerLab) -> None:
    """Write to the Swarm what stands there already: it takes a quorum."""
    with daemon_errors("update of the Swarm"):
        api: Any = lab.client.api
        swarm = api.inspect_swarm()
        api.post_document("/swarm/update", swarm["Spec"], {"version": swarm["Version"]["Index"]})


def _require_answer(lab: DockerLab) -> None:
    with daemon_errors("the manager that this run asks is the one that was stopped"):
        lab.client.api.ping()


def _is_whole(lab: DockerLab) -> bool:
    try:
        return not managers_of(lab).unreachable
    except CannotLook:
        return False


def _swarm(lab: Lab) -> DockerLab:
    if not isinstance(lab, DockerLab) or lab.platform != "swarm":
        raise CannotLook(f"{lab.target.id} is no Swarm: give swarm://CONTEXT")
    return lab

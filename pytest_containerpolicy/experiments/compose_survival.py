"""Data of a Compose service after its containers were recreated, and after they were removed.

What `down` and `up` do to data is done to the one service: `rm` and `up` treat its volumes in the
same way, and leave all others in peace.
https://docs.docker.com/reference/cli/docker/compose/down/
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import msgspec
from msgspec import Struct

from pytest_containerpolicy.experiments.compose_cli import ComposeCli, compose_of
from pytest_containerpolicy.experiments.compose_volumes import (
    Holder,
    bring_back,
    containers_with,
    holder_of,
    remove_volumes,
    service_labels,
)
from pytest_containerpolicy.experiments.docker_instances import is_ready, require_well, state_of
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.experiments.docker_survival import (
    hand_of,
    remove_container_markers,
    spots_of,
)
from pytest_containerpolicy.experiments.lab import TookTooLong
from pytest_containerpolicy.experiments.markers import Hand, Marker, new_marker
from pytest_containerpolicy.experiments.survival_markers import look, plant, require_hands, undone
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.experiments.survival_result import Recreation
from pytest_containerpolicy.model.workload import Workload

_RECREATED = "was recreated by `up --force-recreate`"
_REMOVED = "was removed and created anew, as by `down` and `up`"


class Deployment(Struct, frozen=True):
    """A service whose containers are replaced, as they were before."""

    compose: ComposeCli
    service: str
    holders: tuple[Holder, ...]
    deadline: float

    @property
    def labels(self) -> list[str]:
        return service_labels(self.compose.project.name, self.service)

    def recreate(self) -> None:
        self.up("--force-recreate")

    def remove_and_create(self) -> None:
        seconds = self.deadline
        self.compose.run("rm", "--stop", "--force", self.service, seconds=seconds)
        self.up()

    def up(self, *options: str) -> None:
        self.compose.up(self.service, len(self.holders), *options, seconds=self.deadline)


def recreate_service(
    lab: DockerLab, workload: Workload, places: Sequence[Place], *, deadline: float
) -> Iterator[Recreation]:
    """Recreate a service's containers, then remove them and create new ones; look at the first.

    Afterwards they have the anonymous volumes that they had before.
    """
    compose = compose_of(lab, workload)
    found = containers_with(lab, service_labels(compose.project.name, workload.name))
    for document in found:
        require_well(lab, document)
    compose.require_unchanged(workload.name, len(found))
    holders = tuple(map(holder_of, found))
    deployment = Deployment(compose, workload.name, holders, deadline)
    marker, added = new_marker(lab.run), set[str]()
    require_hands(_hands(lab, found[0]), places, marker)
    change = _change(lab, deployment, found[0], places, marker)
    measure = partial(_measure, lab, deployment, found[0], places, marker, added)
    yield from undone(change, measure)
    remove_volumes(lab, added)


@contextmanager
def _change(
    lab: DockerLab, deployment: Deployment, first: Document, places: Sequence[Place], marker: Marker
) -> Iterator[None]:
    name = f"service {deployment.service} of project {deployment.compose.project.name}"
    before = {
        "project": msgspec.to_builtins(deployment.compose.project),
        "service": deployment.service,
        "holders": msgspec.to_builtins(deployment.holders),
        "seconds": deployment.deadline,
    }
    spots, labels = spots_of(first, places), deployment.labels
    left = f"marker files {marker.name} of {name} are left"
    with (
        lab.undoing(remove_container_markers, left, labels=labels, name=marker.name, spots=spots),
        lab.undoing(bring_back, f"{name} is down, or lacks its anonymous volumes", **before),
    ):
        yield


def _measure(
    lab: DockerLab,
    deployment: Deployment,
    first: Document,
    places: Sequence[Place],
    marker: Marker,
    added: set[str],
) -> Iterator[Recreation]:
    """Both steps, the second for what survived the first; `added` gets the volumes it made."""
    written = plant(_hands(lab, first), places, marker)
    step = partial(_replace, lab, deployment, first, marker)
    lab.say(f"recreating service {deployment.service}")
    recreated = step(_RECREATED, deployment.recreate, written)
    yield recreated
    kept = [reading.place for reading in recreated.readings if reading.fate == "kept"]
    if not kept:
        return
    lab.say(f"removing service {deployment.service} and creating it anew")
    yield step(_REMOVED, deployment.remove_and_create, kept)
    own = {name for holder in deployment.holders for name in holder.volumes.values()}
    for document in containers_with(lab, deployment.labels):
        added |= set(holder_of(document).volumes.values()) - own


def _replace(
    lab: DockerLab,
    deployment: Deployment,
    first: Document,
    marker: Marker,
    how: str,
    act: Callable[[], None],
    places: Sequence[Place],
) -> Recreation:
    unit, began = f"container {first['Name'].removeprefix('/')}", time.monotonic()
    act()
    try:
        fresh = lab.wait_for(partial(_all_ready, lab, deployment), deployment.deadline, unit)
        ready_after, trouble = time.monotonic() - began, ""
    except TookTooLong:
        fresh, ready_after = containers_with(lab, deployment.labels), None
        states = {state_of(one) for one in fresh if not is_ready(one)}
        trouble = f"{', '.join(sorted(states)) or 'gone'} after {deployment.deadline:g} s"
    running = ready_after is not None
    readings = look(_hands(lab, fresh[0]), places, marker, running=running) if fresh else ()
    return Recreation(
        unit=unit, how=how, ready_after=ready_after, trouble=trouble, readings=tuple(readings)
    )


def _all_ready(lab: DockerLab, deployment: Deployment) -> list[Document]:
    found = containers_with(lab, deployment.labels)
    well = len(found) == len(deployment.holders) and all(map(is_ready, found))
    return found if well else []


def _hands(lab: DockerLab, document: Document) -> Callable[[str], Hand]:
    """A service has one container: whatever is asked for is meant."""
    hand = cache(partial(hand_of, lab, document["Id"]))
    return lambda _: hand()

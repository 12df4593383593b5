"""Whether what a workload writes is still there after its containers were replaced."""

from collections.abc import Iterator, Mapping
from itertools import chain

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_survival import recreate_service
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_survival import recreate_pods
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.survival_places import Place, place_at, places_of
from pytest_containerpolicy.experiments.survival_result import Reading, Recreation, Survival
from pytest_containerpolicy.experiments.swarm_survival import recreate_task
from pytest_containerpolicy.model.workload import Workload

DEADLINE = 300.0
_LIKEWISE = {
    "kubernetes": "an update, a drain, an eviction or a lost node does the same",
    "compose": "a changed file, `down` or a move to another machine does the same",
    "swarm": "an update, a drain or a lost node does the same",
}
_DOES = (
    "replaces one of its containers, with whatever it keeps inside, after putting a small file into"
    " each directory that it writes to"
)


def keeps_data(workload: Workload, images: Mapping[str, str] | None = None) -> bool:
    """Whether it runs for good and writes to a place that is meant to outlive its containers."""
    if workload.runs_to_completion or workload.replicas == 0 or workload.platform == "docker":
        return False
    return any(place.expected for place in places_of(workload, images)) or bool(_gap(workload))


@experiment("disrupt", _DOES, applies=keeps_data)
def data_survives(
    workload: Workload,
    lab: Lab,
    images: dict[str, str] | None = None,
    pods: int = 1,
    move: bool = False,
    leave_behind: bool = False,
    deadline: float = DEADLINE,
) -> Iterator[Violation]:
    """What is written to volumes, and to the data directories of well-known images, is kept.

    `images`: more images, each with its data directory. `pods`: how many pods of a StatefulSet.
    `move`: pods are started on another node, if there is one for them. `leave_behind`: so are those
    whose data would then stay behind on a node's disk. `deadline`: seconds until the next
    container is ready, beyond the grace period of the last one.
    """
    found = measure_survival(
        workload,
        lab,
        images=images,
        pods=pods,
        move=move,
        leave_behind=leave_behind,
        deadline=deadline,
    )
    yield from chain.from_iterable(
        _violations(workload, one, deadline) for one in found.recreations
    )


def measure_survival(
    workload: Workload,
    lab: Lab,
    *,
    path: str = "",
    images: Mapping[str, str] | None = None,
    pods: int = 1,
    move: bool = False,
    leave_behind: bool = False,
    deadline: float = DEADLINE,
) -> Survival:
    """Write markers, replace containers, read the markers back, and remove them.

    `path` is a directory that is expected to be kept, whatever it is on; without it all that
    `places_of` names are looked at. Raises `CannotLook` if it can't be carried out: nothing is
    touched then, or it is put back; `NotRestored` if that failed.
    """
    places = (place_at(workload, path),) if path else places_of(workload, images)
    if not any(place.expected for place in places):
        raise CannotLook(
            _gap(workload) or f"{workload.ref} writes to nothing that is meant to be kept"
        )
    replacing = _Replacing(pods, move, leave_behind, deadline + max(0.0, workload.grace_period))
    with lab.claim(workload):
        recreations = tuple(_recreate(workload, lab, places, replacing))
    survival = Survival(subject=str(workload.ref), recreations=recreations)
    lab.record(survival)
    survival.require_proof()
    return survival


def _gap(workload: Workload) -> str:
    """Why it is not known which volumes the images of a workload bring."""
    return next((c.image_gap for c in workload.running_containers if c.image_gap), "")


class _Replacing(Struct, frozen=True):
    """How containers are replaced: see `data_survives`."""

    pods: int
    move: bool
    leave_behind: bool
    deadline: float


def _recreate(
    workload: Workload, lab: Lab, places: tuple[Place, ...], how: _Replacing
) -> Iterator[Recreation]:
    if isinstance(lab, KubernetesLab):
        return recreate_pods(
            lab,
            workload,
            places,
            pods=how.pods,
            move=how.move,
            leave_behind=how.leave_behind,
            deadline=how.deadline,
        )
    if not isinstance(lab, DockerLab) or lab.platform == "docker":
        raise CannotLook(
            f"{workload.ref}: nothing says how a plain container is created anew: deploy it with"
            " Compose, Swarm or Kubernetes"
        )
    if lab.platform == "compose":
        return recreate_service(lab, workload, places, deadline=how.deadline)
    return recreate_task(
        lab,
        workload,
        places,
        move=how.move,
        leave_behind=how.leave_behind,
        deadline=how.deadline,
    )


def _violations(workload: Workload, done: Recreation, deadline: float) -> Iterator[Violation]:
    after = f"after {done.unit} {done.how}"
    if done.ready_after is None:
        yield Violation(
            found=f"not ready again {after}: {done.trouble}",
            wanted=f"ready again {deadline:g} s after it stopped",
            why=f"{_LIKEWISE[workload.platform]}: {workload.name} may not come back from any",
        )
    for text in done.identity:
        yield Violation(found=f"{text} {after}", wanted="the same name and the same claims")
    yield from (_loss(workload, reading, after) for reading in done.readings if reading.is_bad)


def _loss(workload: Workload, reading: Reading, after: str) -> Violation:
    place, unit = reading.place, _unit(workload)
    fate = "is gone" if reading.fate == "lost" else "has changed"
    if reading.left_at:
        fate = f"stayed behind in {reading.left_at}"
    return Violation(
        found=f"a file written to {place} {fate} {after}",
        wanted=f"the same file in the {unit} that comes next",
        path=place.declared_at,
        why=f"{_LIKEWISE[workload.platform]}: the next {unit} of {workload.name} starts without"
        f" what the last one kept in {place.path}",
    )


def _unit(workload: Workload) -> str:
    return "pod" if workload.platform == "kubernetes" else "container"

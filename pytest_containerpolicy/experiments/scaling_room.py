"""How many more pods of a workload there is room for: in quotas, for their claims, on nodes."""

from collections.abc import Iterable, Iterator
from itertools import count, islice

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.experiments.drain_floor import Floor
from pytest_containerpolicy.experiments.drain_placement import Stranded, Trial, amount_text
from pytest_containerpolicy.experiments.kubernetes_lab import Document
from pytest_containerpolicy.experiments.quotas import amounts_of, counts, usage_of
from pytest_containerpolicy.model.quantities import whole_bytes
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.volume import Claim
from pytest_containerpolicy.model.workload import Workload

_NO_PROVISIONER = "kubernetes.io/no-provisioner"


class Limit(Struct, frozen=True):
    """What ends the growth of a workload: after how many more pods, and what it is.

    `stranded` is the pod that no node takes, where that is what it is.
    """

    more: int
    by: str
    stranded: Stranded | None = None


class Growth(Struct, frozen=True, kw_only=True):
    """A workload that gets `more` pods like one of the `current` ones that it has.

    `first` is the ordinal of a StatefulSet's first pod. `waiting` of the current ones have no node.
    """

    workload: Workload
    pod: Pod
    current: int
    more: int
    first: int = 0
    waiting: int = 0

    @property
    def templates(self) -> dict[str, Claim]:
        """The claims that each pod gets for itself, by the volume's name."""
        return {
            volume.name: volume.claim_template
            for volume in self.workload.volumes
            if volume.claim_template is not None and volume.lifetime == "claim"
        }

    def pods(self) -> Iterator[tuple[Pod, dict[str, Claim]]]:
        """The further pods, each with the claims that would be made for it."""
        own = {f"{volume}-{self.pod.name}" for volume in self.templates}
        shared = tuple(claim for claim in self.pod.claims if claim not in own)
        for ordinal in islice(count(self.first + self.current), self.more):
            name = f"{self.workload.name}-{ordinal}"
            wanted = {f"{volume}-{name}": claim for volume, claim in self.templates.items()}
            made = {claim: wanted[claim] for claim in wanted if not self._exists(claim)}
            there = tuple(claim for claim in wanted if claim not in made)
            yield replace(self.pod, name=name, claims=(*shared, *there)), made

    def _exists(self, claim: str) -> bool:
        return self.workload.model.get(Claim, claim, self.workload.namespace) is not None


def in_quota(growth: Growth, quota: Document) -> Limit | None:
    """Where a ResourceQuota ends the growth.

    Raises `CannotLook` if it does and whether it counts these pods is not known.
    """
    hard, used = amounts_of(quota)
    name = quota["metadata"]["name"]
    for number, (pod, claims) in enumerate(growth.pods()):
        needed = usage_of(pod, claims.values())
        for resource in sorted(hard.keys() & needed.keys()):
            total = used.get(resource, 0) + needed[resource]
            if total > hard[resource] and counts(quota, pod, resource):
                amounts = (amount_text(resource, a) for a in (total, hard[resource]))
                return Limit(
                    number, "quota {}: one more makes {} of {} {}".format(name, *amounts, resource)
                )
        used |= {key: used.get(key, 0) + amount for key, amount in needed.items()}
    return None


def for_claims(growth: Growth, volumes: Iterable[Document]) -> Limit | None:
    """Where the growth ends for want of volumes; `volumes` are the cluster's, as they are now.

    Raises `CannotLook` if storage classes could not be read.
    """
    free = [volume for volume in volumes if volume["status"].get("phase") == "Available"]
    for number, (_, claims) in enumerate(growth.pods()):
        for name, claim in claims.items():
            problem = _unprovided(claim, free)
            if problem:
                return Limit(number, f"claim {name}: {problem}")
    return None


def _unprovided(claim: Claim, free: list[Document]) -> str:
    """Why a claim gets no volume; takes the smallest that suits, where none is made for it."""
    found, wanted = claim.storage_class, claim.storage_class_name
    if found is None and wanted:
        return f"there is no storage class {wanted}"
    if found is not None and found.provisioner != _NO_PROVISIONER:
        return ""
    name = found.ref.name if found else ""
    suitable = [volume for volume in free if _suits(volume, claim, name)]
    if suitable:
        free.remove(min(suitable, key=_size))
        return ""
    return f"no volume of {f'class {name}' if name else 'no class'} is left"


def _suits(volume: Document, claim: Claim, storage_class: str) -> bool:
    spec = volume["spec"]
    return (
        spec.get("storageClassName", "") == storage_class
        and set(claim.access_modes) <= set(spec.get("accessModes") or ())
        and _size(volume) >= (claim.request or 0)
    )


def _size(volume: Document) -> int:
    return whole_bytes(volume["spec"].get("capacity", {}).get("storage", 0))


def on_nodes(growth: Growth, floor: Floor) -> Limit | None:
    """Where the growth ends for want of a node that takes one more.

    Raises `CannotLook` if the volume of a claim is not known.
    """
    # Those that have no node yet want one, too.
    placed = growth.current - growth.waiting
    wanted = replace(growth, current=placed, more=growth.more + growth.waiting)
    trial = Trial(floor)
    for number, (pod, _) in enumerate(wanted.pods()):
        if not trial.place(pod):
            stranded = Stranded(pod, trial.refusals(pod))
            return Limit(number - growth.waiting, f"nodes: {stranded}", stranded)
    return None

"""Data on one node's disk: whether the next copy of a workload comes back to it."""

from collections.abc import Iterable
from posixpath import join, normpath
from typing import Any

from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.model.volume import Claim
from pytest_containerpolicy.model.workload import Workload


def require_anchored(workload: Workload, places: Iterable[Place]) -> None:
    """Raise `CannotLook` if the next copy may start on another node than the data's disk is on.

    It would start there without its data, and nothing would bring the two together again.
    """
    if found := astray(workload, places):
        raise CannotLook(
            f"{found[0]} of {workload.ref} is on one node's disk, and nothing keeps it from"
            " starting on another node, without that data, for good: it was left running. Pin it to"
            " its node, or set leave_behind: true where it may lose its data"
        )


def astray(workload: Workload, places: Iterable[Place]) -> list[Place]:
    """What is on one node's disk, though the next copy may come to another node.

    It says nothing that it is still there if luck puts the next one on the same node. Raises
    `CannotLook` if the nodes could not be read.
    """
    on_disk = [place for place in places if place.is_probed and place.on_one_disk]
    stays = not on_disk or workload.one_per_node or workload.keeps_to_one_node
    return [] if stays else on_disk


def located(workload: Workload, pod: dict[str, Any], place: Place) -> Place:
    """A place with the host's directory behind the claim that a pod has there.

    A hostPath volume without node affinity is another directory on every node. Raises `CannotLook`
    if the claim or its volume could not be read.
    """
    if place.volume.lifetime != "claim" or place.host_path:
        return place
    name = _claim_name(pod, place.volume.name)
    claim = workload.model.get(Claim, name, workload.namespace)
    if claim is None:
        raise CannotLook(f"claim {workload.namespace}/{name} is not in {workload.model.target}")
    volume = claim.persistent_volume
    if volume is None or not volume.host_path or volume.node_terms:
        return place
    return replace(place, host_path=normpath(join(volume.host_path, place.folder)))


def _claim_name(pod: dict[str, Any], volume: str) -> str:
    declared = {one["name"]: one for one in pod["spec"].get("volumes") or ()}
    claim = declared.get(volume, {}).get("persistentVolumeClaim") or {}
    return str(claim.get("claimName", ""))

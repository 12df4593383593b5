"""What only the pods of a workload tell: the labels they really carry, and their addresses.

Controllers add labels to those of the template (a StatefulSet's pod name, an Argo Rollout's hash),
admission others, and some programs label their own leader: services select by all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from pytest_containerpolicy.model.selectors import Labels
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets.inventory import Inventory

_Key = tuple[str, str, str]
_BETWEEN = {"replicasets": "ReplicaSet", "jobs": "Job"}
_ENDED = ("Succeeded", "Failed")


class RunningPods:
    """The pods of each workload that have not ended."""

    def __init__(self, inventory: Inventory) -> None:
        self._pods: defaultdict[_Key, list[pods.Pod]] = defaultdict(list)
        owners = dict(_owners(inventory))
        for pod in inventory.documents("pods"):
            key = _controller(pod.metadata)
            if key and not (pod.status and pod.status.phase in _ENDED):
                self._pods[owners.get(key, key)].append(pod)

    def of(self, workload: Workload) -> list[pods.Pod]:
        """The pods that a workload controls, itself or through another controller."""
        return self._pods.get((workload.namespace, workload.kind, workload.name), [])

    def describe(self, workload: Workload) -> None:
        """Give a workload what is known of its pods; without any, what its controller will add."""
        found = self.of(workload)
        if found:
            workload.pod_labels = tuple(_distinct(pod.metadata.labels or {} for pod in found))
        elif workload.kind == "StatefulSet":
            workload.pod_labels = tuple(_ordinals(workload))
        addresses = (pod.status.pod_ip for pod in found if pod.status)
        workload.pod_addresses = tuple(address for address in addresses if address)


def _owners(inventory: Inventory) -> Iterator[tuple[_Key, _Key]]:
    for plural, kind in _BETWEEN.items():
        for found in inventory.documents(plural):
            if owner := _controller(found.metadata):
                yield (found.metadata.namespace, kind, found.metadata.name), owner


def _controller(metadata: pods.Metadata) -> _Key | None:
    for owner in metadata.owner_references or ():
        if owner.controller:
            return metadata.namespace, owner.kind, owner.name
    return None


def _distinct(sets: Iterable[Labels]) -> Iterable[Labels]:
    return {frozenset(labels.items()): labels for labels in sets}.values()


def _ordinals(workload: Workload) -> Iterator[Labels]:
    # https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-name-label
    for ordinal in range(max(workload.replicas or 0, 1)):
        yield {
            **workload.labels,
            "statefulset.kubernetes.io/pod-name": f"{workload.name}-{ordinal}",
            "apps.kubernetes.io/pod-index": str(ordinal),
        }

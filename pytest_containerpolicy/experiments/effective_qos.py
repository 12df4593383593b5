"""The quality of service that pods really have: it decides who is killed first on a full node.

https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from collections.abc import Iterable, Iterator

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import Document, few
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.stopping import stays_up
from pytest_containerpolicy.model.quantities import quantity
from pytest_containerpolicy.model.workload import Workload

_GUARANTEED, _BURSTABLE, _BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_NAMES = ("cpu", "memory")


@experiment("probe", "reads the QoS class of its pods", applies=stays_up)
def qos_in_force(workload: Workload, lab: Lab) -> Iterator[Violation]:
    """What is put into pods beside the declared containers does not spoil a Guaranteed class."""
    if not isinstance(lab, KubernetesLab):
        raise CannotLook(f"{lab.platform} knows no QoS classes")
    pods = [pod for pod in lab.pods(workload) if "qosClass" in pod["status"]]
    if not pods:
        raise CannotLook(f"{workload.ref} has no pod that runs: there is nothing to look into")
    declared = {container.name for container in workload.containers}
    spoiled = [pod for pod in pods if _is_spoiled(pod, declared)]
    if spoiled:
        names = few([f"pod {pod['metadata']['name']}" for pod in spoiled])
        added = sorted({one["name"] for pod in spoiled for one in _added(pod, declared)})
        yield Violation(
            found=f"QoS class {spoiled[0]['status']['qosClass']} in {names}",
            wanted=f"{_GUARANTEED}, as declared",
            why=f"put into the pod beside what is declared: {', '.join(added)}",
        )


def qos_class(containers: Iterable[Document]) -> str:
    """The class that containers make together."""
    resources = [container.get("resources") or {} for container in containers]
    if not any(one.get("limits") or one.get("requests") for one in resources):
        return _BEST_EFFORT
    return _GUARANTEED if all(map(_is_guaranteed, resources)) else _BURSTABLE


def _is_spoiled(pod: Document, declared: set[str]) -> bool:
    """Whether the declared containers alone would be Guaranteed, and the pod is not."""
    spec = pod["spec"]
    if spec.get("resources") or not _added(pod, declared):
        return False
    own = [one for one in _containers(pod) if one["name"] in declared]
    return qos_class(own) == _GUARANTEED and pod["status"]["qosClass"] != _GUARANTEED


def _containers(pod: Document) -> list[Document]:
    spec = pod["spec"]
    return [*spec["containers"], *(spec.get("initContainers") or ())]


def _added(pod: Document, declared: set[str]) -> list[Document]:
    return [one for one in _containers(pod) if one["name"] not in declared]


def _is_guaranteed(resources: Document) -> bool:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return all(
        name in limits and quantity(limits[name]) == quantity(requests.get(name, limits[name]))
        for name in _NAMES
    )

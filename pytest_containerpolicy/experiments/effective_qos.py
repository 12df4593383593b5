"""The quality of service that pods really have: it decides who is killed first on a full node.

https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import Document, few
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, is_alive, workload_path
from pytest_containerpolicy.experiments.kubernetes_revisions import progress_of
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.stopping import stays_up
from pytest_containerpolicy.model.quantities import quantity
from pytest_containerpolicy.model.workload import Workload

_GUARANTEED, _BURSTABLE, _BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"
_NAMES = ("cpu", "memory")


class Declared(Struct, frozen=True, kw_only=True):
    """The pod spec that somebody wrote; `is_its_own` unless a pod may be of another revision."""

    spec: Document
    is_its_own: bool = True


@experiment("probe", "reads the QoS class of its pods", applies=stays_up)
def qos_in_force(workload: Workload, lab: Lab) -> Iterator[Violation]:
    """What admission adds to pods or changes in them does not spoil a Guaranteed class."""
    if not isinstance(lab, KubernetesLab):
        raise CannotLook(f"{lab.platform} knows no QoS classes")
    pods = [pod for pod in lab.pods(workload) if is_alive(pod) and "qosClass" in pod["status"]]
    if not pods:
        raise CannotLook(f"{workload.ref} has no pod that runs: there is nothing to look into")
    lesser = [pod for pod in pods if pod["status"]["qosClass"] != _GUARANTEED]
    judged = [(pod, declared_of(pod, workload, lab)) for pod in lesser]
    spoiled = [(pod, declared) for pod, declared in judged if is_spoiled(pod, declared)]
    yield from _violations([one for one in spoiled if one[1].is_its_own])
    if others := [one for one in spoiled if not one[1].is_its_own]:
        raise CannotLook(
            f"{workload.ref}: {_named(others)} may be of an older revision, and what that one"
            " declared is not known"
        )


def _violations(spoiled: Sequence[tuple[Document, Declared]]) -> Iterator[Violation]:
    if spoiled:
        changes = [change for pod, declared in spoiled for change in changes_of(pod, declared)]
        yield Violation(
            found=f"QoS class {spoiled[0][0]['status']['qosClass']} in {_named(spoiled)}",
            wanted=f"{_GUARANTEED}, as declared",
            why="; ".join(dict.fromkeys(changes)),
        )


def declared_of(pod: Document, workload: Workload, lab: KubernetesLab) -> Declared:
    """What a pod was made from, as far as that can be known.

    Not the model's containers: these are of the newest revision only, and have what LimitRanges
    would give them today. Raises `CannotLook`.
    """
    if workload.kind == "Pod":
        return Declared(spec=pod["spec"])
    path = workload_path(workload)
    if workload.kind == "Deployment":
        # Each revision has a ReplicaSet of its own.
        owners = pod["metadata"]["ownerReferences"]
        name = next(owner["name"] for owner in owners if owner.get("controller"))
        path = f"/apis/apps/v1/namespaces/{workload.namespace}/replicasets/{name}"
    found = lab.once(path, lambda: lab.get(path))
    return Declared(spec=found["spec"]["template"]["spec"], is_its_own=_is_newest(pod, found))


def is_spoiled(pod: Document, declared: Declared) -> bool:
    """Whether a pod that is not Guaranteed would be so with nothing but what is declared.

    That is as written, or as it is in the pod: what a LimitRange gave a container is only there.
    """
    names = {one["name"] for one in _containers(declared.spec)}
    kept = [one for one in _containers(pod["spec"]) if one["name"] in names]
    return _is_guaranteed_pod(declared.spec) or (
        not pod["spec"].get("resources")
        and bool(_added(pod, declared))
        and qos_class(kept) == _GUARANTEED
    )


def changes_of(pod: Document, declared: Declared) -> Iterator[str]:
    """What is different in a pod, in words."""
    written = {one["name"]: _amounts(one) for one in _containers(declared.spec)}
    if added := _added(pod, declared):
        yield f"put into the pod beside what is declared: {', '.join(added)}"
    changed = [
        one["name"]
        for one in _containers(pod["spec"])
        if one["name"] in written and written[one["name"]] != _amounts(one)
    ]
    if changed:
        yield f"given other requests or limits than declared: {', '.join(changed)}"
    if pod["spec"].get("resources") != declared.spec.get("resources"):
        yield "given other resources of the whole pod than declared"


def qos_class(containers: Sequence[Document]) -> str:
    """The class that containers make together."""
    amounts = list(map(_amounts, containers))
    if not any(any(pair) for one in amounts for pair in one):
        return _BEST_EFFORT
    return _GUARANTEED if all(map(_is_guaranteed, amounts)) else _BURSTABLE


_Amounts = tuple[tuple[float, float], ...]


def _amounts(container: Document) -> _Amounts:
    """Its request and its limit of each resource that counts, as the API server completes them.

    Nothing and zero are the same.
    """
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    requests = {**limits, **(resources.get("requests") or {})}
    return tuple((quantity(requests.get(n, 0)), quantity(limits.get(n, 0))) for n in _NAMES)


def _is_guaranteed(amounts: _Amounts) -> bool:
    return all(limit and request == limit for request, limit in amounts)


def _is_guaranteed_pod(spec: Document) -> bool:
    # Those of the whole pod outweigh its containers', and what they leave out comes from there:
    # https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/
    whole = spec.get("resources")
    if whole:
        return set(_NAMES) <= set(whole.get("requests") or ()) and _is_guaranteed(_amounts(spec))
    return qos_class(_containers(spec)) == _GUARANTEED


def _is_newest(pod: Document, controller: Document) -> bool:
    """Whether a pod was made from the template that its controller has now."""
    if controller["kind"] == "StatefulSet":
        status, metadata = controller.get("status", {}), controller["metadata"]
        is_seen = status.get("observedGeneration", 0) >= metadata["generation"]
        label = (pod["metadata"].get("labels") or {}).get("controller-revision-hash")
        return bool(is_seen and label == status.get("updateRevision"))
    if controller["kind"] == "DaemonSet":
        # Which revision is the newest shows only once all pods are of that one.
        progress = progress_of(controller)
        return progress.updated == progress.wanted
    return True


def _containers(spec: Document) -> list[Document]:
    return [*spec["containers"], *(spec.get("initContainers") or ())]


def _added(pod: Document, declared: Declared) -> list[str]:
    names = {one["name"] for one in _containers(declared.spec)}
    return [one["name"] for one in _containers(pod["spec"]) if one["name"] not in names]


def _named(judged: Sequence[tuple[Document, Declared]]) -> str:
    return few([f"pod {pod['metadata']['name']}" for pod, _ in judged])

"""What pods and claims count in a ResourceQuota, and which quotas count them.

https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Iterable

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_placement import amount_text
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab
from pytest_containerpolicy.model.kubernetes_values import numbers
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.selectors import Requirement
from pytest_containerpolicy.model.volume import Claim

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_OF_CLASS = "storageclass.storage.k8s.io"
_PRIORITY = "PriorityClass"


def usage_of(pod: Pod, claims: Iterable[Claim] = ()) -> dict[str, float]:
    """What one pod and the claims made for it count, by the quotas' own names.

    Raises `CannotLook` if storage classes could not be read.
    """
    counted: dict[str, float] = {"pods": 1, "count/pods": 1}
    for name, amount in pod.requests.items():
        if name != "pods":
            counted[f"requests.{name}"] = amount
        if name in _COMPUTE:
            counted[name] = amount
    counted |= {f"limits.{name}": amount for name, amount in pod.limits.items()}
    for claim in claims:
        for name, amount in _of_claim(claim).items():
            counted[name] = counted.get(name, 0) + amount
    return counted


def _of_claim(claim: Claim) -> dict[str, float]:
    size = float(claim.request or 0)
    counted = {"persistentvolumeclaims": 1.0, "requests.storage": size}
    counted["count/persistentvolumeclaims"] = 1
    found = claim.storage_class
    if found:
        counted[f"{found.ref.name}.{_OF_CLASS}/persistentvolumeclaims"] = 1
        counted[f"{found.ref.name}.{_OF_CLASS}/requests.storage"] = size
    return counted


def quotas_of(lab: KubernetesLab, namespace: str) -> list[Document]:
    """The quotas of a namespace as they are now. Raises `Refused`."""
    return lab.items(f"/api/v1/namespaces/{namespace}/resourcequotas")


def amounts_of(quota: Document) -> tuple[dict[str, float], dict[str, float]]:
    """What a quota allows and what is used of it, by its own names."""
    status = quota.get("status", {})
    return numbers(status.get("hard"), "status.hard"), numbers(status.get("used"), "status.used")


def exceeded(quota: Document, pod: Pod) -> str:
    """Of what more is used than a quota allows, if a pod counts in it; empty if of nothing.

    What is used up may come again once it is gone; what is exceeded may not.
    Raises `CannotLook` if it is not known whether it counts the pod.
    """
    hard, used = amounts_of(quota)
    for name in sorted(hard.keys() & usage_of(pod).keys()):
        if used.get(name, 0) > hard[name] and counts(quota, pod, name):
            amounts = f"{amount_text(name, used[name])} of {amount_text(name, hard[name])}"
            return f"quota {quota['metadata']['name']}: {amounts} {name} used"
    return ""


def counts(quota: Document, pod: Pod, resource: str) -> bool:
    """Whether a quota counts a pod that is meant to stay.

    Raises `CannotLook` for a scope of which that can't be told.
    """
    if "storage" in resource or "persistentvolumeclaims" in resource:
        return True
    spec = quota["spec"]
    wanted = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    wanted += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return all(_in_scope(term, pod, quota) for term in wanted)


def _in_scope(term: Document, pod: Pod, quota: Document) -> bool:
    is_best_effort = not any(
        name in amounts for amounts in (pod.requests, pod.limits) for name in _COMPUTE[:2]
    )
    match term["scopeName"]:
        case "Terminating":
            return pod.has_deadline
        case "NotTerminating":
            return not pod.has_deadline
        case "BestEffort":
            return is_best_effort
        case "NotBestEffort":
            return not is_best_effort
        case "PriorityClass":
            values = tuple(term.get("values") or ())
            own = {_PRIORITY: pod.priority_class} if pod.priority_class else {}
            return Requirement(_PRIORITY, term["operator"], values).matches(own)
    raise CannotLook(
        f"whether quota {quota['metadata']['name']} counts pod {pod.ref} is not known:"
        f" scope {term['scopeName']}"
    )

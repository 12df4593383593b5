"""Would the API server admit the pods that an autoscaler asks for? Asked by dry run.

https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

import secrets

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    workload_path,
)
from pytest_containerpolicy.experiments.scaling_room import Growth
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN

_NO_RIGHT = "cannot "
_NO_DRY_RUN = "does not support dry run"
_EXCEEDED = "exceeded quota"
_JUDGED = (400, FORBIDDEN, 409, 422, 500)


def refused_scale(lab: KubernetesLab, growth: Growth) -> str:
    """Why the target may not be scaled; empty if it may. Raises `CannotLook`."""
    replicas = growth.current + growth.more
    path = f"{workload_path(growth.workload)}/scale"
    try:
        lab.patch(path, {"spec": {"replicas": replicas}}, dry_run=True)
    except Refused as refusal:
        return _reason(refusal, "patch on the target's scale")
    return ""


def refused_pod(lab: KubernetesLab, growth: Growth, document: Document, pod: Document) -> str:
    """Why one more pod of a workload is refused; empty if it is admitted.

    `document` is the workload, `pod` one of its pods. Quotas are not asked: they say more of
    themselves. Raises `CannotLook`.
    """
    path = f"/api/v1/namespaces/{growth.workload.namespace}/pods"
    try:
        lab.create(path, _next_pod(growth, document, pod), dry_run=True)
    except Refused as refusal:
        reason = _reason(refusal, "create on pods")
        return "" if _EXCEEDED in reason else reason
    return ""


def _reason(refusal: Refused, right: str) -> str:
    is_judged = refusal.status in _JUDGED and _NO_DRY_RUN not in refusal.message
    if refusal.status == FORBIDDEN and _NO_RIGHT in refusal.message:
        raise CannotLook(f"a dry run was forbidden (403): needs {right}")
    if not is_judged:
        raise CannotLook(str(refusal))
    return refusal.message


def _next_pod(growth: Growth, document: Document, pod: Document) -> Document:
    """The next pod as its controller would create it."""
    template, name = document["spec"]["template"], f"{growth.workload.name}-{secrets.token_hex(4)}"
    given = template.get("metadata") or {}
    owners = [
        {key: owner[key] for key in owner if key != "blockOwnerDeletion"}
        for owner in pod["metadata"].get("ownerReferences") or ()
    ]
    claims = [
        {"name": volume, "persistentVolumeClaim": {"claimName": f"{volume}-{name}"}}
        for volume in growth.templates
    ]
    volumes = [*(template["spec"].get("volumes") or ()), *claims]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": given.get("labels", {}),
            "annotations": given.get("annotations", {}),
            "ownerReferences": owners,
        },
        "spec": {**template["spec"], "volumes": volumes},
    }

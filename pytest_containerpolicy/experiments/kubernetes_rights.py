"""What this run may do in a cluster, asked before it is needed.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def require_right(
    lab: KubernetesLab, verb: str, resource: str, namespace: str = "", group: str = ""
) -> None:
    """Raise `CannotLook` unless this run may do that in a namespace, or in the whole cluster."""
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "group": group}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    if not lab.create(_REVIEWS, review)["status"]["allowed"]:
        where = f"in namespace {namespace}" if namespace else "in the cluster"
        raise CannotLook(f"needs the right to {verb} {resource} {where}")

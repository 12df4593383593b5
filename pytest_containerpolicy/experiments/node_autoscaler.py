"""Does anything add nodes to a cluster when pods find no place?"""

import re
from datetime import UTC, datetime, timedelta

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN

_STATUS = "cluster-autoscaler-status"
_EVERYWHERE = "/api/v1/configmaps"
# Where it is unless `--namespace` says otherwise; its Helm chart gives the release's namespace.
_USUAL = f"/api/v1/namespaces/kube-system/configmaps/{_STATUS}"
_KARPENTER = "/apis/karpenter.sh"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")
# It writes every ten seconds; a cluster's clock and this machine's differ.
_SILENCE = timedelta(minutes=15)


def nodes_may_be_added(lab: KubernetesLab) -> str:
    """What adds nodes to this cluster, if anything does; empty if nothing is known to.

    Cluster Autoscaler keeps its status in a ConfigMap, Karpenter has an API of its own:
    https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
    Raises `CannotLook` if one may not look.
    """
    return lab.once("nodes may be added", lambda: _node_autoscaler(lab))


def _node_autoscaler(lab: KubernetesLab) -> str:
    if _has_karpenter(lab):
        return "Karpenter"
    return "Cluster Autoscaler" if _has_cluster_autoscaler(lab) else ""


def _has_karpenter(lab: KubernetesLab) -> bool:
    try:
        return lab.find(_KARPENTER) is not None
    except Refused as refusal:
        raise _gap(refusal, "Karpenter", f"get on {_KARPENTER}") from None


def _has_cluster_autoscaler(lab: KubernetesLab) -> bool:
    query = {"fieldSelector": f"metadata.name={_STATUS}"}
    try:
        return any(map(is_fresh, lab.get(_EVERYWHERE, query)["items"]))
    except Refused as refusal:
        if refusal.status == FORBIDDEN and _is_usual(lab):
            return True
        right = f"list on the configmaps {_STATUS} of all namespaces"
        raise _gap(refusal, "Cluster Autoscaler", right) from None


def _is_usual(lab: KubernetesLab) -> bool:
    """Whether one is at work in its usual place, as far as this run may look."""
    try:
        status = lab.find(_USUAL)
    except Refused:
        return False
    return status is not None and is_fresh(status)


def _gap(refusal: Refused, name: str, right: str) -> CannotLook:
    """What a refusal leaves open."""
    if refusal.status != FORBIDDEN:
        return refusal
    return CannotLook(f"whether {name} adds nodes is not known (403): needs {right}")


def is_fresh(status: Document) -> bool:
    """Whether the autoscaler is still there: it writes the time of each of its rounds."""
    found = _TIME.search(status.get("data", {}).get("status", ""))
    if found is None:
        return True
    written = datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
    return datetime.now(UTC) - written < _SILENCE

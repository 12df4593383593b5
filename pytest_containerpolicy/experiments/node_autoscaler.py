"""Does anything add nodes to a cluster when pods find no place?"""

import re
from datetime import UTC, datetime, timedelta

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.targets.kubernetes_failures import FORBIDDEN

_STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
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
    if _found(lab, _KARPENTER, "Karpenter"):
        return "Karpenter"
    status = _found(lab, _STATUS, "Cluster Autoscaler")
    return "Cluster Autoscaler" if status and is_fresh(status) else ""


def _found(lab: KubernetesLab, path: str, name: str) -> Document | None:
    try:
        return lab.find(path)
    except Refused as refusal:
        if refusal.status == FORBIDDEN:
            raise CannotLook(
                f"whether {name} adds nodes is not known (403): needs get on {path}"
            ) from None
        raise


def is_fresh(status: Document) -> bool:
    """Whether the autoscaler is still there: it writes the time of each of its rounds."""
    found = _TIME.search(status.get("data", {}).get("status", ""))
    if found is None:
        return True
    written = datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
    return datetime.now(UTC) - written < _SILENCE

"""Pods' documents as policies and probers see them."""

from collections.abc import Iterator

from pytest_containerpolicy.experiments.kubernetes_lab import (
    MANAGED_BY,
    MANAGER,
    Document,
    is_ready,
)
from pytest_containerpolicy.experiments.kubernetes_probers import PROBER
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.model.container import ContainerPort

_HASH = "pod-template-hash"


def pod_of(document: Document, namespace_labels: Document) -> Pod:
    """A pod's document as policies and probers see it."""
    spec, status, metadata = document["spec"], document["status"], document["metadata"]
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        labels=metadata.get("labels") or {},
        namespace_labels=namespace_labels,
        address=status["podIP"],
        node=spec.get("nodeName", ""),
        node_address=status.get("hostIP", ""),
        host_network=bool(spec.get("hostNetwork")),
        ports=tuple(_declared(spec)),
        answering=frozenset(_answering(spec)) if is_ready(document) else frozenset(),
        container=_asked_from(document),
        workload=" ".join(workload_of(metadata)),
    )


def workload_of(metadata: Document) -> tuple[str, str]:
    """Kind and name of what keeps a pod; of the pod itself where nothing does."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            digest = (metadata.get("labels") or {}).get(_HASH)
            name = str(owner["name"])
            if owner["kind"] == "ReplicaSet" and digest:
                return "Deployment", name.removesuffix(f"-{digest}")
            return str(owner["kind"]), name
    return "Pod", str(metadata["name"])


def is_ours(metadata: Document) -> bool:
    """Whether an object was created by a run of ours."""
    return bool((metadata.get("labels") or {}).get(MANAGED_BY) == MANAGER)


def _asked_from(document: Document) -> str:
    """The container to ask from: in a pod of ours not the one that a mesh put before it."""
    names = [container["name"] for container in document["spec"]["containers"]]
    return PROBER if is_ours(document["metadata"]) and PROBER in names else str(names[0])


def _declared(spec: Document) -> Iterator[ContainerPort]:
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for port in container.get("ports") or ():
            yield ContainerPort(
                number=port["containerPort"],
                name=port.get("name", ""),
                protocol=port.get("protocol", "TCP"),
            )


def _answering(spec: Document) -> Iterator[int]:
    """The TCP ports at which the node has just found a ready pod to answer."""
    for container in spec["containers"]:
        probe = container.get("readinessProbe") or {}
        handler = probe.get("httpGet") or probe.get("tcpSocket") or probe.get("grpc") or {}
        if "port" in handler and "host" not in handler:
            named = {p.get("name"): p["containerPort"] for p in container.get("ports") or ()}
            port = handler["port"]
            yield named.get(port, 0) if isinstance(port, str) else port

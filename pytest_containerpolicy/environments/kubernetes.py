"""A Kubernetes cluster in a test's hands."""

import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_containerpolicy.errors import ContainerPolicyError, UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.kubernetes_failures import RequestFailed
from pytest_containerpolicy.targets.uri import Timeouts, suggestion
from pytest_containerpolicy.targets.yaml_files import load_documents, parse_documents

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

FIELD_MANAGER = "pytest-containerpolicy"
_LOG_LINES = 40
_EVENTS = 20
_KINDS = {"deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet"}


class KubernetesCluster:
    """A cluster, or the part of it that its target URI names."""

    def __init__(self, target: KubernetesTarget, timeouts: Timeouts) -> None:
        self.target = target
        self.timeouts = timeouts

    @cached_property
    def api(self) -> "ApiClient":
        """The official client, with this cluster's credentials. Raises `Unreachable`."""
        return self.target.connect(self.timeouts).client

    def read_model(self) -> Model:
        """Read the cluster now. Raises `Unreachable`."""
        return build_model(take_inventory(self.target, self.timeouts))

    def covers(self, ref: ObjectRef) -> bool:
        """Every object of the cluster."""
        return True

    def namespace(self, name: str) -> "KubernetesNamespace":
        """One namespace, which need not exist yet."""
        return KubernetesNamespace(self, name)

    def workload(self, kind: str, name: str, namespace: str = "default") -> "LiveWorkload":
        """One workload. Raises `UsageError` that lists the namespace's workloads without it."""
        return self.namespace(namespace).workload(kind, name)

    def __repr__(self) -> str:
        return f"<{self.target.id}>"


class KubernetesNamespace:
    """One namespace of a cluster."""

    def __init__(self, cluster: KubernetesCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def __repr__(self) -> str:
        return f"<namespace {self.name} of {self.cluster.target.id}>"

    def read_model(self) -> Model:
        """Read this namespace, and what is cluster-wide, now. Raises `Unreachable`."""
        whole = self.cluster.target
        target = KubernetesTarget(whole.uri, whole.access, (self.name,))
        return build_model(take_inventory(target, self.cluster.timeouts))

    def covers(self, ref: ObjectRef) -> bool:
        return ref.namespace == self.name

    def workload(self, kind: str, name: str) -> "LiveWorkload":
        """One workload. Raises `UsageError` that lists what there is without it."""
        found = self.read_model().all(Workload)
        for workload in found:
            if (workload.kind, workload.name) == (_KINDS.get(kind, kind), name):
                return LiveWorkload(self, workload)
        known = [f"{workload.kind} {workload.name}" for workload in found]
        raise UsageError(
            f"namespace {self.name}: no {kind} {name}{suggestion(f'{kind} {name}', known)}"
        )

    def create(self) -> None:
        """Create the namespace."""
        from kubernetes.client import CoreV1Api

        metadata = {"name": self.name, "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}}
        CoreV1Api(self.cluster.api).create_namespace({"metadata": metadata})

    def delete(self) -> None:
        """Ask for the namespace's deletion; Kubernetes removes what is in it in its own time."""
        from kubernetes.client import CoreV1Api

        CoreV1Api(self.cluster.api).delete_namespace(self.name)

    def apply(self, manifests: str | Path) -> None:
        """Server-side apply manifests, given as text or as a file, into this namespace.

        Raises `UsageError` if they are not YAML; the API server's refusals pass through.
        """
        from kubernetes.dynamic import DynamicClient

        client = DynamicClient(self.cluster.api)
        documents = (
            load_documents(manifests)
            if isinstance(manifests, Path)
            else parse_documents(manifests.encode(), "manifests")
        )
        for document in documents:
            body = document.content
            resource = client.resources.get(api_version=body["apiVersion"], kind=body["kind"])
            client.server_side_apply(
                resource,
                body=body,
                name=body["metadata"]["name"],
                namespace=self.name if resource.namespaced else None,
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until every controller has the pods it wants, and all are ready (or have succeeded).

        Raises `TimeoutError` that names what is not.
        """
        deadline = time.monotonic() + seconds
        while waiting := [*self._unfinished(), *self._not_ready()]:
            if time.monotonic() > deadline:
                names = ", ".join(waiting)
                raise TimeoutError(f"namespace {self.name}: not ready after {seconds:g} s: {names}")
            time.sleep(0.3)

    def _unfinished(self) -> list[str]:
        """The controllers that have not seen their latest version, or want more ready pods."""
        return [
            f"{plural}/{found['metadata']['name']}"
            for plural in ("deployments", "statefulsets", "daemonsets")
            for found in _items(self.cluster, f"/apis/apps/v1/namespaces/{self.name}/{plural}")
            if not _is_rolled_out(found)
        ]

    def _not_ready(self) -> list[str]:
        pods = self.pods()
        if not pods:
            return ["no pod at all"]
        return [f"pod {pod['metadata']['name']}" for pod in pods if not _is_ready(pod)]

    def pods(self) -> list[dict[str, Any]]:
        """Its pods as the API returns them."""
        return _items(self.cluster, f"/api/v1/namespaces/{self.name}/pods")

    def evidence(self) -> Iterator[tuple[str, str]]:
        """Recent events of the namespace, then the last log lines of its pods."""
        events = _items(self.cluster, f"/api/v1/namespaces/{self.name}/events")[-_EVENTS:]
        yield f"events in {self.name}", "\n".join(map(_event_line, events)) or "(none)"
        for pod in self.pods():
            yield from _logs(self.cluster, pod)


class LiveWorkload:
    """One workload of a live cluster; `declared` is its model."""

    def __init__(self, namespace: KubernetesNamespace, declared: Workload) -> None:
        self.namespace = namespace
        self.declared = declared

    def read_model(self) -> Model:
        return self.namespace.read_model()

    def covers(self, ref: ObjectRef) -> bool:
        return ref == self.declared.ref

    def pods(self) -> list[dict[str, Any]]:
        """Its pods as the API returns them: those that carry its template's labels."""
        labels = self.declared.labels.items()
        pods = self.namespace.pods()
        return [pod for pod in pods if labels <= pod["metadata"].get("labels", {}).items()]

    def __repr__(self) -> str:
        return f"<{self.declared.ref}>"


def _items(cluster: KubernetesCluster, path: str) -> list[dict[str, Any]]:
    content = cluster.target.connect(cluster.timeouts).get(path)
    items: list[dict[str, Any]] = msgspec.json.decode(content)["items"]
    return items


def _is_rolled_out(controller: dict[str, Any]) -> bool:
    spec, status = controller["spec"], controller.get("status", {})
    # A DaemonSet counts nodes, in fields of its own.
    wanted = status.get("desiredNumberScheduled", spec.get("replicas", 0))
    ready = status.get("numberReady", status.get("readyReplicas", 0))
    seen = status.get("observedGeneration", 0) >= controller["metadata"]["generation"]
    return bool(seen and ready >= wanted)


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready or pod["status"].get("phase") == "Succeeded"


def _event_line(event: dict[str, Any]) -> str:
    about = event.get("involvedObject", {})
    return (
        f"{event.get('type', '')} {event.get('reason', '')} {about.get('kind', '')}/"
        f"{about.get('name', '')}: {event.get('message', '')}"
    )


def _logs(cluster: KubernetesCluster, pod: dict[str, Any]) -> Iterator[tuple[str, str]]:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    for container in pod["spec"]["containers"]:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        query = {"container": container["name"], "tailLines": _LOG_LINES}
        try:
            text = (
                cluster.target.connect(cluster.timeouts).get(path, query).decode(errors="replace")
            )
        except (ContainerPolicyError, RequestFailed) as error:
            text = f"({error})"
        yield f"log of {name}, container {container['name']}", text

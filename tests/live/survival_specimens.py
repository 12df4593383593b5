"""Workloads with data in every way, for experiments to replace their pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.live.conftest import Namespace
from tests.live.survivals import Verdict, survival
from tests.live.workloads import workload_document

WAIT = 60.0
READY = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
RESTRICTED = {
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}


def stored(
    name: str, *, kind: str = "Deployment", volumes: Any = (), container: Any = None, **spec: Any
) -> dict[str, Any]:
    """A workload of one pod; each volume is (mount, source)."""
    app = {
        "name": "app",
        "image": "testbed/server:1",
        "readinessProbe": READY,
        "volumeMounts": [{"name": f"v{n}", **mount} for n, (mount, _) in enumerate(volumes)],
        **(container or {}),
    }
    pod = {
        "containers": [app],
        "volumes": [{"name": f"v{n}", **source} for n, (_, source) in enumerate(volumes)],
        "terminationGracePeriodSeconds": 1,
    }
    return workload_document(name, pod, kind=kind, **{"replicas": 1, **spec})


def claim(name: str) -> dict[str, Any]:
    """A small claim of the default class."""
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": CLAIM,
    }


def on_claim(name: str) -> dict[str, Any]:
    """A volume's source."""
    return {"persistentVolumeClaim": {"claimName": name}}


def stateful_set(name: str) -> dict[str, Any]:
    """Two pods of a database, each with a claim of its own, a folder of it mounted once more."""
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "data", "mountPath": "/deep", "subPath": "deep"},
    ]
    templates = [{"metadata": {"name": "data"}, "spec": CLAIM}]
    return stored(
        name,
        kind="StatefulSet",
        container={"image": "testbed/stateful:1", "volumeMounts": mounts},
        replicas=2,
        podManagementPolicy="Parallel",
        volumeClaimTemplates=templates,
    )


def await_rollouts(namespace: Namespace) -> None:
    """Wait until every pod of every workload is ready."""
    for kind, name in (
        line.split("/") for line in namespace.kubectl("get", "deploy,sts", "-o", "name").split()
    ):
        namespace.kubectl("rollout", "status", kind, name, "--timeout=90s")


def measure(
    shop: Namespace, name: str, folder: Path, kubeconfig: Path | None = None, **params: Any
) -> Verdict:
    """What becomes of a workload's data."""
    file = kubeconfig or shop.cluster.kubeconfig
    return survival(f"k8s://?kubeconfig={file}&namespace={shop.name}", name, folder, **params)


def pods_of(namespace: Namespace, name: str) -> list[dict[str, Any]]:
    """The pods of a workload that are not on their way out."""
    found = json.loads(namespace.kubectl("get", "pods", "-l", f"app={name}", "-o", "json"))
    items: list[dict[str, Any]] = found["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def files_in(namespace: Namespace, name: str, *directories: str) -> str:
    """What is in directories of a workload's first pod."""
    first = pods_of(namespace, name)[0]["metadata"]["name"]
    return namespace.inside(first, "ls", "-A", *directories)

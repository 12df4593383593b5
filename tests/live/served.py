"""Deployments of the test server behind a Service, and the laboratory to experiment with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.live.workloads import workload_document

PROBER_IMAGE = "testbed/python:1"
READY = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
DELAY = {"preStop": {"sleep": {"seconds": 5}}}


def served(name: str, kind: str = "Deployment", **settings: Any) -> list[dict[str, Any]]:
    """A workload and its Service.

    `env`, `lifecycle` and `readiness` are its container's, `affinity` and `grace` its pod's, the
    others its spec's.
    """
    spec: dict[str, Any] = dict(settings)
    env = [{"name": key, "value": value} for key, value in spec.pop("env", {}).items()]
    container = {
        "name": "app",
        "image": "testbed/server:1",
        "env": env,
        "readinessProbe": spec.pop("readiness", READY),
        "lifecycle": spec.pop("lifecycle", None),
        "ports": [{"containerPort": 8080}],
        # A pod that asks for no CPU gets none while others measure: it would look unavailable.
        "resources": {"requests": {"cpu": "50m"}},
    }
    pod: dict[str, Any] = {"affinity": spec.pop("affinity", None), "containers": [container]}
    pod["terminationGracePeriodSeconds"] = spec.pop("grace", 10)
    if kind != "DaemonSet":
        spec.setdefault("replicas", 2)
    if kind == "StatefulSet":
        spec["serviceName"] = name
    service = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return [
        workload_document(name, pod, kind=kind, **spec),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    ]


def rolled_out(namespace: Namespace, *workloads: list[dict[str, Any]]) -> None:
    """Apply workloads and wait until they are well."""
    namespace.apply(*(document for documents in workloads for document in documents))
    for documents in workloads:
        kind, name = documents[0]["kind"].lower(), documents[0]["metadata"]["name"]
        namespace.kubectl("rollout", "status", f"{kind}/{name}", "--timeout=90s")


@contextmanager
def laboratory(
    namespace: Namespace,
    *,
    kubeconfig: Path | None = None,
    image: str = PROBER_IMAGE,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[KubernetesLab]:
    """A laboratory that may disrupt a namespace."""
    file = kubeconfig or namespace.cluster.kubeconfig
    target = parse_target(f"k8s://?kubeconfig={file}&namespace={namespace.name}")
    options = LabOptions(level="disrupt", prober_image=image, progress=progress)
    lab = open_lab(target, Timeouts(), options)
    assert isinstance(lab, KubernetesLab)
    try:
        yield lab
    finally:
        lab.close()


def model_of(lab: KubernetesLab) -> Model:
    """What is there now."""
    return build_model(take_inventory(lab.target, Timeouts()))


def workload(lab: KubernetesLab, name: str) -> Workload:
    """One workload as it is now."""
    return next(found for found in model_of(lab).all(Workload) if found.name == name)

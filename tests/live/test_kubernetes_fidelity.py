"""A manifest and the same object from the API server give equal model values."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_documents import BY_NAME
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.targets.yaml_files import load_documents
from tests.kubernetes_values import model_of, objects_of, values_of
from tests.live.conftest import Namespace
from tests.testbed import Cluster

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "unit" / "recorded" / "kubernetes"
SCALARS = RECORDED / "scalars.yaml"


def _served(file: Path) -> list[dict[str, Any]]:
    """What a cluster without add-ons serves of the kinds that are read."""
    return [item for item in objects_of(file) if not BY_NAME[item["kind"]].optional]


_FILES = (
    RECORDED / "everything.yaml",
    *sorted((ROOT / "policies").glob("**/*.kubernetes.yaml")),
    *sorted(f for f in (ROOT / "examples").glob("**/*.yaml") if b"\nkind:" in f.read_bytes()),
)
MANIFESTS = [file for file in _FILES if _served(file)]


@pytest.fixture(scope="module")
def empty_namespace(testbed_cluster: Cluster) -> Iterator[Namespace]:
    """One namespace for every dry run: nothing is ever stored in it."""
    name = f"dry-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    yield Namespace(testbed_cluster, name)
    testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: "/".join(file.parts[-3:]))
def test_a_manifest_means_what_the_server_makes_of_it(
    file: Path, empty_namespace: Namespace
) -> None:
    """Every value of every noun is the same, read from the file and from the server's answer."""
    served = _served(file)
    from_file = model_of(served, live=False)
    assert () == tuple(from_file.header.unreadable)

    from_server = model_of(_answered(served, empty_namespace), live=True)

    assert values_of(from_file) == values_of(from_server)


LIMIT_RANGES: dict[str, dict[str, Any]] = {
    "default and request": {"default": {"memory": "256Mi"}, "defaultRequest": {"memory": "64Mi"}},
    "default only": {"default": {"memory": "256Mi", "cpu": "1"}},
    "request only": {"defaultRequest": {"memory": "64Mi", "cpu": "100m"}},
    "maximum only": {"max": {"memory": "512Mi"}},
    "minimum only": {"min": {"memory": "16Mi"}},
    "all of them": {
        "default": {"memory": "256Mi"},
        "defaultRequest": {"memory": "64Mi"},
        "max": {"memory": "512Mi", "cpu": "2"},
        "min": {"memory": "16Mi", "ephemeral-storage": "1Gi"},
    },
}
RESOURCES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a limit": {"limits": {"memory": "100Mi"}},
    "a request": {"requests": {"memory": "50Mi"}},
    "both": {"limits": {"memory": "100Mi"}, "requests": {"memory": "50Mi"}},
    "cpu": {"limits": {"cpu": "500m"}},
}


@pytest.mark.parametrize("limits", LIMIT_RANGES.values(), ids=list(LIMIT_RANGES))
def test_limit_ranges_give_what_the_server_gives(
    limits: dict[str, Any], namespace: Namespace
) -> None:
    """Limits and requests of a template are those that its pods get on creation."""
    spec = {"limits": [{"type": "Container", **limits}]}
    limit_range = _object("v1", "LimitRange", "defaults", spec)
    containers = [
        {"name": name.replace(" ", "-"), "image": "busybox", "resources": resources}
        for name, resources in RESOURCES.items()
    ]
    namespace.apply(_moved(limit_range, namespace.name))

    pods = _answered([_object("v1", "Pod", "app", {"containers": containers})], namespace)

    template = {"spec": {"containers": containers}, "metadata": {"labels": {"app": "app"}}}
    deployment = _object("apps/v1", "Deployment", "app", {"template": template})
    expected = _resources(model_of(pods, live=True))
    assert expected == _resources(model_of([limit_range, deployment], live=False))


def test_scalars_mean_what_kubectl_makes_of_them(testbed_cluster: Cluster) -> None:
    """Plain scalars, keys, merges and anchors read as kubectl reads them."""
    command = ("annotate", "--local", "-o", "json", "-f", str(SCALARS), "read=true")
    answer = json.loads(testbed_cluster.kubectl(*command))

    assert answer["spec"] == load_documents(SCALARS)[0].content["spec"]


def _object(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _answered(objects: list[dict[str, Any]], namespace: Namespace) -> list[dict[str, Any]]:
    """What the API server would store, under the namespaces that the objects have."""
    sent = [_moved(item, namespace.name) for item in objects]
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": sent})
    command = ("apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-")
    answer = json.loads(namespace.cluster.kubectl(*command, input=content))
    answered = answer["items"] if answer["kind"] == "List" else [answer]
    pairs = zip(objects, answered, strict=True)
    return [_moved(found, sent["metadata"].get("namespace", "default")) for sent, found in pairs]


def _moved(item: dict[str, Any], namespace: str) -> dict[str, Any]:
    if not BY_NAME[item["kind"]].namespaced:
        return item
    return item | {"metadata": item["metadata"] | {"namespace": namespace}}


def _resources(model: Model) -> dict[str, tuple[Any, ...]]:
    (workload,) = model.all(Workload)
    return {
        c.name: (c.memory_limit, c.memory_request, c.cpu_limit, c.cpu_request)
        for c in workload.containers
    }


RUNNING = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: absent.invalid/web}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: import}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: import, image: absent.invalid/import}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lonely}
spec: {containers: [{name: app, image: absent.invalid/app}]}
"""


def test_what_runs_means_what_its_manifest_means(namespace: Namespace, tmp_path: Path) -> None:
    """Controllers, the scheduler and admission add objects and fields; none is a new value."""
    file = tmp_path / "running.yaml"
    place = f"metadata: {{namespace: {namespace.name}, name: "
    file.write_text(RUNNING.replace("metadata: {name: ", place))
    namespace.kubectl("apply", "-f", str(file))
    namespace.wait("condition=PodScheduled", "pod", "--all")
    cluster = namespace.cluster
    uri = f"k8s://{cluster.context}?kubeconfig={cluster.kubeconfig}&namespace={namespace.name}"

    live = build_model(parse_target(uri).read(Timeouts()))

    from_file = build_model(parse_target(f"manifests:{file}").read(Timeouts()))
    assert _workload_values(from_file) == _workload_values(live)


def _workload_values(model: Model) -> dict[str, Any]:
    return {
        path: value
        for path, value in values_of(model).items()
        # Only what runs has addresses, and labels that controllers gave it.
        if path.startswith("Workload ") and ".pod_labels" not in path and ".pod_addr" not in path
    }

"""Pods, policies and endpoints as an API server gives them (recorded), and what follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.experiments.kubernetes_lab import MANAGED_BY, MANAGER
from pytest_containerpolicy.experiments.network_pods import is_ours, pod_of, workload_of
from pytest_containerpolicy.experiments.network_scene import versions
from pytest_containerpolicy.experiments.reachability import Pod, Policies
from pytest_containerpolicy.experiments.service_ports import endpoints_in
from pytest_containerpolicy.model.network import NetworkPolicy
from tests.kubernetes_values import model_of

RECORDED = Path(__file__).parent / "recorded" / "kubernetes" / "network.json"
ITEMS: list[dict[str, Any]] = json.loads(RECORDED.read_text())["items"]
NAMESPACE = "shop-recorded"


def documents(kind: str) -> list[dict[str, Any]]:
    """The recorded documents of one kind."""
    return [item for item in ITEMS if item["kind"] == kind]


@pytest.fixture(scope="module")
def pods() -> dict[str, Pod]:
    """The recorded pods by their label."""
    (namespace,) = documents("Namespace")
    found = [pod_of(pod, namespace["metadata"]["labels"]) for pod in documents("Pod")]
    return {pod.labels["app"]: pod for pod in found}


def test_pods(pods: dict[str, Pod]) -> None:
    """Workload, node, declared ports, and the ports that readiness probes show to answer."""
    web, db, job = pods["web"], pods["db"], pods["job"]

    assert "Deployment web" == web.workload
    assert "StatefulSet set" == pods["set"].workload
    assert {8080} == web.answering == db.answering
    assert frozenset() == job.answering
    assert [("http", 8080, "TCP")] == [(p.name, p.number, p.protocol) for p in web.ports]
    assert NAMESPACE == web.namespace_labels["kubernetes.io/metadata.name"]
    assert web.address != web.node_address
    assert "app" == web.container


def test_a_pod_that_is_not_ready() -> None:
    """Its readiness probe says nothing of its ports."""
    document = json.loads(json.dumps(documents("Pod")[0]))
    for condition in document["status"]["conditions"]:
        condition["status"] = "False"

    assert frozenset() == pod_of(document, {}).answering


def test_a_pod_of_ours_that_a_mesh_has_added_to() -> None:
    """It is asked from our container, whatever stands before it."""
    document = json.loads(json.dumps(documents("Pod")[0]))
    document["spec"]["containers"] += [{"name": "prober"}]
    assert "app" == pod_of(document, {}).container

    document["metadata"]["labels"][MANAGED_BY] = MANAGER
    assert "prober" == pod_of(document, {}).container


def test_policies(pods: dict[str, Pod]) -> None:
    """The recorded policies deny everything but the named port of db to web."""
    (web, db, job), known = (pods[name] for name in ("web", "db", "job")), (NAMESPACE,)
    policies = Policies(model_of(documents("NetworkPolicy"), live=True).all(NetworkPolicy), known)

    def allowed(source: Pod, destination: Pod, port: int) -> bool | None:
        return policies.expect(source, destination, port, "TCP").allowed

    assert allowed(web, db, 8080) is True
    assert allowed(web, db, 8081) is False
    assert allowed(job, db, 8080) is False
    assert allowed(db, web, 8080) is False


def test_versions() -> None:
    """A policy whose spec is changed, or that is replaced, is another version."""
    before = documents("NetworkPolicy")
    after = json.loads(json.dumps(before))
    after[0]["metadata"]["generation"] += 1

    assert versions(before) == versions(list(reversed(before)))
    assert versions(before) != versions(after) != versions(before[:1])


def test_workload_of_a_plain_pod() -> None:
    """A pod that nothing keeps is its own workload, and is not taken for one of a run."""
    metadata = {"name": "web-5", "labels": {"app": "web"}}

    assert ("Pod", "web-5") == workload_of(metadata)
    assert not is_ours(metadata)


def test_endpoints() -> None:
    """The recorded endpoint and its port; what is not serving is none."""
    (recorded,) = documents("EndpointSlice")
    (endpoint,) = endpoints_in(recorded)
    draining = json.loads(json.dumps(recorded))
    draining["endpoints"][0]["conditions"] = {"ready": True, "serving": False}

    assert 8080 == endpoint.port("")
    assert endpoint.port("other") is None
    assert endpoint.pod.startswith("web-")
    assert [] == list(endpoints_in(draining))

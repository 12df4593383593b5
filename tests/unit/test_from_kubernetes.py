"""The model of Kubernetes objects: the network, quotas, and what can't be known."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.model.cluster import Autoscaler, LimitRange, Quota
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import NetworkPolicy, Route, Service
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Unreadable
from tests.kubernetes_models import POD, controller, model_of_text
from tests.kubernetes_values import model_of, objects_of, values_of
from tests.unit.conftest import RECORDED


def test_a_manifest_and_the_servers_answer_are_equal(everything: Model) -> None:
    """The recorded answer of an API server holds its defaults; the manifest gets ours."""
    answered = model_of(objects_of(RECORDED / "everything.json"), live=True)

    assert values_of(answered) == values_of(everything)


def test_services_have_the_apis_defaults(everything: Model) -> None:
    """ClusterIP, target port = port, TCP; no selector means that others manage the endpoints."""
    web, db, elsewhere = everything.all(Service)

    assert [("http", "TCP"), (53, "UDP")] == [(port.target, port.protocol) for port in web.ports]
    assert (True, True, "ClusterIP") == (db.headless, db.publish_not_ready, db.type)
    assert (None, "ExternalName") == (elsewhere.selector, elsewhere.type)
    assert ["web"] == [workload.name for workload in web.workloads]


def test_routes_lead_to_services(everything: Model) -> None:
    """The default backend and each path, by port name or number."""
    (route,) = everything.all(Route)

    assert [("web", "http"), ("web", 80)] == [(b.service, b.port) for b in route.backends]


def test_network_policy_types_are_resolved(everything: Model) -> None:
    """Ingress always, Egress only where there are egress rules."""
    closed, db = everything.all(NetworkPolicy)

    assert (True, False, ()) == (closed.isolates_ingress, closed.isolates_egress, closed.ingress)
    assert (True, True) == (db.isolates_ingress, db.isolates_egress)
    assert (True, False) == (closed.selects({}), db.selects({"app": "web"}))
    assert () == db.egress[0].peers


def test_autoscalers_scale_by_cpu_where_nothing_is_said(everything: Model) -> None:
    """The API server's default metric; minimum 1."""
    web, rolled = everything.all(Autoscaler)

    assert (1, 8, (("cpu", ""),)) == (web.min_replicas, web.max_replicas, web.resource_metrics)
    assert (("memory", ""), ("cpu", "app")) == rolled.resource_metrics


def test_quotas_and_limit_ranges_are_numbers(everything: Model) -> None:
    """In base units, with the fallbacks of LimitRanges resolved."""
    (quota,), (limits,) = everything.all(Quota), everything.all(LimitRange)

    expected = {"requests.cpu": 10, "limits.memory": 20 * 2**30, "pods": 50}
    assert (expected, None, ("NotTerminating",)) == (quota.hard, quota.used, quota.scopes)
    assert {"memory": 2**28, "cpu": 4} == limits.default_limits
    assert {"memory": 2**28, "cpu": 4} == limits.default_requests


def test_every_path_is_a_real_one(everything: Model) -> None:
    """Findings are located by them, in the object as it was written."""
    objects = {
        (item["kind"], item["metadata"]["name"]): item
        for item in objects_of(RECORDED / "everything.yaml")
    }
    paths = [
        (workload.ref, path)
        for workload in everything.all(Workload)
        for path in (
            workload.pod_path,
            *(container.path for container in workload.containers),
            *(volume.path for volume in workload.volumes),
            *(spread.path for spread in workload.spread),
        )
    ]

    assert len(paths) > 30
    assert [] == [
        f"{ref} {path}" for ref, path in paths if not _leads(objects[ref.kind, ref.name], path)
    ]


BAD = [
    ("containers: []", "spec.containers: a pod needs at least one container"),
    (
        "containers: [{name: a, resources: {limits: {memory: 256MB}}}]",
        "spec.containers[0].resources.limits.memory:"
        " '256MB' is not a quantity such as 500m, 1.5, 256Mi or 1G",
    ),
    (
        "containers: [{name: a, volumeMounts: [{name: data, mountPath: /data}]}]",
        "spec.containers[0].volumeMounts[0]: the pod has no volume 'data'",
    ),
    (
        "containers: [{name: a}]\n  volumes: [{name: a, emptyDir: {sizeLimit: x}}]",
        "spec.volumes[0].emptyDir.sizeLimit: 'x' is not a quantity such as 500m, 1.5, 256Mi or 1G",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), BAD)
def test_what_the_api_refuses_is_a_gap(spec: str, expected: str) -> None:
    """The object is not judged by half, and all others are."""
    good = controller("Deployment", "")

    model = model_of_text(f"{POD.format(spec=spec)}\n---\n{good}")

    assert (Unreadable("pods", f"lonely: {expected}", "shop"),) == model.header.unreadable
    assert ["web"] == [workload.name for workload in model.all(Workload)]


@pytest.mark.parametrize("value", ["'3'", '"25"', "x%", "-5%"])
def test_a_bad_amount_is_a_gap(value: str) -> None:
    """maxUnavailable is a count or a percentage; as text it needs its percent sign."""
    spec = f"strategy: {{rollingUpdate: {{maxUnavailable: {value}}}}}"

    (gap,) = model_of_text(controller("Deployment", spec)).header.unreadable

    assert gap.reason.startswith("web: spec.strategy.rollingUpdate.maxUnavailable: ")
    assert gap.reason.endswith("is neither a count nor a percentage such as 25%")


def test_unreadable_limit_ranges_are_a_gap_of_containers_only() -> None:
    """A container's limit may come from one; which workloads there are does not."""
    model = model_of_text(controller("Deployment", ""))
    model.header = type(model.header)(
        target="test", platform="kubernetes", unreadable=(Unreadable("limitranges", "forbidden"),)
    )

    assert (1, 0) == (len(model.gaps(Container)), len(model.gaps(Workload)))


def _leads(item: Any, path: str) -> bool:
    for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", path):
        try:
            item = item[int(index)] if index else item[key]
        except (KeyError, IndexError):
            return False
    return True


def test_ready_endpoints_are_counted_over_slices() -> None:
    """Ready addresses add up over a service's slices; unknown readiness counts as ready."""
    text = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
  - {addresses: [10.0.0.1], conditions: {ready: true}}
  - {addresses: [10.0.0.2], conditions: {ready: false}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-b, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ["fd00::1"]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other, namespace: shop, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.3], conditions: {ready: true}}]
"""
    file_model = model_of_text(text)
    (service,) = file_model.all(Service)

    assert service.ready_endpoints is None

    file_model.header = replace(file_model.header, live=True)

    assert 2 == service.ready_endpoints

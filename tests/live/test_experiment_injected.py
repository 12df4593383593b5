"""Prober pods in namespaces that add a container of their own to every pod."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.experiments.vantage import measure_availability
from tests.live.conftest import Namespace
from tests.live.served import laboratory, rolled_out, served, workload
from tests.testbed.shell import wait_until

_API = "admissionregistration.k8s.io/v1"
_SIDECAR = '[JSONPatch{op: "add", path: "/spec/containers/0", value: Object.spec.containers{%s}}]'
_CONTAINER = 'name: "proxy", image: "testbed/pause:1"'


def _injection(namespace: Namespace) -> list[dict[str, Any]]:
    """What puts a container before those of each pod that is created in a namespace."""
    name = {"metadata": {"name": namespace.name}}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    patch = {"patchType": "JSONPatch", "jsonPatch": {"expression": _SIDECAR % _CONTAINER}}
    spec = {
        "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [patch],
    }
    kind = "MutatingAdmissionPolicy"
    return [
        {"apiVersion": _API, "kind": kind, **name, "spec": spec},
        {
            "apiVersion": _API,
            "kind": f"{kind}Binding",
            **name,
            "spec": {"policyName": namespace.name},
        },
    ]


@pytest.fixture
def shop(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Namespace]:
    """A namespace with a workload, to whose further pods a container is added."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rolled_out(namespace, served("web", replicas=1, grace=1))
    injection = _injection(namespace)
    namespace.apply(*injection)
    try:
        wait_until("containers are added", lambda: _adds(namespace), 60)
        yield namespace
    finally:
        for document in reversed(injection):
            namespace.kubectl("delete", document["kind"], namespace.name)


def _adds(namespace: Namespace) -> bool:
    try_out = ("run", "try", "--image=testbed/pause:1", "--dry-run=server", "-o")
    names = "jsonpath={.spec.containers[*].name}"
    return "proxy try" == namespace.kubectl(*try_out, names)


def test_measured_from_a_pod_with_an_injected_container(shop: Namespace) -> None:
    """The prober runs in its own container, whatever stands beside it or before it."""
    with (
        laboratory(shop) as lab,
        measure_availability(workload(lab, "web"), lab, vantage="pod", settle=1) as seen,
    ):
        names = "jsonpath={.items[*].spec.containers[*].name}"
        found = shop.kubectl("get", "pods", "-l", "containerpolicy/run", "-o", names)

    assert "proxy prober" == found
    assert "from a pod beside it" in seen.measurement.vantage
    assert (True, 0) == (seen.measurement.requests > 0, seen.measurement.failed)

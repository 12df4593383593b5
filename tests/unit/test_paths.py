"""Findings name the field that the user wrote, in the platform's own words."""

import pytest

from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Header, Platform

POD = "spec.template.spec"
PATHS: dict[Platform, str] = {
    "kubernetes": f"{POD}.containers[0]",
    "compose": "services.web",
    "docker": "",
    "swarm": "",
}


def a_container(platform: Platform, kind: str = "Deployment") -> Container:
    """A container of a workload called web."""
    workload = Workload(
        ref=ObjectRef(kind=kind, name="web"),
        model=Model(Header(target="test", platform=platform), {}),
        platform=platform,
        labels={},
        pod_path=POD if platform == "kubernetes" else "",
    )
    return Container(name="web", path=PATHS[platform], workload=workload)


@pytest.mark.parametrize(
    ("platform", "attribute", "expected"),
    [
        ("kubernetes", "memory_limit", f"{POD}.containers[0].resources.limits.memory"),
        ("docker", "memory_limit", "HostConfig.Memory"),
        ("compose", "memory_limit", "services.web.deploy.resources.limits.memory"),
        ("swarm", "memory_limit", "Spec.TaskTemplate.Resources.Limits.MemoryBytes"),
        ("kubernetes", "readiness.timeout", f"{POD}.containers[0].readinessProbe.timeoutSeconds"),
        ("docker", "gate.period", "Config.Healthcheck.Interval"),
        ("compose", "health.failure_threshold", "services.web.healthcheck.retries"),
        ("swarm", "gate.timeout", "Spec.TaskTemplate.ContainerSpec.Healthcheck.Timeout"),
        ("kubernetes", "pids_limit", f"{POD}.containers[0]"),
        ("docker", "cpu_request", ""),
        ("docker", "readiness.timeout", ""),
        ("compose", "gate.initial_delay", "services.web.healthcheck"),
    ],
)
def test_container_fields(platform: Platform, attribute: str, expected: str) -> None:
    """A container's value leads to its field; without one, to the container itself."""
    assert expected == field_path(a_container(platform), attribute)


@pytest.mark.parametrize(
    ("platform", "attribute", "expected"),
    [
        ("kubernetes", "grace_period", f"{POD}.terminationGracePeriodSeconds"),
        ("kubernetes", "rollout.max_surge", "spec.strategy.rollingUpdate.maxSurge"),
        ("docker", "grace_period", "Config.StopTimeout"),
        ("compose", "published_ports", "services.web.ports"),
        ("swarm", "replicas", "Spec.Mode.Replicated.Replicas"),
        ("swarm", "rollout.order", "Spec.UpdateConfig.Order"),
        ("docker", "rollout.order", ""),
    ],
)
def test_workload_fields(platform: Platform, attribute: str, expected: str) -> None:
    """A workload's value leads to its field; without one, to the workload itself."""
    assert expected == field_path(a_container(platform).workload, attribute)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_strategy_of_a_kind(kind: str) -> None:
    """StatefulSets and DaemonSets call their strategy updateStrategy."""
    workload = a_container("kubernetes", kind).workload

    expected = "spec.updateStrategy.rollingUpdate.maxUnavailable"
    assert expected == field_path(workload, "rollout.max_unavailable")


@pytest.mark.parametrize("attribute", ["memory", "rollout.speed", "health.colour", ""])
def test_misspelt_attribute(attribute: str) -> None:
    """An attribute that no platform has is a mistake of the check."""
    with pytest.raises(KeyError):
        field_path(a_container("docker"), attribute)

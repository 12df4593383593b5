"""What the upgrades policies say of a Swarm is what it then does."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import pytest

from pytest_containerpolicy.checks.registry import find_check
from pytest_containerpolicy.model.build import build_model
from tests.live.swarm_specimens import SECOND, create_service, read
from tests.testbed import Engine, Swarm
from tests.testbed.shell import wait_until

PREFIX = "upgrades-"


@pytest.fixture
def manager(testbed_swarm: Swarm) -> Engine:
    """One of the managers."""
    return testbed_swarm.managers[0]


# Sick for good, 3 seconds after it was healthy first; found out by 2 checks 2 seconds apart.
FALLS_ILL = ["sh", "-c", "sleep 3; touch /tmp/sick; sleep 1000"]
CHECK = {"Test": ["CMD-SHELL", "test ! -f /tmp/sick"], "Interval": 2 * SECOND, "Retries": 2}
MONITORS = {"short": SECOND, "long": 20 * SECOND}


def test_failures_after_the_monitor(manager: Engine) -> None:
    """An update of the service found is completed though the new task is sick, the other undone."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(manager.client())).api
        for name, monitor in MONITORS.items():
            undo.callback(
                client.remove_service,
                create_service(client, PREFIX + name, _watched(["sleep", "1000"], monitor)),
            )
        wait_until("tasks", lambda: all(_running(client, name) for name in MONITORS))
        found = _found("monitor_outlasts_health_check", manager)
        for name, monitor in MONITORS.items():
            _update(client, PREFIX + name, _watched(FALLS_ILL, monitor))
        ended = {"completed", "rollback_completed"}
        wait_until("ends", lambda: {_outcome(client, name) for name in MONITORS} == ended, 90)
        completed = {PREFIX + name for name in MONITORS if _outcome(client, name) == "completed"}

    assert {"upgrades-short"} == completed == found


def test_tasks_without_a_place(manager: Engine) -> None:
    """An update of the services found waits for a node, that of the others ends."""
    one_each = {"Placement": {"MaxReplicas": 1}}
    port = {"TargetPort": 8080, "PublishedPort": 18481, "PublishMode": "host"}
    host_port = {"EndpointSpec": {"Mode": "dnsrr", "Ports": [port]}}
    specs = {
        "full": _replicated("start-first", one_each),
        "freed": _replicated("stop-first", one_each),
        "host-port": _replicated("start-first", {}, **host_port),
        "anywhere": _replicated("start-first", {}),
    }
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(manager.client())).api
        for name, spec in specs.items():
            undo.callback(client.remove_service, create_service(client, PREFIX + name, spec))
        wait_until("tasks", lambda: all(_running(client, name) == 3 for name in specs))
        found = _found("copies_can_be_placed", manager)
        for name, spec in specs.items():
            spec["TaskTemplate"]["ForceUpdate"] = 1
            _update(client, PREFIX + name, spec)
        mended = ("freed", "anywhere")
        wait_until("ends", lambda: {_outcome(client, n) for n in mended} == {"completed"}, 120)
        waiting = {PREFIX + name for name in specs if _outcome(client, name) == "updating"}

    assert {"upgrades-full", "upgrades-host-port"} == waiting == found


def _found(name: str, manager: Engine) -> set[str]:
    judgement = find_check(name).judge(build_model(read(manager)), {})
    assert [] == judgement.gaps
    return {f.ref.name for f in judgement.findings if f.ref.name.startswith(PREFIX)}


def _watched(command: list[str], monitor: int) -> dict[str, Any]:
    update = {"Parallelism": 1, "FailureAction": "rollback", "Monitor": monitor}
    container = {"Image": "testbed/busybox:1", "Command": command, "Healthcheck": CHECK}
    return {
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {"ContainerSpec": {**container, "StopGracePeriod": SECOND}},
        "UpdateConfig": update,
    }


def _replicated(order: str, task: dict[str, Any], **spec: Any) -> dict[str, Any]:
    container = {"Image": "testbed/pause:1", "StopGracePeriod": SECOND}
    return {
        "Mode": {"Replicated": {"Replicas": 3}},
        "TaskTemplate": {"ContainerSpec": container, **task},
        "UpdateConfig": {"Parallelism": 1, "Order": order},
        **spec,
    }


def _update(client: Any, name: str, spec: dict[str, Any]) -> None:
    service = client.inspect_service(name)
    response = client.post(
        f"{client.base_url}/v{client.api_version}/services/{service['ID']}/update",
        params={"version": service["Version"]["Index"]},
        json={"Name": name, **spec},
    )
    assert response.status_code == 200, response.text


def _running(client: Any, name: str) -> int:
    tasks: list[dict[str, Any]] = client.tasks(filters={"service": PREFIX + name})
    return sum(task["Status"]["State"] == "running" for task in tasks)


def _outcome(client: Any, name: str) -> str:
    service = client.inspect_service(PREFIX + name)
    return str(service.get("UpdateStatus", {}).get("State", ""))

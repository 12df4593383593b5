"""What is in force in the tasks of a Swarm's services, read from inside."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.effective_containers import EXPERIMENTS, MIB, lift_memory_limit
from tests.live.effective_pods import SERVER
from tests.live.experiment_verdicts import Verdict, verdict
from tests.live.swarm_specimens import create_service
from tests.testbed import Swarm
from tests.testbed.shell import wait_until


class Services:
    """Services of one module on a Swarm, which are removed at its end."""

    def __init__(self, swarm: Swarm, folder: Path) -> None:
        """Nothing runs yet."""
        self.leader = swarm.leader
        self.folder = folder
        self.others = [manager.name for manager in swarm.managers if manager != swarm.leader]
        self.api: Any = swarm.leader.client().api
        self.names: list[str] = []

    def create(self, node: str) -> str:
        """A service with one task on a node, once that runs; its name."""
        name = f"effective-{uuid.uuid4().hex[:6]}"
        self.names.append(name)
        container = {"Image": SERVER, "User": "1000", "ReadOnly": True, "StopGracePeriod": 0}
        limits = {"Limits": {"MemoryBytes": 64 * MIB, "NanoCPUs": 500_000_000, "Pids": 50}}
        placement = {"Constraints": [f"node.hostname == {node}"]}
        task = {"ContainerSpec": container, "Resources": limits, "Placement": placement}
        create_service(self.api, name, {"TaskTemplate": task})
        wait_until(f"a task of {name}", lambda: self.task(name), 60)
        return name

    def task(self, name: str) -> dict[str, Any]:
        """The running task of a service, or nothing."""
        tasks = self.api.tasks({"service": name})
        return next((task for task in tasks if task["Status"]["State"] == "running"), {})

    def ask(self, experiment: str, name: str, **params: Any) -> Verdict:
        """Judge one service."""
        uri = f"swarm+unix://{self.leader.socket}?workload={name}"
        return verdict(experiment, uri, name, self.folder, level="probe", **params)

    def remove(self) -> None:
        """Take everything away."""
        for name in self.names:
            self.api.remove_service(name)
        self.api.close()


@pytest.fixture(scope="module")
def services(testbed_swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A Swarm to create services on."""
    services = Services(testbed_swarm, tmp_path_factory.mktemp("effective"))
    try:
        yield services
    finally:
        services.remove()


def test_service_on_the_daemons_own_node(services: Services) -> None:
    """A task has what its service declares, until somebody takes it away from its cgroup."""
    name = services.create(services.leader.name)
    for experiment in EXPERIMENTS:
        told = services.ask(experiment, name)
        assert (experiment, 1, "", "") == (experiment, told.judged, told.found, told.gaps)
    lift_memory_limit(services.task(name)["Status"]["ContainerStatus"]["PID"])
    found = services.ask("limits_in_force", name).found
    assert f"no memory limit in force in task {name}.1" == found


def test_service_on_another_node(services: Services) -> None:
    """What runs on another node can't be looked into from here, and that is no pass."""
    node = services.others[0]
    name = services.create(node)
    told = services.ask("limits_in_force", name)
    assert (0, "") == (told.judged, told.found)
    assert f"runs on node {node}, which this daemon can't look into" in told.gaps

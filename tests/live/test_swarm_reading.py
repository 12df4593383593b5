"""Reading a real Swarm of three managers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Inventory
from tests.live.swarm_specimens import (
    PREFIX,
    SECOND,
    container,
    create_service,
    only_specimens,
    read,
    recording,
    service,
    specimens,
)
from tests.nouns import workload_values
from tests.testbed import Engine, Swarm
from tests.testbed.shell import wait_until

ZONE = f"node.labels.{PREFIX}zone"


@pytest.fixture(scope="module")
def manager(testbed_swarm: Swarm) -> Engine:
    """One of the managers."""
    return testbed_swarm.managers[0]


@pytest.fixture(scope="module")
def inventory(manager: Engine) -> Iterator[Inventory]:
    """What is read of the specimens in the Swarm."""
    with specimens(manager):
        yield read(manager)


def test_recording_is_true(manager: Engine, inventory: Inventory) -> None:
    """What the unit tests take for the manager's answer is what it answers."""
    file = recording(manager)
    recorded = build_model(Inventory.from_bytes(file.read_bytes(), file.name))
    live = build_model(only_specimens(inventory))

    assert workload_values(recorded) == workload_values(live)


def test_snapshot_gives_the_same_model(inventory: Inventory) -> None:
    """A snapshot, read again, means what the live Swarm means."""
    replayed = Inventory.from_bytes(inventory.to_bytes(), "snapshot")

    assert workload_values(build_model(inventory)) == workload_values(build_model(replayed))


def test_nothing_secret_is_kept(inventory: Inventory) -> None:
    """Environment values, commands, foreign labels, secrets and join tokens are not read."""
    content = inventory.to_bytes()

    assert [] == [word for word in (b"hunter2", b"SWMTKN", b"192.0.2.1") if word in content]


def test_complete(manager: Engine, inventory: Inventory) -> None:
    """Nothing is missing, and the header says which manager was read."""
    assert ((), manager.version) == (inventory.header.unreadable, inventory.header.version)
    assert str(manager.socket) in inventory.header.notes[0]


CONSTRAINTS = (
    "",
    "node.role == manager",
    "node.role != MANAGER",
    "NODE.HOSTNAME == Manager2",
    "node.hostname != manager2",
    f"{ZONE} == EU",
    f"{ZONE} != eu",
    f"{ZONE.upper()} == eu",
    f"NODE.LABELS.{PREFIX}zone == eu",
    f"node.platform.os == linux, {ZONE} == eu",
    "node.ip == 10.0.0.0/8, node.hostname != manager1",
    "node.colour == red",
)


@pytest.fixture(scope="module")
def scheduled(
    manager: Engine, inventory: Inventory
) -> Iterator[dict[str, tuple[set[str], set[str]]]]:
    """For each constraint, the nodes that the model calls eligible and those that are used."""
    with closing(manager.client()) as client, ExitStack() as undo:
        api: Any = client.api
        made = {}
        for number, text in enumerate((*CONSTRAINTS, "")):
            placement = {"Constraints": text.split(", ") if text else []}
            name = f"{PREFIX}constrained-{number}"
            made[name] = create_service(api, name, global_service(placement))
            undo.callback(api.remove_service, made[name])
        # Once the last service is everywhere, the scheduler has seen the others too.
        wait_until("the last is scheduled", lambda: len(used_nodes(api, made[name])) == 3)
        model = build_model(read(manager))
        yield {
            text: (eligible_nodes(model, name), used_nodes(api, made[name]))
            for text, name in zip(CONSTRAINTS, made, strict=False)
        }


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_constraints_match_where_tasks_run(
    scheduled: dict[str, tuple[set[str], set[str]]], constraint: str
) -> None:
    """The nodes that the model calls eligible are those that the scheduler uses."""
    eligible, used = scheduled[constraint]

    assert used == eligible


def eligible_nodes(model: Model, name: str) -> set[str]:
    """The nodes that a service may use, by the model."""
    workload = model.get(Workload, name)
    assert workload is not None
    return {node.name for node in workload.eligible_nodes}


def global_service(placement: dict[str, Any]) -> dict[str, Any]:
    """A service with a task on each node of a placement."""
    return service({"Placement": placement}, Mode={"Global": {}})


def used_nodes(api: Any, service_id: str) -> set[str]:
    """The nodes that tasks of a service were assigned to."""
    names = {node["ID"]: node["Description"]["Hostname"] for node in api.nodes()}
    return {
        names[task["NodeID"]] for task in api.tasks({"service": service_id}) if "NodeID" in task
    }


def test_missing_parallelism_is_all_at_once(manager: Engine) -> None:
    """UpdateConfig without Parallelism replaces every task at once, as the model says."""
    spec = service(
        {"Placement": {}, "ContainerSpec": container(StopGracePeriod=0)},
        Mode={"Replicated": {"Replicas": 3}},
        UpdateConfig={"Delay": 600 * SECOND},
    )
    with closing(manager.client()) as client, ExitStack() as undo:
        api: Any = client.api
        made = create_service(api, f"{PREFIX}updated", spec)
        undo.callback(api.remove_service, made)
        first = wait_until("three tasks run", lambda: running_tasks(api, made, 3))
        force_update(api, made)
        wait_until("all tasks are new", lambda: running_tasks(api, made, 3, without=first))
        workload = build_model(read(manager)).get(Workload, f"{PREFIX}updated")

    assert workload is not None and workload.rollout is not None
    assert (3, 0) == (workload.rollout.max_unavailable, workload.rollout.max_surge)


def running_tasks(
    api: Any, service_id: str, number: int, without: Collection[str] = ()
) -> set[str] | None:
    """The running tasks that are not among the others, if they are so many."""
    tasks = api.tasks({"service": service_id})
    running = {task["ID"] for task in tasks if task["Status"]["State"] == "running"} - set(without)
    return running if len(running) == number else None


def force_update(api: Any, service_id: str) -> None:
    """What `docker service update --force` does."""
    found = api.inspect_service(service_id)
    spec = found["Spec"]
    spec["TaskTemplate"]["ForceUpdate"] = 1
    url = f"{api.base_url}/v{api.api_version}/services/{service_id}/update"
    response = api.post(url, params={"version": found["Version"]["Index"]}, json=spec)
    assert response.status_code == 200, response.text

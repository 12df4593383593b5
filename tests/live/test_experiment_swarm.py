"""Rollouts, bad versions, drains and the loss of a manager, on a Swarm of three managers."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import swarm_revision, swarm_rollout
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.drain_measurement import measure_drain
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.experiments.rollback import bad_revision_is_harmless
from pytest_containerpolicy.experiments.rollout import can_be_rolled_out, measure_rollout
from pytest_containerpolicy.experiments.swarm_availability import activate, inspect_node
from pytest_containerpolicy.experiments.swarm_crashing import service_is_whole
from pytest_containerpolicy.experiments.swarm_managers import measure_manager_loss
from pytest_containerpolicy.experiments.swarm_watch import copied, find_service, is_up, update
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.killed_places import swarm_place
from tests.live.killed_runs import killed_everywhere
from tests.live.restarts import Daemon
from tests.live.swarm_specimens import SECOND, create_service, overlay_network
from tests.testbed import Swarm
from tests.testbed.managers import SITE, managers_of, swarm_up
from tests.testbed.shell import wait_until

PREFIX = f"cp-{uuid.uuid4().hex[:6]}-"
SERVER, HEALTHY = "testbed/server:1", "testbed/stateful:1"
QUICK = {"Parallelism": 1, "Monitor": SECOND}


def _service(copies: int, image: str, order: str, action: str, *where: str) -> dict[str, Any]:
    return {
        "TaskTemplate": {
            "ContainerSpec": {"Image": image, "StopGracePeriod": 5 * SECOND},
            "RestartPolicy": {"Condition": "any", "Delay": SECOND // 2},
            "Placement": {"Constraints": list(where)},
        },
        "Mode": {"Replicated": {"Replicas": copies}},
        "EndpointSpec": {"Mode": "dnsrr"},
        "UpdateConfig": {**QUICK, "Order": order, "FailureAction": action},
        "RollbackConfig": QUICK,
    }


SERVICES: dict[str, dict[str, Any]] = {
    "one": _service(1, SERVER, "stop-first", "pause"),
    "two": _service(2, SERVER, "stop-first", "pause", "node.hostname != manager1"),
    "first": _service(1, HEALTHY, "start-first", "pause"),
    "back": _service(2, SERVER, "stop-first", "rollback"),
    "on": _service(1, SERVER, "start-first", "continue"),
    "pinned": _service(1, SERVER, "stop-first", "pause", "node.hostname == manager2"),
}


class Shop:
    """The services, and what a manager says of them."""

    def __init__(self, swarm: Swarm, api: Any) -> None:
        self.manager, self.api = swarm.managers[0], api

    def lab(self, *more: str) -> DockerLab:
        """A laboratory that may disrupt the services, and `more` of others."""
        names = "&".join(f"workload={name}" for name in [*map(self.name, SERVICES), *more])
        target = parse_target(f"swarm+{self.manager.url}?{names}")
        options = LabOptions(level="disrupt", prober_image="testbed/python:1")
        lab = open_lab(target, Timeouts(), options)
        assert isinstance(lab, DockerLab)
        return lab

    def name(self, service: str) -> str:
        """The name of one of the services."""
        return PREFIX + service

    def model(self) -> Model:
        """The model of what runs."""
        return build_model(parse_target(f"swarm+{self.manager.url}").read(Timeouts()))

    def workload(self, service: str) -> Workload:
        """One of the services."""
        found = self.model().get(Workload, self.name(service))
        assert found is not None
        return found

    def spec(self, service: str) -> dict[str, Any]:
        """Its spec."""
        found: dict[str, Any] = self.api.inspect_service(self.name(service))["Spec"]
        return found

    def running(self, service: str) -> int:
        """How many tasks run."""
        return sum(is_up(task) for task in self.api.tasks({"service": self.name(service)}))

    def await_all(self) -> None:
        """Wait until all services have their tasks."""
        for service, document in SERVICES.items():
            wanted = document["Mode"]["Replicated"]["Replicas"]
            wait_until(service, partial(self._has, service, wanted), 90)

    def _has(self, service: str, wanted: int) -> bool:
        return self.running(service) == wanted


@pytest.fixture(scope="module")
def shop(testbed_swarm: Swarm) -> Iterator[Shop]:
    """The services in a network of their own, up."""
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(testbed_swarm.managers[0].client())).api
        network = undo.enter_context(overlay_network(api, f"{PREFIX}net"))
        for service, document in SERVICES.items():
            spec = copied(document)
            spec["TaskTemplate"]["Networks"] = [{"Target": network}]
            undo.callback(_remove, api, create_service(api, PREFIX + service, spec))
        shop = Shop(testbed_swarm, api)
        shop.await_all()
        yield shop


def _remove(api: Any, service: str) -> None:
    if any(found["ID"] == service for found in api.services()):
        api.remove_service(service)


@pytest.fixture
def lab(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerLab]:
    """A laboratory that leaves nothing to undo."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with closing(shop.lab()) as lab:
        yield lab
        assert [] == lab.journal.pending


def test_killed_drain(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """Whatever the step at which a drain is killed, the node and the service are as before.

    It comes first: a drain moves all that is on its node, and nothing else is there yet.
    """
    folder = tmp_path / "drain"
    folder.mkdir()
    with swarm_place(testbed_swarm.managers[0], folder, "node.hostname != manager1") as place:
        assert [] == killed_everywhere(place, "drain_without_downtime", {"rate": 20})


@pytest.mark.parametrize(
    ("service", "is_noticed"), [("one", True), ("two", False), ("first", False)]
)
def test_rollout(shop: Shop, lab: DockerLab, service: str, is_noticed: bool) -> None:
    """A single task that stops first is missed; a second, or one that starts first, hides it."""
    workload = shop.workload(service)
    assert can_be_rolled_out(workload)

    rollout = measure_rollout(workload, lab, settle=1)

    assert (True, workload.replicas) == (rollout.completed, rollout.replacement.copies), rollout
    assert is_noticed == (0 < rollout.replacement.without_ready)
    assert is_noticed == (0.02 < rollout.failed / rollout.measurement.requests), rollout


@pytest.mark.parametrize(
    ("service", "lasting"),
    [
        ("two", ["1 of 2 tasks run, and the update is paused"]),
        ("back", []),
        ("first", []),
        ("on", ["0 of 1 tasks run, and the update is completed"]),
    ],
)
def test_bad_version(shop: Shop, lab: DockerLab, service: str, lasting: list[str]) -> None:
    """What a bad version takes away stays lost unless it is rolled back or starts first and pauses.

    Afterwards the service is as before, and not even a rollback leads to the bad version.
    """
    workload, before = shop.workload(service), shop.spec(service)

    found = list(bad_revision_is_harmless(workload, lab, seconds=1, settle=1))

    texts = [one.found for one in found if "tasks run" in one.found]
    assert lasting == texts, found
    assert (before, workload.replicas) == (shop.spec(service), shop.running(service))
    previous = shop.api.inspect_service(shop.name(service)).get("PreviousSpec") or {}
    assert swarm_revision.without_program(previous) == previous


def test_drain_refused(shop: Shop, lab: DockerLab) -> None:
    """Nothing is drained that leaves a task without a place, or moves what nobody named."""
    foretold = measure_drain(shop.workload("pinned"), lab)
    assert ("no other active node meets its placement constraints",) == foretold.reasons
    two = shop.workload("two")
    target = parse_target(f"swarm+{shop.manager.url}?workload={two.name}")
    with (
        closing(open_lab(target, Timeouts(), LabOptions(level="disrupt"))) as narrow,
        pytest.raises(CannotLook, match=f"also has tasks of .*{shop.name('pinned')}"),
    ):
        measure_drain(two, narrow, node="manager2")


def test_drain(shop: Shop, lab: DockerLab) -> None:
    """A drained node's tasks move unnoticed while others serve; the node takes tasks again."""
    others = {service["Spec"]["Name"] for service in shop.api.services()}
    with closing(shop.lab(*sorted(others))) as wide:
        drain = measure_drain(shop.workload("two"), wide, settle=1)
    assert (True, 1) == (drain.completed, drain.replacement and drain.replacement.copies), drain
    assert 0.02 > drain.failed / (drain.measurement.requests if drain.measurement else 0), drain
    assert {"active"} == {node["Spec"]["Availability"] for node in shop.api.nodes()}
    shop.await_all()


def test_killed_runs_are_undone(shop: Shop, lab: DockerLab) -> None:
    """What a killed run left is undone from its journal's arguments: bad version, update, drain."""
    before, name = shop.spec("first"), shop.name("first")
    spec = copied(before)
    spec["TaskTemplate"]["ContainerSpec"]["Command"] = [swarm_revision.NO_PROGRAM]
    update(lab, shop.api.inspect_service(name), spec)
    swarm_revision.version_is_back(lab, service=name)
    assert (before, 1) == (shop.spec("first"), shop.running("first"))

    node = next(n for n in shop.api.nodes() if n["Description"]["Hostname"] == "manager3")
    labels = {**node["Spec"]["Labels"], "containerpolicy/run": lab.run}
    changed = {**node["Spec"], "Availability": "pause", "Labels": labels}
    shop.api.update_node(node["ID"], node["Version"]["Index"], changed)
    activate(lab, node=node["ID"], run="another", availability="pause")
    assert "pause" == inspect_node(lab, node["ID"])["Spec"]["Availability"]
    activate(lab, node=node["ID"], run=lab.run, availability="pause")
    assert node["Spec"] == inspect_node(lab, node["ID"])["Spec"]


def test_slow_tasks_are_waited_for(shop: Shop, lab: DockerLab) -> None:
    """A service whose new task takes long to be healthy is not updated by force meanwhile."""
    slow = copied(SERVICES["one"])
    slow["TaskTemplate"]["ContainerSpec"] |= {
        "Env": ["READY_DELAY=25"],
        "Healthcheck": {
            "Test": ["CMD", "/server", "healthcheck"],
            "Interval": SECOND,
            "Retries": 60,
        },
    }
    name = shop.name("slow")
    identity = create_service(shop.api, name, slow)
    try:
        service_is_whole(lab, service=name, copies=1)
        assert 1 == shop.running("slow")
        assert 0 == shop.spec("slow")["TaskTemplate"]["ForceUpdate"]
    finally:
        shop.api.remove_service(identity)


def test_interference(shop: Shop, lab: DockerLab) -> None:
    """A service that is paused, scaled or removed by others meanwhile gives no verdict."""
    pinned = shop.workload("pinned")

    def require_refusal(text: str) -> None:
        if text == "paused":
            with pytest.raises(CannotLook, match="is paused: nothing was touched"):
                swarm_rollout.require_restartable(lab, pinned)

    swarm_revision.rehearse(lab, pinned, require_refusal, 0)

    def scale(text: str) -> None:
        if text == "update":
            document = find_service(lab, pinned.name)
            assert document is not None
            spec = copied(document["Spec"])
            spec["Mode"]["Replicated"]["Replicas"] = 2
            update(lab, document, spec)

    with pytest.raises(CannotLook, match="changed by somebody else"):
        swarm_rollout.restart(lab, pinned, scale, 0)
    assert 2 == shop.spec("pinned")["Mode"]["Replicated"]["Replicas"]

    def remove(text: str) -> None:
        if text == "update":
            shop.api.remove_service(pinned.name)

    with pytest.raises(CannotLook, match=r"is gone|somebody removed it|not found"):
        swarm_rollout.restart(lab, pinned, remove, 0)


def test_loss_of_a_manager(shop: Shop, lab: DockerLab) -> None:
    """Two of three managers go on taking changes; with one missing no other may be lost."""
    judge = find_experiment("managers_may_be_lost").using(lab).judge
    assert [] == judge(shop.model(), {}).findings
    daemon = Daemon(SITE, next(m for m in managers_of(SITE) if m.name == "manager3"), "manager3")

    def stop() -> None:
        daemon.stop(signal.SIGKILL)

    seen: list[str] = []

    def start() -> None:
        seen.extend(one.violation.found for one in judge(shop.model(), {}).findings)
        daemon.start()

    loss = measure_manager_loss(lab, stop, start)

    assert loss.keeps_quorum, loss
    assert ["2 of 3 managers reachable, manager3 not: quorum is 2, 0 may be lost"] == seen
    wait_until("the Swarm is whole", lambda: swarm_up(SITE), 60)

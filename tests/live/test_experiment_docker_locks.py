"""Locks of Docker workloads: one for all who may disrupt a workload, whichever way they come."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.docker_locks import UNTIL_LABEL
from pytest_containerpolicy.experiments.lab import RUN_LABEL, LabOptions, open_lab
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.compose_projects import project
from tests.live.swarm_specimens import create_service, service
from tests.testbed import Engine, Swarm

NAME = f"cp-lock-{uuid.uuid4().hex[:6]}"
HELD = "is being disrupted by run"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of journals of its own for each test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def labs() -> Iterator[ExitStack]:
    """Closes the laboratories of a test."""
    with ExitStack() as labs:
        yield labs


def _run(labs: ExitStack, uri: str, name: str) -> tuple[DockerLab, Workload]:
    """A run of its own that may disrupt what the URI names, and one workload there."""
    target = parse_target(uri)
    found = build_model(target.read(Timeouts())).get(Workload, name)
    assert found is not None
    lab = labs.enter_context(closing(open_lab(target, Timeouts(), LabOptions(level="disrupt"))))
    assert isinstance(lab, DockerLab)
    return lab, found


def test_two_runs_on_a_project(testbed_engine: Engine, tmp_path: Path, labs: ExitStack) -> None:
    """A service that one run holds another run does not disrupt, until it is let go."""
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: testbed/pause:1, stop_grace_period: 0s}}\n")
    with project(testbed_engine, file) as shop:
        shop.compose("up", "-d", "--pull", "never")
        uri = f"compose://{shop.name}?host={shop.engine.url}"
        (lab, held), (other, wanted) = _run(labs, uri, "web"), _run(labs, uri, "web")
        with (
            lab.claim(held),
            pytest.raises(CannotLook, match=HELD),
            other.claim(wanted),
        ):
            pass
        with other.claim(wanted):
            assert 1 == len(other.journal.pending)


def test_name_is_no_pattern(testbed_engine: Engine, labs: ExitStack) -> None:
    """A dot in a container's name stands for itself, so that no other container is disrupted."""
    names = f"{NAME}.1", f"{NAME}_1"
    with ExitStack() as made, closing(testbed_engine.client()) as client:
        for name in names:
            container = client.containers.run("testbed/pause:1", name=name, detach=True)
            made.callback(container.remove, force=True)
        lab, dotted = _run(labs, f"engine+{testbed_engine.url}?workload={names[0]}", names[0])

        assert [f"/{names[0]}"] == [found["Name"] for found in lab.containers(dotted)]


@pytest.fixture
def swarm_api(testbed_swarm: Swarm) -> Iterator[Any]:
    """The API of the first manager."""
    with closing(testbed_swarm.managers[0].client()) as client:
        yield client.api


def _service(api: Any, **container: Any) -> str:
    task = {"ContainerSpec": {"Image": "testbed/pause:1", **container}}
    return str(create_service(api, NAME, service(task)))


def test_one_lock_for_all_managers(testbed_swarm: Swarm, swarm_api: Any, labs: ExitStack) -> None:
    """Two runs that ask two managers do not disrupt one service at once."""
    identity = _service(swarm_api)
    try:
        (lab, held), (other, wanted) = (
            _run(labs, f"swarm+{manager.url}?workload={NAME}", NAME)
            for manager in testbed_swarm.managers[:2]
        )
        with (
            lab.claim(held),
            pytest.raises(CannotLook, match=HELD),
            other.claim(wanted),
        ):
            pass
        with other.claim(wanted):
            assert 1 == len(_locks(swarm_api))
    finally:
        swarm_api.remove_service(identity)

    assert [] == _locks(swarm_api)


def test_lock_of_a_run_that_died_elsewhere(
    testbed_swarm: Swarm, swarm_api: Any, labs: ExitStack
) -> None:
    """A lock whose time is over by the daemon's clock is taken, and then is this run's own."""
    identity = _service(swarm_api)
    labels = {RUN_LABEL: "dead", UNTIL_LABEL: "2020-01-01T00:00:00+00:00"}
    swarm_api.create_config(f"containerpolicy-lock-{NAME}", b"dead", labels)
    try:
        lab, held = _run(labs, f"swarm+{testbed_swarm.managers[0].url}?workload={NAME}", NAME)
        with lab.claim(held):
            [lock] = _locks(swarm_api)
            assert lab.run == lock["Spec"]["Labels"][RUN_LABEL]
    finally:
        swarm_api.remove_service(identity)

    assert [] == _locks(swarm_api)


def _locks(api: Any) -> list[Any]:
    return [found for found in api.configs() if NAME in found["Spec"]["Name"]]


def test_label_of_a_stack(testbed_swarm: Swarm, swarm_api: Any, labs: ExitStack) -> None:
    """What `docker stack deploy` puts on a service's containers protects the service."""
    identity = _service(swarm_api, Labels={"containerpolicy/disrupt": "false"})
    try:
        lab, held = _run(labs, f"swarm+{testbed_swarm.managers[0].url}?workload={NAME}", NAME)
        with (
            pytest.raises(CannotLook, match="is labelled containerpolicy/disrupt=false"),
            lab.claim(held),
        ):
            pass
    finally:
        swarm_api.remove_service(identity)

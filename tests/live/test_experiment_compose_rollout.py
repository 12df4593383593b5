"""Rollouts of Compose services under traffic: recreated, and scaled up and down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_rollout import Method, service_runs
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.rollout import can_be_rolled_out, measure_rollout
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.compose_projects import Project, project
from tests.testbed import Engine

FILE = """
services:
  web:
    image: testbed/server:1
    stop_grace_period: 5s
    environment: {DRAIN: "1"}
    healthcheck: {test: [CMD, /server, healthcheck], interval: 1s}
  port: {image: "testbed/server:1", ports: ["18977:8080"]}
  named: {image: "testbed/server:1", container_name: cp-rollout-named}
  writes: {image: "testbed/stateful:1"}
  worker: {image: "testbed/pause:1"}
  host: {image: "testbed/server:1"}
  guest: {image: "testbed/pause:1", network_mode: "service:host"}
"""


@pytest.fixture(scope="module")
def shop(testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose services are up."""
    file = tmp_path_factory.mktemp("shop") / "compose.yaml"
    file.write_text(FILE)
    with project(testbed_engine, file) as shop:
        shop.compose("up", "-d", "--wait", "--pull", "never")
        yield shop


@pytest.fixture
def lab(shop: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerLab]:
    """A laboratory on the project."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    target = parse_target(f"compose://{shop.name}?host={shop.engine.url}")
    options = LabOptions(level="disrupt", prober_image="testbed/python:1")
    with closing(open_lab(target, Timeouts(), options)) as lab:
        assert isinstance(lab, DockerLab)
        yield lab
        assert [] == lab.journal.pending


def _workload(shop: Project, name: str) -> Workload:
    found = shop.model().get(Workload, name)
    assert found is not None
    return found


def _ids(lab: DockerLab, web: Workload) -> set[str]:
    return {container["Id"] for container in lab.containers(web)}


@pytest.mark.parametrize(("method", "copies"), [("recreate", 1), ("scale", 1), ("scale", 2)])
def test_rollout(shop: Project, lab: DockerLab, method: Method, copies: int) -> None:
    """Recreating the only container is noticed by all; new ones beside it hide nearly all of it."""
    shop.compose("up", "-d", "--wait", "--scale", f"web={copies}", "web")
    web = _workload(shop, "web")
    before = _ids(lab, web)

    rollout = measure_rollout(web, lab, method=method, settle=1)

    after = _ids(lab, web)
    assert (True, copies, copies) == (rollout.completed, rollout.replacement.copies, len(after))
    assert set() == before & after
    if method == "recreate":
        assert 0 < rollout.replacement.without_ready
        assert 5 < rollout.failed, rollout
    else:
        # Docker names a container until it is gone, so the last requests to it are lost.
        assert 0 == rollout.replacement.without_ready
        assert 0.05 > rollout.failed / rollout.measurement.requests, rollout


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("port", "port 18977 of the host"),
        ("named", "container_name cp-rollout-named"),
        ("writes", "what it writes to /data"),
    ],
)
def test_what_can_not_run_twice(shop: Project, lab: DockerLab, name: str, what: str) -> None:
    """What only one container may have is named, and nothing is touched."""
    workload = _workload(shop, name)
    before = _ids(lab, workload)
    with pytest.raises(CannotLook, match=what):
        measure_rollout(workload, lab, method="scale")
    assert before == _ids(lab, workload)


def test_whose_network_others_share(shop: Project, lab: DockerLab) -> None:
    """A container that another one depends on for its network is not replaced."""
    workload = _workload(shop, "host")
    before = _ids(lab, workload)
    with pytest.raises(CannotLook, match=f"lends its network or processes to {shop.name}-guest"):
        measure_rollout(workload, lab)
    assert before == _ids(lab, workload)


def test_applicability(shop: Project) -> None:
    """A service without a published port is asked by its name, if it declares a port at all."""
    names = ["web", "port", "worker"]
    assert [True, True, False] == [can_be_rolled_out(_workload(shop, name)) for name in names]


def test_killed_between_up_and_down(shop: Project, lab: DockerLab) -> None:
    """What a run that was killed left: too many containers, or a stopped one, is put right."""
    shop.compose("up", "-d", "--wait", "--scale", "web=1", "web")
    web = _workload(shop, "web")
    (kept,) = _ids(lab, web)
    arguments = {"project": shop.name, "service": "web", "count": 1, "most": 2, "old": [kept]}

    shop.compose("up", "-d", "--scale", "web=2", "--no-recreate", "web")
    service_runs(lab, **arguments, spared=[])
    assert {kept} == _ids(lab, web)

    lab.client.api.stop(kept, timeout=0)
    service_runs(lab, **arguments, spared=[])
    assert {kept} == _ids(lab, web)

    shop.compose("up", "-d", "--scale", "web=3", "--no-recreate", "web")
    service_runs(lab, **arguments, spared=[])
    assert 3 == len(_ids(lab, web))

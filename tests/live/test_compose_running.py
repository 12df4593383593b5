"""Compose on real engines: what `up` makes of a file, and reading what runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.model.cluster import Engine as EngineNoun
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.compose_files import read_project
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.compose_reference import ENVIRONMENT, noun_values
from tests.live.compose_projects import Project, project, stand_ins
from tests.testbed import Engine

POLICIES = Path(__file__).parents[2] / "policies"
# A project of which no container was made is none for the engine.
_NOTHING = "skip-nothing-runs.compose.yaml"
EXAMPLES = sorted(file for file in POLICIES.rglob("*.compose.yaml") if file.name != _NOTHING)
# What the engine and the image add to a declaration.
ADDED = (
    "driver",
    "image_digest",
    "log_driver",
    "path",
    "ports",
    "propagation",
    "replicas_declared",
    "swap_limit",
)
WANTED = ("service limits", "service policy", "service borrower")
FILE = """
services:
  limits:
    image: testbed/pause:1
    environment: {CHANGE: "${CHANGE:-0}"}
    restart: always
    stop_signal: SIGKILL
    stop_grace_period: 1m30s
    ports: ["127.0.0.1:18181-18190:81", "82"]
    expose: ["83"]
    tmpfs: /cache:size=1m
    volumes: [/anonymous, "data:/data:ro", "memory:/memory"]
    deploy:
      replicas: 2
      update_config: {parallelism: 1, order: start-first, delay: 20s}
      restart_policy: {condition: on-failure, max_attempts: 3}
      resources:
        limits: {cpus: "0.5", memory: 64M, pids: 33}
        reservations: {cpus: "0.25", memory: 32M}
    logging: {driver: json-file, options: {max-size: 10m, max-file: "2"}}
  policy:
    image: testbed/pause:1
    stop_signal: SIGKILL
    restart: unless-stopped
    deploy: {restart_policy: {}}
    container_name: ${NAME:-fixed}
    read_only: true
    user: "1000"
    healthcheck: {test: [CMD, /pause], interval: 1h, retries: 2}
  borrower:
    image: testbed/pause:1
    volumes_from: ["limits:ro"]
    stop_signal: SIGKILL
    stop_grace_period: 1500ms
    depends_on: {policy: {condition: service_started}}
  once:
    image: testbed/busybox:1
    command: "true"
  stateful:
    image: testbed/stateful:1
    stop_signal: SIGKILL
volumes:
  data:
  memory: {driver_opts: {type: tmpfs, device: tmpfs}}
"""
HOOK = """
services:
  web:
    image: testbed/busybox:1
    command: sleep 1000
    environment: {CHANGE: "${CHANGE:-0}"}
    stop_signal: SIGKILL
    volumes: ["data:/data"]
    pre_stop: [{command: [touch, /data/hook]}]
volumes: {data: }
"""


@pytest.fixture(scope="module", params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def running(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The project of this module, up."""
    file = tmp_path_factory.mktemp("project") / "compose.yaml"
    file.write_text(FILE)
    with project(engine, file) as found:
        found.compose("up", "-d", NAME=f"{found.name}-fixed")
        yield found


def test_what_runs_is_what_the_file_declares(running: Project) -> None:
    """The model of a running service equals that of its file, but for what its image adds."""
    declared = noun_values(running.declared(), ADDED)
    found = noun_values(running.model(), ADDED)
    wanted = {name: declared[name] for name in WANTED}
    wanted["service policy"]["fixed_name"] = f"{running.name}-fixed"
    assert wanted == {name: found[name] for name in wanted}


def test_named_volumes_keep_the_file_s_names(running: Project) -> None:
    """Volumes go by the names in the file, with the options of their driver."""
    volumes = {
        volume.ref.name: volume.driver_options for volume in running.model().all(NamedVolume)
    }
    assert {"data": (), "memory": ("type=tmpfs",)} == volumes


def test_image_s_own_health_check_and_volumes_are_known(running: Project) -> None:
    """What only the image declares is part of a running service."""
    services = {workload.name: workload for workload in running.model().all(Workload)}
    container = services["stateful"].containers[0]
    assert container.health is not None
    assert ["/data"] == [mount.destination for mount in container.mounts]


def test_what_ran_once_is_not_judged(running: Project) -> None:
    """A container that ended is left out, and said so."""
    target = parse_target(f"compose://{running.name}?host={running.engine.url}")
    inventory = target.read(Timeouts())
    note = f"not judged, as they ran once or are stopped: {running.name}-once-1"
    assert note in inventory.header.notes
    assert "once" not in {workload.name for workload in running.model().all(Workload)}


def test_engine_is_part_of_the_model(running: Project) -> None:
    """The daemon that the project runs on is known."""
    assert 1 == len(running.model().all(EngineNoun))


def test_unknown_project_lists_those_that_run(running: Project) -> None:
    """A misspelt project is an error with the nearest and all others."""
    target = parse_target(f"compose://{running.name}x?host={running.engine.url}")
    with pytest.raises(Unreachable, match=f"did you mean '{running.name}'"):
        target.read(Timeouts())


def test_recreation_stops_every_copy_before_a_new_one_starts(running: Project) -> None:
    """`update_config` does nothing: all copies die, then new ones start."""
    with closing(running.engine.client()) as client:
        # Events are asked for by the second: what came before must not be in this one.
        time.sleep(1.1)
        since = int(time.time())
        running.compose("up", "-d", "limits", CHANGE="1", NAME=f"{running.name}-fixed")
        events = client.api.events(
            since=since,
            until=int(time.time()) + 1,
            decode=True,
            filters={
                "label": f"com.docker.compose.project={running.name}",
                "event": ["die", "start"],
            },
        )
        actions = [event["Action"] for event in events]
    assert ["die", "die", "start", "start"] == actions


@pytest.mark.parametrize(
    ("commands", "kept"),
    [
        ([["up", "-d", "--force-recreate", "stateful"]], True),
        ([["up", "-d", "--force-recreate", "-V", "stateful"]], False),
        ([["rm", "-sf", "stateful"], ["up", "-d", "stateful"]], False),
    ],
    ids=["recreated", "renewed", "removed"],
)
def test_anonymous_volumes_survive_a_recreation_only(
    running: Project, commands: list[list[str]], kept: bool
) -> None:
    """`up` re-attaches an anonymous volume; every other way to a new container loses it."""
    shell = ("exec", "-T", "stateful", "/bin/busybox", "sh", "-c")
    running.compose(*shell, "echo kept > /data/marker")
    for command in commands:
        running.compose(*command, NAME=f"{running.name}-fixed")
    found = running.compose(*shell, "cat /data/marker 2>/dev/null || true")
    assert ("kept" if kept else "") == found.strip()


def test_hooks_run_on_stop_and_not_on_recreation(testbed_engine: Engine, tmp_path: Path) -> None:
    """`pre_stop` does nothing for a rollout with `up`."""
    file = tmp_path / "compose.yaml"
    file.write_text(HOOK)
    with project(testbed_engine, file) as found:
        found.compose("up", "-d")
        found.compose("up", "-d", CHANGE="1")
        assert "" == found.compose("exec", "-T", "web", "ls", "/data")
        found.compose("stop", "-t", "0")
        found.compose("start")
        assert "hook\n" == found.compose("exec", "-T", "web", "ls", "/data")


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_example_is_what_the_engine_gets(testbed_engine: Engine, file: Path) -> None:
    """The engine accepts each policy's example, and says of it what our reader says."""
    declared = read_project([file], ENVIRONMENT).project
    services = declared.services.values()
    outside = [
        name
        for section in (declared.volumes, declared.networks)
        for name, entry in section.items()
        if entry.external or entry.driver not in ("", "local", "bridge")
    ]
    if outside or any(not service.image for service in services):
        pytest.skip(f"needs what this engine does not have: {outside or 'a build'}")
    images = {service.image for service in services}
    with stand_ins(testbed_engine, images), project(testbed_engine, file) as found:
        found.compose("create")
        # What is published is told by containers that run.
        without = (*ADDED, "published_ports")
        assert _services(noun_values(found.declared(), without)) == _services(
            noun_values(found.model(), without)
        )


def _services(values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if name.startswith("service ")}

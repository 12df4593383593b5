"""What Compose and Swarm services write, after they were really replaced by the real programs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from pytest_containerpolicy.experiments.restore import restore
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.compose_projects import Project, project
from tests.live.survivals import Verdict, survival
from tests.live.swarm_specimens import create_service
from tests.testbed import Engine, Swarm
from tests.testbed.shell import wait_until

WAIT = 60.0
FILE = """
services:
  db:
    image: testbed/stateful:1
    stop_signal: SIGKILL
    healthcheck: {test: [CMD, /server, healthcheck], interval: 1s}
    environment: {CHANGE: "${CHANGE:-0}"}
    volumes: ["named:/named", /anonymous, "./bound:/bound", "named:/read-only:ro"]
    tmpfs: [/scratch]
    deploy: {replicas: 2}
  memory:
    image: testbed/stateful:1
    stop_signal: SIGKILL
    healthcheck: {test: [CMD, /server, healthcheck], interval: 1s}
    tmpfs: [/data]
  locked:
    image: testbed/distroless:1
    stop_signal: SIGKILL
    user: "1000"
    cap_drop: [ALL]
    read_only: true
    volumes: ["locked:/locked"]
  guest:
    image: testbed/pause:1
    stop_signal: SIGKILL
    network_mode: service:host
  host:
    image: testbed/server:1
    stop_signal: SIGKILL
    volumes: ["named:/named"]
volumes: {named: , locked: }
"""


@pytest.fixture(scope="module")
def shop(testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running project with mounts of every kind."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "bound").mkdir()
    file = folder / "compose.yaml"
    file.write_text(FILE)
    with project(testbed_engine, file) as found:
        found.compose("up", "-d", "--wait")
        yield found
        nameless = {
            name
            for volumes in _volumes(found, "db")
            for path, name in volumes.items()
            if path in ("/anonymous", "/data")
        }
    # What `up` handed on counts as named: `down -v` leaves it.
    with closing(testbed_engine.client()) as client:
        for name in nameless:
            with suppress(NotFound):
                client.volumes.get(name).remove()


def _measure(shop: Project, service: str, folder: Path, **params: Any) -> Verdict:
    uri = f"compose://{shop.name}?host={shop.engine.url}"
    return survival(uri, service, folder, **params)


def _volumes(shop: Project, service: str) -> list[dict[str, str]]:
    """Where each container of a service has which volume."""
    with closing(shop.engine.client()) as client:
        found = client.containers.list(
            filters={
                "label": [
                    f"com.docker.compose.project={shop.name}",
                    f"com.docker.compose.service={service}",
                ]
            }
        )
        containers = sorted(found, key=lambda container: str(container.name))
        return [
            {m["Destination"]: m["Name"] for m in one.attrs["Mounts"] if m["Type"] == "volume"}
            for one in containers
        ]


def _content(shop: Project, service: str, *directories: str) -> str:
    return shop.compose("exec", "-T", service, "find", *directories, "-type", "f")


def test_every_mount_of_a_service(shop: Project, tmp_path: Path) -> None:
    """Names and paths keep data; anonymous volumes are kept by `up` only, and are given back."""
    volumes = _volumes(shop, "db")
    shop.compose("exec", "-T", "--index", "2", "db", "touch", "/anonymous/second")
    verdict = _measure(shop, "db", tmp_path)
    after = "is gone after container"
    assert [True, True] == [
        f"on an anonymous volume {after} {shop.name}-db-1 was removed" in text
        for text in verdict.found
    ], verdict.gaps
    assert ["kept", "kept"] == verdict.fate("/named") == verdict.fate("/bound")
    assert ["kept", "lost"] == verdict.fate("/anonymous") == verdict.fate("/data")
    assert (["lost"], []) == (verdict.fate("/scratch"), verdict.fate("/read-only"))
    assert volumes == _volumes(shop, "db")
    assert "" == _content(shop, "db", "/named", "/bound", "/anonymous", "/data")
    kept = shop.compose("exec", "-T", "--index", "2", "db", "ls", "/anonymous")
    assert "second\n" == kept


def test_data_in_memory(shop: Project, tmp_path: Path) -> None:
    """The data directory of a known image on a tmpfs is lost at once."""
    verdict = _measure(shop, "memory", tmp_path)
    assert ["a file written to /data on tmpfs is gone after container"] == [
        text.partition(f" {shop.name}")[0] for text in verdict.found
    ]


def test_without_a_shell(shop: Project, tmp_path: Path) -> None:
    """A container without a shell or rights is looked into from beside it."""
    verdict = _measure(shop, "locked", tmp_path)
    assert ([], []) == (verdict.found, verdict.gaps)
    assert ["kept", "kept"] == verdict.fate("/locked")


def test_without_a_shell_or_a_prober(shop: Project, tmp_path: Path) -> None:
    """What is missing is said, and nothing is touched."""
    verdict = _measure(shop, "locked", tmp_path, prober="testbed/never:1")
    words = "prober image testbed/never:1 is not on the daemon"
    assert [True] == [gap.startswith(words) for gap in verdict.gaps]


def test_whose_network_others_share(shop: Project, tmp_path: Path) -> None:
    """A container that another one depends on for its network is not replaced."""
    verdict = _measure(shop, "host", tmp_path)
    assert [True] == [
        f"lends its network or processes to {shop.name}-guest" in gap for gap in verdict.gaps
    ]


def test_files_that_say_something_else_now(
    shop: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would deploy another configuration is not run."""
    before = _volumes(shop, "db")
    monkeypatch.setenv("CHANGE", "1")
    verdict = _measure(shop, "db", tmp_path)
    assert [True] == ["is not what its files, variables and images" in gap for gap in verdict.gaps]
    assert before == _volumes(shop, "db")


def test_files_that_are_elsewhere(shop: Project, tmp_path: Path) -> None:
    """Without the project's files nothing can be created anew."""
    hidden = shop.file.rename(shop.file.with_suffix(".hidden"))
    try:
        verdict = _measure(shop, "db", tmp_path)
    finally:
        hidden.rename(shop.file)
    assert [True] == [
        f"{shop.file} of project {shop.name} is not on this" in g for g in verdict.gaps
    ]


RUN = """
import sys
from pathlib import Path
from tests.live.survivals import survival
survival(sys.argv[1], "db", Path(sys.argv[2]), hook=lambda text: print(text, flush=True))
"""


def test_killed_in_the_middle(
    shop: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes next starts the service again, with its anonymous volumes and no marker."""
    before = _volumes(shop, "db")
    uri = f"compose://{shop.name}?host={shop.engine.url}"
    command = [sys.executable, "-c", RUN, uri, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line.startswith("removing") for line in process.stdout)
        wait_until("the service is down", lambda: not _volumes(shop, "db"), WAIT)
        process.kill()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    said: list[str] = []
    assert [] == restore(Timeouts(), said.append)
    assert 3 == len(said), said
    assert before == _volumes(shop, "db")
    assert "" == _content(shop, "db", "/named", "/bound", "/data")


@contextmanager
def _service(
    swarm: Swarm, name: str, constraints: list[str], mount: dict[str, Any]
) -> Iterator[Callable[[], str]]:
    """A service of one task and its volume; gives the host name of the node where it runs."""
    container = {"Image": "testbed/stateful:1", "Mounts": [mount], "StopSignal": "SIGKILL"}
    health = {"Test": ["NONE"]}
    task = {
        "ContainerSpec": {**container, "Healthcheck": health},
        "Placement": {"Constraints": constraints},
    }
    with closing(swarm.managers[0].client()) as client:
        api: Any = client.api
        made = create_service(api, name, {"TaskTemplate": task})

        def node() -> str:
            tasks = api.tasks({"service": name, "desired-state": "running"})
            running = [one["NodeID"] for one in tasks if one["Status"]["State"] == "running"]
            return api.inspect_node(running[0])["Description"]["Hostname"] if running else ""

        try:
            wait_until("its task runs", node, WAIT)
            yield node
        finally:
            api.remove_service(made)
            for manager in swarm.managers:
                wait_until("its volume is gone", partial(_removed, manager, name), WAIT)


def _removed(manager: Engine, volume: str) -> bool:
    """Remove a volume as soon as no container has it any more."""
    with closing(manager.client()) as client:
        try:
            client.volumes.get(volume).remove()
        except NotFound:
            return True
        except APIError:
            return False
    return True


def _of_swarm(manager: Engine, name: str, folder: Path, **params: Any) -> Verdict:
    return survival(f"swarm+{manager.url}?workload={name}", name, folder, **params)


def test_task_on_its_node(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """A pinned task finds its named volume again, and not what the image's own volume held."""
    manager, name = testbed_swarm.managers[0], f"survival-{time.time_ns() % 10**8}"
    mount = {"Type": "volume", "Source": name, "Target": "/named"}
    with _service(testbed_swarm, name, [f"node.hostname == {_host(manager)}"], mount):
        verdict = _of_swarm(manager, name, tmp_path, move=True)
    assert (["kept"], ["lost"]) == (verdict.fate("/named"), verdict.fate("/data"))
    assert [True] == [
        text.startswith("a file written to /data on an anonymous volume is gone after task")
        for text in verdict.found
    ]
    assert "can't move: no suitable node" in verdict.figures


def test_task_that_moves(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """A local volume stays behind, if that is asked for; both nodes take tasks again, unmarked."""
    name = f"survival-{time.time_ns() % 10**8}"
    mount = {"Type": "volume", "Source": name, "Target": "/data"}
    with _service(testbed_swarm, name, [], mount) as node:
        manager = next(one for one in testbed_swarm.managers if _host(one) == node())
        untouched = _of_swarm(manager, name, tmp_path, move=True)
        asked: dict[str, Any] = {"move": True, "leave_behind": True}
        verdict = _of_swarm(manager, name, tmp_path, **asked)
        away = next(one for one in testbed_swarm.managers if one is not manager)
        gone = _of_swarm(away if node() != _host(away) else manager, name, tmp_path, **asked)
        with closing(manager.client()) as client:
            assert {"active"} == {one.attrs["Spec"]["Availability"] for one in client.nodes.list()}
            volume = {name: {"bind": "/left", "mode": "rw"}}
            left = client.containers.run(
                "testbed/busybox:1", ["ls", "-A", "/left"], volumes=volume, remove=True
            )
        assert b"" == left
    assert [True] == [
        f"/data on volume {name} stayed behind in volume {name} on node" in text
        for text in verdict.found
    ]
    assert ([], 0) == (untouched.found, untouched.judged)
    assert [True] == ["nothing keeps it from starting on another" in gap for gap in untouched.gaps]
    assert ([], 0) == (gone.found, gone.judged)
    assert [True] == ["has no task on the manager that is asked" in gap for gap in gone.gaps]


def _host(manager: Engine) -> str:
    with closing(manager.client()) as client:
        return str(client.info()["Name"])

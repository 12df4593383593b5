"""Reading real engines, the current and the oldest supported one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.cluster import Engine as EngineNoun
from pytest_containerpolicy.targets.engine import EngineTarget
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import parse_target
from tests.live.docker_specimens import only_specimens, read, recording, specimens
from tests.nouns import workload_values
from tests.testbed import Engine
from tests.testbed.engine import _debian_engine

BUILT_ELSEWHERE = ("image_digest",)
MANY = 40


@pytest.fixture(scope="module", params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def inventory(engine: Engine) -> Iterator[Inventory]:
    """What is read of the specimens on the engine."""
    with specimens(engine):
        yield read(engine)


def test_recording_is_true(engine: Engine, inventory: Inventory) -> None:
    """What the unit tests take for the engine's answer is what the engine answers."""
    file = recording(engine)
    recorded = build_model(Inventory.from_bytes(file.read_bytes(), file.name))
    live = build_model(only_specimens(inventory))

    assert workload_values(recorded, BUILT_ELSEWHERE) == workload_values(live, BUILT_ELSEWHERE)


def test_snapshot_gives_the_same_model(inventory: Inventory) -> None:
    """A snapshot, read again, means what the live engine means."""
    replayed = Inventory.from_bytes(inventory.to_bytes(), "snapshot")

    assert workload_values(build_model(inventory)) == workload_values(build_model(replayed))


def test_nothing_secret_is_kept(inventory: Inventory) -> None:
    """Environment values, commands, foreign labels and health check commands are not read."""
    content = inventory.to_bytes()

    assert [] == [word for word in (b"hunter2", b"curl", b"192.0.2.1") if word in content]


def test_complete(engine: Engine, inventory: Inventory) -> None:
    """Nothing is missing, and the header says which daemon was read and who is not judged."""
    notes = "; ".join(inventory.header.notes)

    assert ((), engine.version) == (inventory.header.unreadable, inventory.header.version)
    assert str(engine.socket) in notes
    assert "not judged here: 1 container of Compose project shop: give compose://shop" in notes


def test_engine_itself(engine: Engine, inventory: Inventory) -> None:
    """The engine's own facts are known."""
    (noun,) = build_model(inventory).all(EngineNoun)

    assert (engine.version, engine.api_version) == (noun.version, noun.api_version)
    assert ("json-file", True) == (noun.logging_driver, noun.cgroup_version in ("1", "2"))


def test_containers_come_and_go(engine: Engine) -> None:
    """Containers that are removed while they are read are no error."""
    with closing(engine.client()) as client:
        api: Any = client.api
        made = [api.create_container("testbed/pause:1", name=f"gone-{i}") for i in range(MANY)]
        with ThreadPoolExecutor(1) as background:
            removal = background.submit(lambda: [api.remove_container(one) for one in made])
            gaps = [read(engine).header.unreadable]
            while not removal.done():
                gaps.append(read(engine).header.unreadable)
        removal.result()

    assert {()} == set(gaps)


def test_context_is_the_docker_clis(engine: Engine, tmp_path: Path) -> None:
    """`engine://` means the daemon that the docker CLI would talk to, in every combination."""
    command = _debian_engine() / "usr" / "bin" / "docker"
    _add_contexts(command, tmp_path, {"here": engine.url, "there": "tcp://192.0.2.1:2375"})
    hosts, contexts = (None, engine.url), (None, "there", "default", "gone")
    differences = []
    for host, context, current in product(hosts, contexts, (None, "here", "gone")):
        (tmp_path / "config.json").write_text(json.dumps({"currentContext": current or ""}))
        environment = _environment(tmp_path, host, context)
        theirs, ours = _theirs(command, environment), _ours(environment)
        if theirs != ours:
            differences.append((host, context, current, theirs, ours))

    assert [] == differences


def _add_contexts(command: Path, folder: Path, hosts: dict[str, str]) -> None:
    for name, host in hosts.items():
        argv = [str(command), "context", "create", name, "--docker", f"host={host}"]
        subprocess.run(argv, env=_environment(folder), check=True, capture_output=True)


def _environment(
    folder: Path, host: str | None = None, context: str | None = None
) -> dict[str, str]:
    chosen = {"DOCKER_HOST": host, "DOCKER_CONTEXT": context}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DOCKER_CONFIG": str(folder),
        **{name: value for name, value in chosen.items() if value is not None},
    }


def _theirs(command: Path, environment: dict[str, str]) -> str | None:
    argv = [str(command), "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _ours(environment: dict[str, str]) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            target = parse_target("engine://")
        except TargetError:
            return None
    assert isinstance(target, EngineTarget)
    return target.endpoint.host

"""Compose projects that are really stopped and started: what waits for what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.live.compose_projects import project
from tests.live.experiment_verdicts import Verdict, verdict
from tests.testbed import Engine
from tests.testbed.shell import wait_until

CHECK = "{test: [CMD, /server, healthcheck], interval: 1s, retries: 60}"
DATABASE = f"""
  db:
    image: testbed/server:1
    environment: {{READY_DELAY: 3}}
    stop_grace_period: 1s
    healthcheck: {CHECK}
  migration:
    image: testbed/server:1
    command: [sleep, 1s]
    depends_on: {{db: {{condition: service_healthy}}}}
"""
WEB = f"""
  web:
    image: testbed/server:1
    stop_grace_period: 1s
    restart: on-failure
    healthcheck: {CHECK}
    entrypoint: [sh, -c, "/server get http://db:8080/readyz && exec /server"]
    depends_on:
"""
ORDERED = """      db: {condition: service_healthy}
      migration: {condition: service_completed_successfully}
"""
HASTY = """      db: {condition: service_started}
"""
WELL = ["db running healthy", "migration exited", "web running healthy"]
LATECOMER = "      late: {condition: service_started}\n  late: {image: 'testbed/pause:1'}\n"
Ask = Callable[..., Verdict]


@pytest.fixture
def brought_up(testbed_engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Ask]]:
    """Brings up a project with these conditions, and asks the experiment of its service web."""
    file = tmp_path / "compose.yaml"
    with project(testbed_engine, file) as running, closing(testbed_engine.client()) as client:

        def states() -> dict[str, str]:
            label = f"com.docker.compose.project={running.name}"
            found = client.containers.list(all=True, filters={"label": label})
            return {str(one.name): str(one.id) + one.status for one in found}

        def is_well() -> bool:
            words = ("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}}")
            lines = {line.strip() for line in running.compose(*words).splitlines()}
            return sorted(lines) == WELL

        def bring_up(conditions: str, *options: str) -> Ask:
            file.write_text(f"services:{DATABASE}{WEB}{conditions}")
            running.compose("up", "-d", *options)
            wait_until("all is well", is_well, 60)

            def ask(**params: object) -> Verdict:
                before = states()
                uri = f"compose://{running.name}?host={testbed_engine.url}"
                found = verdict("start_order_holds", uri, "web", tmp_path, **params)  # type: ignore[arg-type]
                assert before == states()
                return found

            return ask

        yield bring_up


def test_order_holds(brought_up: Callable[..., Ask]) -> None:
    """A service that waits for a healthy database, and the end of a migration, starts once."""
    found = brought_up(ORDERED)()
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    order = [line.split(":")[0].strip() for line in found.figures.splitlines()[1:]]
    assert ["db", "migration", "web"] == order


def test_order_is_left_to_chance(brought_up: Callable[..., Ask]) -> None:
    """A service that starts when its database merely runs ends at first, and is found."""
    found = brought_up(HASTY)()
    assert found.found.endswith("after its start with exit code 1"), found


def test_scaled_service(brought_up: Callable[..., Ask]) -> None:
    """A service that runs in more copies than its file says has as many afterwards."""
    found = brought_up(ORDERED, "--scale", "web=2")()
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


@contextmanager
def _crowd_of_events(engine: Engine) -> Iterator[None]:
    """Events of another kind, more than the daemon remembers, all the time."""
    ended = Event()

    def tag() -> None:
        with closing(engine.client()) as client:
            image = client.images.get("testbed/pause:1")
            while not ended.wait(0.005):
                image.tag("testbed/crowd:1")
            client.images.remove("testbed/crowd:1", noprune=True)

    thread = Thread(target=tag)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_events_that_the_daemon_forgets(
    brought_up: Callable[..., Ask], testbed_engine: Engine
) -> None:
    """A first try that failed is found, though the daemon has forgotten it when all is well."""
    ask = brought_up(HASTY)
    with _crowd_of_events(testbed_engine):
        found = ask()
    assert found.found.endswith("after its start with exit code 1"), found


def test_project_that_would_become_another(brought_up: Callable[..., Ask], tmp_path: Path) -> None:
    """What the files no longer mean, and what somebody stopped, is not brought up by us."""
    ask, file = brought_up(ORDERED), tmp_path / "compose.yaml"
    file.write_text(file.read_text() + LATECOMER)
    assert "-late-1 (Creating)" in ask().gaps
    file.write_text(file.read_text().replace("web:\n", "web:\n    user: '5'\n"))
    assert "-web-1 (Recreate)" in ask().gaps


def test_dependency_that_somebody_stopped(
    brought_up: Callable[..., Ask], testbed_engine: Engine
) -> None:
    """A service that was stopped before is not started."""
    ask = brought_up(HASTY)
    with closing(testbed_engine.client()) as client:
        (database,) = client.containers.list(filters={"name": "^/?cp-.*-db-1$"})
        database.stop()
    assert "-db-1 (Starting)" in ask().gaps


def test_project_is_left_alone(brought_up: Callable[..., Ask], tmp_path: Path) -> None:
    """Below the level, or without its files, a project is not stopped."""
    ask = brought_up(HASTY)
    assert "needs --cp-level=disrupt" in ask(level="probe").gaps
    file = tmp_path / "compose.yaml"
    moved = file.rename(tmp_path / "elsewhere.yaml")
    try:
        assert "is not on this machine" in ask().gaps
    finally:
        moved.rename(file)

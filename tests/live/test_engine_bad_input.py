"""Real daemons and sockets that can't be read: one clear line, never a traceback, never a pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.testbed import Engine

NOBODY = 65534
QUICK = Timeouts(connect=1, read=2)


@pytest.fixture(params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@contextmanager
def as_nobody() -> Iterator[None]:
    """Open files and sockets as a user without any rights, if we are root."""
    if os.geteuid() != 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def complaint(uri: str) -> str:
    """Why a target is unreachable."""
    with pytest.raises(Unreachable) as error:
        parse_target(uri).read(QUICK)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_permission_denied(engine: Engine) -> None:
    """Who may not open the socket is told which group may."""
    complaint("engine+unix:///nowhere")  # what has to be imported is imported as ourselves
    with as_nobody():
        message = complaint(f"engine+unix://{engine.socket}")

    expected = f"permission denied on {engine.socket}: run as root or as a member of group 'root'"
    assert message.endswith(expected)


def test_no_socket(tmp_path: Path) -> None:
    """A socket that does not exist is named."""
    message = complaint(f"engine+unix://{tmp_path}/docker.sock")

    assert f"there is no socket {tmp_path}/docker.sock: start the daemon" in message


def test_nothing_listens() -> None:
    """A port that nothing listens on is named."""
    assert "nothing listens on tcp://127.0.0.1:1" in complaint("engine+tcp://127.0.0.1:1")


def test_unknown_host() -> None:
    """A host name that does not exist is named."""
    assert "unknown host name in tcp://no.invalid:2375" in complaint("engine+tcp://no.invalid:2375")


def test_not_a_socket(tmp_path: Path) -> None:
    """A file where the socket should be is no daemon."""
    file = tmp_path / "docker.sock"
    file.touch()

    assert str(file) in complaint(f"engine+unix://{file}")


def test_engine_without_swarm(engine: Engine) -> None:
    """An engine that is not in a Swarm says so."""
    message = complaint(f"swarm+unix://{engine.socket}")

    assert "is not part of a Swarm" in message


def test_no_verdict_without_daemon(tmp_path: Path) -> None:
    """A run against a daemon that is not there fails, and says why."""
    uri = f"engine+unix://{tmp_path}/docker.sock"
    argv = [sys.executable, "-m", "pytest", "--cp-target", uri, "--cp-select", "resources/*"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert 1 == done.returncode
    assert "there is no socket" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert " passed" not in done.stdout

"""The testbed survives being killed, is shared, kills no stranger and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A testbed of its own: what is killed here is nobody else's.
SPARE = {**os.environ, "CONTAINERPOLICY_TESTBED_INSTANCE": "9", "CONTAINERPOLICY_TESTBED": ""}


@pytest.mark.parametrize("name", ["engine", "engine-oldest", "swarm", "kubernetes"])
def test_killed_environment_starts_again(name: str) -> None:
    """After SIGKILL of everything at once it starts again, and `down` leaves nothing."""
    try:
        _spare("up", name)
        _kill_everything()
        assert _spare("status", name).strip() == f"{name}: down"
        assert f"{name}: started" in _spare("up", name)
    finally:
        _spare("down", name)
    assert _traces() == []


def test_killed_user_holds_nothing() -> None:
    """An engine whose user was killed is started afresh for the next one."""
    hold = (
        "import time\nfrom tests.testbed import docker_engine\n"
        "with docker_engine() as engine:\n"
        "    engine.client().containers.run('testbed/server:1', detach=True, name='left')\n"
        "    print('up', flush=True)\n    time.sleep(600)\n"
    )
    look = (
        "from tests.testbed import docker_engine\n"
        "with docker_engine() as engine:\n"
        "    print(len(engine.client().containers.list(all=True)))\n"
    )
    user = subprocess.Popen([sys.executable, "-c", hold], env=SPARE, cwd=ROOT, stdout=-1, text=True)
    assert user.stdout is not None
    assert user.stdout.readline() == "up\n"
    user.kill()
    user.wait()
    user.stdout.close()
    assert _python(look).strip() == "0"
    assert _traces() == []


def test_users_that_come_at_once_share() -> None:
    """Two users that ask at the same moment get one engine, started once."""
    ask = (
        "import sys\nfrom tests.testbed import docker_engine\n"
        "with docker_engine() as engine:\n"
        "    print(engine.client().info()['ID'], flush=True)\n    sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", ask]
    users = [_waiting(argv) for _ in range(2)]
    ids = [user.stdout.readline() for user in users if user.stdout]
    for user in users:
        user.communicate()
    assert ids[0]
    assert ids == [ids[0]] * 2
    assert _traces() == []


def test_stranger_with_an_old_number_lives() -> None:
    """A pidfile that names somebody else's process does not get that process killed."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        pidfile = Path("/var/lib/containerpolicy-testbed-9/engine/pid/dockerd.pid")
        pidfile.parent.mkdir(parents=True, exist_ok=True)
        pidfile.write_text(str(stranger.pid))
        _spare("down", "engine")
        lives = stranger.poll() is None
        stranger.kill()
    assert lives


def _waiting(argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(argv, env=SPARE, cwd=ROOT, stdin=-1, stdout=-1, text=True)


def _spare(*words: str) -> str:
    argv = [sys.executable, "-m", "tests.testbed", *words]
    done = subprocess.run(argv, env=SPARE, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def _python(code: str) -> str:
    argv = [sys.executable, "-c", code]
    return subprocess.run(
        argv, env=SPARE, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def _kill_everything() -> None:
    """SIGKILL every process of the spare testbed, in no order."""
    for pid in _processes():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)


def _processes() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"/containerpolicy-testbed-9/" in line and int(folder.name) != os.getpid():
            yield int(folder.name)


def _traces() -> list[str]:
    """Whatever the spare testbed left on the machine, its logs and certificates aside."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [str(pid) for pid in _processes()]
    found += [line for line in mounts if "/containerpolicy-testbed-9/" in line]
    for pattern in ("/sys/class/net/cpt9-*", "/run/netns/cpt9-*", "/sys/fs/cgroup/*/cpt9-*"):
        found += [str(path) for path in Path("/").glob(pattern[1:])]
    return found

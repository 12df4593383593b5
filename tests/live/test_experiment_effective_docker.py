"""What is in force in containers of an engine and of a Compose project, read from inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.compose_projects import Project, project
from tests.live.effective_containers import (
    CONFINED,
    EXPERIMENTS,
    LIMITS,
    Host,
    lift_memory_limit,
)
from tests.live.effective_pods import (
    BUSYBOX,
    DISTROLESS,
    HOG,
    KILLED_CHILD,
    LEAVES_ROOT,
    PYTHON,
    SERVER,
)
from tests.live.experiment_verdicts import Verdict, verdict
from tests.testbed import Engine
from tests.testbed.shell import wait_until

COMPOSE = """
services:
  web:
    image: testbed/server:1
    stop_grace_period: 0s
    restart: {restart}
    user: "{user}"
    mem_limit: {memory}
    volumes: [data:/data]
  shifty:
    image: testbed/server:1
    stop_grace_period: 0s
    mem_limit: ${{SIZE:-{memory}}}
volumes: {{data: }}
"""
# As it is brought up, and as somebody edits it later.
BEFORE = {"restart": '"on-failure:1"', "user": "1000", "memory": "64m"}
AFTER = {"restart": '"on-failure:10"', "user": "2000", "memory": "32m"}


@pytest.fixture(scope="module")
def host(testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """An engine to run containers on."""
    host = Host(testbed_engine, tmp_path_factory.mktemp("effective"))
    try:
        yield host
    finally:
        host.remove()


@pytest.mark.parametrize("image", [SERVER, DISTROLESS])
def test_everything_as_declared(host: Host, image: str) -> None:
    """Limits, rights and volumes that are in force are found so, with a shell and without."""
    name = host.run(
        f"right-{image[8:14]}", image, tmpfs={"/scratch": "size=1m"}, **LIMITS, **CONFINED
    )
    for experiment in (*EXPERIMENTS, "mounts_in_force"):
        told = host.ask(experiment, name, prober="testbed/python:1")
        assert (experiment, 1, "", "") == (experiment, told.judged, told.found, told.gaps)
    assert f"{name} /scratch: tmpfs, 1Mi of 1Mi free" in told.figures


@pytest.mark.parametrize("image", [SERVER, DISTROLESS])
def test_volume_of_another_user(host: Host, image: str) -> None:
    """A new volume belongs to root, and a program that does not run as root may not write to it."""
    volumes = {f"{host.prefix}-{image[8:14]}": {"bind": "/data", "mode": "rw"}}
    name = host.run(f"foreign-{image[8:14]}", image, user="1000", volumes=volumes)
    found = host.ask("mounts_in_force", name).found
    assert f"/data may not be written by uid 1000 in container {name}" == found


def test_volume_of_the_user_that_root_became(host: Host) -> None:
    """What root may write, its first process may not: that one has become another user."""
    volumes = {
        f"{host.prefix}-{name}": {"bind": f"/{name}", "mode": "rw"} for name in ("own", "theirs")
    }
    name = host.run("left-root", PYTHON, "python3", "-c", LEAVES_ROOT, volumes=volumes)
    told = host.ask("mounts_in_force", name)
    assert f"/theirs may not be written by uid 1000 in container {name}" == told.found
    assert "" == told.gaps


def test_limit_that_was_taken_away(host: Host) -> None:
    """Somebody writes to the cgroup: the engine still shows the limit, the kernel has none."""
    name = host.run("loose", **LIMITS)
    lift_memory_limit(host.client.api.inspect_container(name)["State"]["Pid"])
    found = host.ask("limits_in_force", name).found
    assert found.startswith(f"no memory limit in force in container {name}")


def test_required_limit_that_nobody_declares(host: Host) -> None:
    """Without a limit nothing is amiss, unless the policy requires one."""
    name = host.run("boundless")
    assert "" == host.ask("limits_in_force", name).found
    found = host.ask("limits_in_force", name, required=("memory",)).found
    assert f"no memory limit in force in container {name}" == found


def test_killed_child(host: Host) -> None:
    """The container runs on as if nothing had happened; its cgroup has counted."""
    name = host.run("child", BUSYBOX, "sh", "-c", KILLED_CHILD, mem_limit="16m")
    wait_until("a kill", lambda: host.ask("no_oom_kills", name).found, 60)
    found = host.ask("no_oom_kills", name).found
    assert f"1 processes killed for want of memory at a limit of 16Mi in container {name}" == found


def test_killed_and_started_again(host: Host) -> None:
    """An engine forgets at the next start why the last one ended; its events tell for a while."""
    script = f"test -e /once && exec sleep 1000; touch /once; exec {HOG}"
    name = host.run(
        "whole",
        BUSYBOX,
        *("sh", "-c", script),
        mem_limit="16m",
        memswap_limit="16m",
        restart_policy={"Name": "always"},
    )
    _await_restarts(host, name, 1)
    told = host.ask("no_oom_kills", name)
    forgotten = "restarted 1 times, and the engine has forgotten why"
    assert "killed for want of memory, and started again" in told.found or forgotten in told.gaps


def _await_restarts(host: Host, name: str, least: int) -> None:
    inspect = host.client.api.inspect_container
    wait_until("a restart", lambda: inspect(name)["RestartCount"] >= least, 60)


def test_restarts_for_unknown_reasons(host: Host) -> None:
    """A container that ended before is no witness of what it ended with."""
    name = host.run(
        "crashed",
        BUSYBOX,
        *("sh", "-c", "test -e /once && exec sleep 1000; touch /once; exit 3"),
        restart_policy={"Name": "always"},
    )
    _await_restarts(host, name, 1)
    wait_until("it to run", lambda: not host.ask("no_oom_kills", name).gaps.endswith(")"), 60)
    told = host.ask("no_oom_kills", name)
    assert (0, "") == (told.judged, told.found)
    assert "the engine has forgotten why" in told.gaps


def test_crash_loop(host: Host) -> None:
    """A container that ends at once, again and again."""
    name = host.run("loop", environment={"CRASH_AFTER": "0.1"}, restart_policy={"Name": "always"})
    _await_restarts(host, name, 3)
    assert "restarted " in host.ask("no_crash_loop", name).found


def test_throttling(host: Host) -> None:
    """A program that wants thirty times its limit; at its start that says nothing yet."""
    name = host.run("busy", nano_cpus=30_000_000, environment={"BURN": "0.9"})
    wait_until("periods", lambda: host.ask("not_throttled", name, enough=20).found, 60)
    assert "at 0.03 cores" in host.ask("not_throttled", name, enough=20).found
    assert "look again" in host.ask("not_throttled", name, enough=100_000).gaps


def test_privileged_keeps_what_is_dropped(host: Host) -> None:
    """`--privileged` outweighs `--cap-drop`."""
    name = host.run("privileged", privileged=True, cap_drop=["ALL"])
    assert host.ask("runs_as_declared", name).found.startswith("may have AUDIT_CONTROL")


def test_processes_of_the_host(host: Host) -> None:
    """Where process 1 is the host's own, the container's is found by its cgroup."""
    name = host.run("visitor", pid_mode="host", user="1000", **LIMITS)
    assert ("", "") == _words(host.ask("runs_as_declared", name))
    assert ("", "") == _words(host.ask("limits_in_force", name))


def _words(told: Verdict) -> tuple[str, str]:
    return told.found, told.gaps


def test_state_beside_volumes(host: Host) -> None:
    """What is on the root file system is listed with its size; volumes and scratch are not."""
    script = "mkdir /srv; head -c 3000 /dev/zero >'/srv/my data'; echo 1 >/tmp/x; echo 1 >/kept/y"
    name = host.run(
        "writer",
        BUSYBOX,
        *("sh", "-c", f"{script}; exec sleep 1000"),
        volumes={f"{host.prefix}-kept": {"bind": "/kept", "mode": "rw"}},
    )
    told = "2.93Ki written beside the volumes: /srv/my data (2.93Ki)"
    wait_until("a file", lambda: host.ask("state_in_volumes", name).found, 60)
    assert f"{told} in container {name}" == host.ask("state_in_volumes", name).found
    assert "" == host.ask("state_in_volumes", name, ignored=("/srv", "/tmp")).found  # noqa: S108
    assert "" == host.ask("state_in_volumes", name, more_than=4096).found


def test_state_behind_many_ignored_files(host: Host) -> None:
    """However many files are ignored, those that are not are all looked at."""
    script = "i=0; while [ $i -lt 300 ]; do echo >/cache$i; i=$((i+1)); done; echo 1 >/srv1"
    name = host.run("many", BUSYBOX, "sh", "-c", f"{script}; exec sleep 1000")
    wait_until("the last file", lambda: "srv1" in _changes(host, name), 60)
    told = host.ask("state_in_volumes", name, ignored=("/cache*",))
    assert ("", 1) == (told.gaps, told.found.count("written beside the volumes: /srv1 ("))


def _changes(host: Host, name: str) -> str:
    return str(host.client.api.diff(name))


def test_program_that_does_not_end(host: Host) -> None:
    """What hangs in a container is a gap after a while, and no more."""
    name = host.run("slow", BUSYBOX, "sleep", "1000")
    target = parse_target(f"engine+{host.engine.url}")
    lab = open_lab(target, Timeouts(), LabOptions())
    assert isinstance(lab, DockerLab)
    with closing(lab), pytest.raises(CannotLook, match="did not end within 1 s"):
        lab.execute(name, ["sh", "-c", "echo a; sleep 20"], seconds=1)


@pytest.fixture(scope="module")
def shop(host: Host) -> Iterator[Project]:
    """A Compose project that was brought up from a file."""
    file = host.folder / "compose.yaml"
    file.write_text(COMPOSE.format(**BEFORE))
    with project(host.engine, file) as shop:
        shop.compose("up", "-d")
        yield shop


def test_compose_file_that_was_edited(
    host: Host, shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file says is not in force before the next `up`, whatever the engine shows."""
    monkeypatch.delenv("SIZE", raising=False)
    uri = f"compose://{shop.name}?host={host.engine.url}"

    def ask(experiment: str, name: str = "web") -> Verdict:
        return verdict(experiment, uri, name, host.folder, level="probe")

    questions = ("limits_in_force", "runs_as_declared", "restart_policy_in_force")
    assert ["", "", ""] == [ask(question).found for question in questions]
    shop.file.write_text(COMPOSE.format(**AFTER))
    copy = f"container {shop.name}-web-1"
    assert [
        f"memory limit 64Mi in {copy}",
        f"runs as uid 1000 in {copy}",
        f"restart policy on-failure:1 in {copy}",
    ] == [ask(question).found for question in questions]
    monkeypatch.setenv("SIZE", "16m")
    assert ("", "") == _words(ask("limits_in_force", "shifty"))
    assert "say nothing certain" in ask("restart_policy_in_force", "shifty").gaps


def test_compose_files_that_are_elsewhere(host: Host, shop: Project) -> None:
    """Where the files are not, what runs is compared with what the engine was told."""
    text = shop.file.read_text()
    shop.file.unlink()
    uri = f"compose://{shop.name}?host={host.engine.url}"
    try:
        told = verdict("limits_in_force", uri, "web", host.folder, level="probe")
    finally:
        shop.file.write_text(text)
    assert (1, "", "") == (told.judged, told.found, told.gaps)
    assert "its files are not here" in told.figures

"""What is in force, judged against what is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.effective_health import require_known_end, restarts_of
from pytest_containerpolicy.experiments.effective_limits import (
    Limits,
    absences,
    declared_limits,
    differences,
    is_bounded_with_its_pod,
)
from pytest_containerpolicy.experiments.effective_security import (
    declared_confinement,
    excesses,
)
from pytest_containerpolicy.experiments.inside import Copy, Vitals
from pytest_containerpolicy.experiments.inside.cgroups import Cgroup
from pytest_containerpolicy.experiments.kubernetes_lab import Refused
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.unit.inside_readings import engine_copy, pod_copy, recorded, task_copy
from tests.unit.known_clusters import known_cluster

MIB = 2**20
CONFIG = "/api/v1/nodes/node1/proxy/configz"
LAB = open_lab(parse_target("engine+unix:///none.sock"), Timeouts(), LabOptions())


def with_files(files: dict[str, str], copy: Copy | None = None, swap: int = 0) -> Vitals:
    """A reading with these cgroup files."""
    cgroup = Cgroup({name: (text,) for name, text in files.items()})
    return replace(recorded("docker-defaults-v1", copy), cgroup=cgroup, swap=swap)


def found(vitals: Vitals, declared: Limits) -> list[str]:
    """What differs, in words."""
    return [violation.found for violation in differences(vitals, declared)]


def test_limits_in_force_differ_in_nothing() -> None:
    """What the engine was told, and what it told the kernel."""
    declared = Limits(memory=64 * MIB, swap=64 * MIB, cpu=0.5, pids=100)
    assert [] == found(recorded("docker-limits-v1"), declared)


def test_limits_that_are_not_in_force() -> None:
    """Each limit that the cgroup does not have is named."""
    declared = Limits(memory=64 * MIB, swap=64 * MIB, cpu=0.5, pids=100)
    wanted = [f"no {name} limit in force" for name in ("memory", "cpu", "pids", "swap")]
    assert wanted == found(recorded("docker-defaults-v1"), declared)


def test_other_limits_than_declared() -> None:
    """A limit that is higher or lower than the declared one is not that one."""
    vitals = recorded("docker-limits-v1")
    assert ["memory limit 64Mi"] == found(vitals, Limits(memory=128 * MIB))
    assert ["memory limit 64Mi"] == found(vitals, Limits(memory=32 * MIB))
    assert ["cpu limit 0.5 cores"] == found(vitals, Limits(cpu=0.25))
    assert ["pids limit 100"] == found(vitals, Limits(pids=99))


def test_undeclared_limits_are_nobodys_fault() -> None:
    """A limit that somebody set and nobody declares takes nothing away from the declaration."""
    assert [] == found(recorded("docker-limits-v1"), Limits())


def test_memory_is_cut_to_pages() -> None:
    """100 MB are not a whole number of pages."""
    vitals = with_files({"memory.max": "99999744\n"})
    assert [] == found(vitals, Limits(memory=100_000_000))
    assert ["memory limit 95.37Mi"] == found(vitals, Limits(memory=99_999_743))


@pytest.mark.parametrize(
    ("declared", "quota"),
    [(0.25, "25000 100000"), (0.25, "2500 10000"), (0.001, "1000 100000"), (0.333, "34000 100000")],
)
def test_quotas_that_are_the_declared_cpu(declared: float, quota: str) -> None:
    """Periods may differ, 1 ms is the least quota, and systemd rounds up to a percent."""
    assert [] == found(with_files({"cpu.max": quota}), Limits(cpu=declared))


@pytest.mark.parametrize("quota", ["24000 100000", "27000 100000", "max 100000"])
def test_quotas_that_are_another_cpu(quota: str) -> None:
    """A quota that is lower, or higher by more than a percent of a core, is another one."""
    assert 1 == len(found(with_files({"cpu.max": quota}), Limits(cpu=0.25)))


def test_whole_processors_instead_of_a_quota() -> None:
    """The kubelet's static policy pins a container to processors of its own, without a quota."""
    files = {"cpu.max": "max 100000", "cpuset.cpus.effective": "2-3"}
    assert [] == found(with_files(files), Limits(cpu=2))
    assert ["no cpu limit in force"] == found(with_files(files), Limits(cpu=1))


def test_swap_that_can_not_be_limited() -> None:
    """A kernel without swap limits loses them, unless its host has no swap at all."""
    files = {"memory.limit_in_bytes": "67108864\n"}
    declared = Limits(memory=64 * MIB, swap=64 * MIB)
    assert [] == found(with_files(files), declared)
    assert ["no swap limit in force"] == found(with_files(files, swap=MIB), declared)


def test_required_limits() -> None:
    """What has to be bounded, and is neither bounded nor declared, is named once."""
    vitals = recorded("docker-defaults-v1")
    told = [violation.found for violation in absences(vitals, Limits(cpu=1), ("memory", "cpu"))]
    assert ["no memory limit in force"] == told
    assert [] == list(absences(recorded("docker-limits-v1"), Limits(), ("memory", "cpu", "pids")))


@pytest.mark.parametrize(
    ("limit", "expected"), [(100, True), (-1, False), (0, False), (None, False)]
)
def test_processes_bounded_by_the_kubelet(
    limit: int | None, expected: bool, tmp_path: Path
) -> None:
    """A limit on the pod's own cgroup, which its containers don't see, bounds them all the same."""
    lab = known_cluster(tmp_path, CONFIG, lambda: {"kubeletconfig": {"podPidsLimit": limit}})
    vitals = with_files({"pids.max": "max"}, pod_copy(pod={"nodeName": "node1"}))
    assert expected is is_bounded_with_its_pod(vitals, lab)


def test_kubelet_that_is_not_shown(tmp_path: Path) -> None:
    """Without its configuration nobody knows; a container with a limit of its own needs none."""

    def refuse() -> None:
        raise Refused("GET configz: needs the right to it", 403, "forbidden")

    lab = known_cluster(tmp_path, CONFIG, refuse)
    copy = pod_copy(pod={"nodeName": "node1"})
    with pytest.raises(CannotLook, match=r"the kubelet of node1 limits .* needs the right"):
        is_bounded_with_its_pod(with_files({"pids.max": "max"}, copy), lab)
    assert not is_bounded_with_its_pod(with_files({"pids.max": "100"}, copy), lab)


def test_declared_by_a_pod() -> None:
    """A limit of the whole pod stands in for the one that a container does not have."""
    limits = {"limits": {"memory": "64Mi", "cpu": "250m"}}
    whole = {"resources": {"limits": {"memory": "128Mi", "cpu": "1"}}}
    assert Limits(memory=64 * MIB, cpu=0.25) == declared_limits(
        pod_copy({"resources": limits}), LAB
    )
    assert Limits(memory=128 * MIB, cpu=1) == declared_limits(pod_copy(pod=whole), LAB)
    assert Limits() == declared_limits(pod_copy(), LAB)


def test_declared_by_an_engine() -> None:
    """Zero and -1 are not limits; a quota is one as well as nano CPUs."""
    host = {"Memory": 64 * MIB, "MemorySwap": -1, "CpuQuota": 50000, "PidsLimit": 0}
    assert Limits(memory=64 * MIB, cpu=0.5) == declared_limits(engine_copy(host), LAB)
    host = {"Memory": 0, "MemorySwap": 0, "NanoCpus": 10**9, "PidsLimit": 5}
    assert Limits(cpu=1, pids=5) == declared_limits(engine_copy(host), LAB)


def test_declared_by_a_task() -> None:
    """A task is judged by its own spec: its service's may be newer."""
    task = task_copy({"MemoryBytes": MIB, "NanoCPUs": 10**8, "Pids": 7})
    assert Limits(memory=MIB, cpu=0.1, pids=7) == declared_limits(task, LAB)


def test_resize_that_hangs_is_why() -> None:
    """The kubelet says what a resize waits for."""
    condition = {
        "type": "PodResizePending",
        "status": "True",
        "reason": "Deferred",
        "message": "node has not enough memory",
    }
    copy = pod_copy(conditions=(condition,))
    vitals = with_files({"memory.max": "67108864\n"}, copy)
    (violation,) = differences(vitals, Limits(memory=128 * MIB))
    assert "its resize is Deferred: node has not enough memory" == violation.why


def rights(reading: str, copy: Copy) -> list[str]:
    """What goes beyond the declaration, in words."""
    vitals = recorded(reading, copy)
    return [violation.found for violation in excesses(vitals, declared_confinement(copy, LAB))]


def test_rights_as_declared() -> None:
    """A user, no capabilities, no new privileges and a read-only root, all in force."""
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
    }
    assert [] == rights("docker-limits-v1", engine_copy(host, User="1000:0"))


def test_rights_beyond_the_declared() -> None:
    """A container as root with the defaults, whose engine was told otherwise."""
    host: dict[str, Any] = {
        "CapDrop": ["NET_RAW"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
    }
    wanted = [
        "runs as uid 0",
        "may have NET_RAW",
        "may gain privileges",
        "the root file system can be written",
    ]
    assert wanted == rights("docker-defaults-v1", engine_copy(host, User="1000"))


def test_declared_user_by_name() -> None:
    """A name's number is not known, but it is not root's."""
    assert ["runs as root"] == rights("docker-defaults-v1", engine_copy(User="app"))
    assert [] == rights("docker-defaults-v1", engine_copy(User="root"))


def test_privileged_engine_container_has_all() -> None:
    """Nobody is surprised by what a privileged container has, unless it drops something."""
    assert [] == rights("docker-defaults-v1", engine_copy({"Privileged": True}))
    dropping = engine_copy({"Privileged": True, "CapDrop": ["all"]})
    assert ["may have AUDIT_WRITE, CHOWN, DAC_OVERRIDE and 11 more"] == rights(
        "docker-defaults-v1", dropping
    )


def test_rights_of_a_pod() -> None:
    """A container's own security context outweighs its pod's."""
    pod = {"securityContext": {"runAsUser": 5, "seccompProfile": {"type": "RuntimeDefault"}}}
    own = {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False}
    assert [] == rights("docker-limits-v1", pod_copy({"securityContext": own}, pod))
    assert ["runs as uid 1000"] == rights("docker-limits-v1", pod_copy(pod=pod))
    not_root = pod_copy({"securityContext": {"runAsNonRoot": True}})
    assert ["runs as root"] == rights("docker-defaults-v1", not_root)


def test_missing_seccomp_filter() -> None:
    """A runtime that has no seccomp starts containers all the same."""
    profile = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    assert ["no seccomp filter"] == rights("pod-shared-processes-v1", pod_copy(profile))


def test_seccomp_profile_of_an_engine() -> None:
    """Only a profile that is named is missed: a daemon may have switched its own off."""
    named = engine_copy({"SecurityOpt": ["seccomp={}"]})
    assert ["no seccomp filter"] == rights("pod-shared-processes-v1", named)
    for options in (None, ["seccomp=unconfined"]):
        assert [] == rights("pod-shared-processes-v1", engine_copy({"SecurityOpt": options}))


def test_unknown_privileges_are_a_gap() -> None:
    """A kernel that does not tell says nothing for the declaration."""
    host = {"SecurityOpt": ["no-new-privileges"]}
    vitals = recorded("docker-limits-v1", engine_copy(host))
    silent = replace(vitals, main=replace(vitals.main, no_new_privileges=None))
    with pytest.raises(CannotLook, match="may gain privileges"):
        list(excesses(silent, declared_confinement(vitals.copy, LAB)))


def test_restarts_of_a_pod() -> None:
    """The count, and what the last one ended with."""
    ended = {"exitCode": 3, "reason": "Error", "finishedAt": "2026-11-23T15:00:00Z"}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"restartCount": 4, "lastState": {"terminated": ended}, "state": waiting}
    restarts = restarts_of(pod_copy(status=status))
    assert (4, True, "exit code 3 (Error)") == (
        restarts.count,
        restarts.is_looping,
        restarts.ending,
    )


def _lost(state: dict[str, Any]) -> Copy:
    """A container whose last end nobody saw, as its node was away."""
    ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": None}
    return pod_copy(status={"restartCount": 3, "lastState": {"terminated": ended}, "state": state})


def test_restart_that_nobody_saw() -> None:
    """It was at the start that followed; a container that is held back is looping, whenever."""
    running = restarts_of(_lost({"running": {"startedAt": "2026-11-23T15:00:00Z"}}))
    assert (3, 15, False) == (running.count, running.last.hour, running.is_looping)
    assert restarts_of(_lost({"waiting": {"reason": "CrashLoopBackOff"}})).is_looping
    with pytest.raises(CannotLook, match="restarted 3 times, and nobody knows when last"):
        restarts_of(_lost({"terminated": {}}))


def _forgotten(state: dict[str, Any]) -> Copy:
    """A container whose earlier ones were removed from its node: the kubelet knows their number."""
    return pod_copy(status={"restartCount": 40, "lastState": {}, "state": state})


def test_restarts_that_only_the_count_tells() -> None:
    """The last one was not after the present start, and what it ended with is not known."""
    running = restarts_of(_forgotten({"running": {"startedAt": "2026-11-23T15:00:00Z"}}))
    assert (40, 15, "", False) == (
        running.count,
        running.last.hour,
        running.ending,
        running.is_looping,
    )
    held = restarts_of(_forgotten({"waiting": {"reason": "CrashLoopBackOff"}}))
    assert (True, "restarted 40 times, held back for failing again and again") == (
        held.is_looping,
        str(held),
    )
    with pytest.raises(CannotLook, match="restarted 40 times, and nobody knows when last"):
        restarts_of(_forgotten({"waiting": {"reason": "ContainerCreating"}}))


@pytest.mark.parametrize("copy", [_lost({}), _forgotten({})])
def test_forgotten_end_may_have_been_a_kill(copy: Copy) -> None:
    """Of a restart that nobody knows the reason of, nobody can say that it was no kill."""
    with pytest.raises(CannotLook, match=r"restarted \d+ times, and nobody knows any more why"):
        require_known_end(copy)


def test_known_end_was_no_kill() -> None:
    """A container that never ended, or of whose end the kubelet knows, is no gap."""
    ended = {"terminated": {"exitCode": 1, "reason": "Error"}}
    require_known_end(pod_copy(status={"restartCount": 2, "lastState": ended}))
    require_known_end(pod_copy(status={"restartCount": 0, "lastState": {}}))


def test_restarts_of_a_task() -> None:
    """A Swarm replaces tasks instead of restarting them; the last failure counts."""
    failed = tuple(
        {"Status": {"Timestamp": f"2026-11-23T15:0{minute}:00.123456789Z", "Err": f"exit {minute}"}}
        for minute in (1, 3, 2)
    )
    restarts = restarts_of(task_copy({}, failed))
    assert (3, "exit 3", 3) == (restarts.count, restarts.ending, restarts.last.minute)


def test_never_restarted() -> None:
    """No restart is nothing to say."""
    assert (
        0
        == restarts_of(pod_copy(status={"restartCount": 0})).count
        == restarts_of(task_copy({})).count
    )

"""Limits and counts from cgroup files.

Version 1 and the hybrid are recorded from containers of an engine and a cluster; version 2, which
was not at hand, is written as the kernel's documentation says.
"""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside.cgroups import Cgroup
from tests.unit.inside_readings import recorded

MIB = 2**20
VERSION_2 = {
    "memory.max": ("67108864\n",),
    "memory.swap.max": ("0\n",),
    "memory.events": ("low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 1\n",),
    "cpu.max": ("50000 100000\n",),
    "cpu.stat": ("usage_usec 9\nnr_periods 400\nnr_throttled 100\nthrottled_usec 5\n",),
    "cpuset.cpus.effective": ("0-3,6\n",),
    "pids.max": ("100\n",),
}
UNLIMITED = {
    "memory.max": ("max\n",),
    "memory.swap.max": ("max\n",),
    "cpu.max": ("max 100000\n",),
    "pids.max": ("max\n",),
}


def limits(cgroup: Cgroup) -> tuple[object, ...]:
    """Memory, memory and swap, CPU, processes."""
    return cgroup.memory_limit, cgroup.swap_limit, cgroup.cpu_limit, cgroup.pids_limit


def test_limits_of_version_1() -> None:
    """Bytes, a quota per period and a number of processes are read as the engine set them."""
    assert (64 * MIB, 64 * MIB, 0.5, 100) == limits(recorded("docker-limits-v1").cgroup)


def test_no_limits_of_version_1() -> None:
    """The largest number of pages and a quota of -1 are no limit."""
    assert (None, None, None, None) == limits(recorded("docker-defaults-v1").cgroup)


def test_limits_of_version_2() -> None:
    """Swap has a limit of its own; Docker counts it together with memory."""
    assert (64 * MIB, 64 * MIB, 0.5, 100) == limits(Cgroup(VERSION_2))


def test_no_limits_of_version_2() -> None:
    """`max` is no limit."""
    assert (None, None, None, None) == limits(Cgroup(UNLIMITED))


def test_swap_beside_limited_memory() -> None:
    """What may be swapped comes on top of the memory limit."""
    files = {**VERSION_2, "memory.swap.max": ("33554432\n",)}
    assert 96 * MIB == Cgroup(files).swap_limit


def test_lowest_level_holds() -> None:
    """Where several levels are visible the kernel enforces each of them."""
    files = {
        **VERSION_2,
        "memory.max": ("max\n", "134217728\n"),
        "cpu.max": ("max 100000\n", "1 2"),
    }
    assert (128 * MIB, 0.5) == (Cgroup(files).memory_limit, Cgroup(files).cpu_limit)


def test_own_cgroup_in_whole_tree() -> None:
    """Where the host's whole tree is mounted, the limits are those of the container's own part."""
    assert 64 * MIB == recorded("docker-host-tree-v1").cgroup.memory_limit


def test_hybrid_has_controllers_in_both_trees() -> None:
    """What one tree does not count, the other one does."""
    cgroup = recorded("docker-hybrid").cgroup
    assert (64 * MIB, 0) == (cgroup.memory_limit, cgroup.periods)


def test_missing_controller_limits_nothing() -> None:
    """An engine without a controller can't enforce its limits: that is none, not a gap."""
    files = {"pids.max": ("max\n",)}
    assert (None, None, None, None) == limits(Cgroup(files))


def test_hidden_cgroup_is_a_gap() -> None:
    """Nothing readable is not the same as no limit."""
    with pytest.raises(CannotLook, match="not visible"):
        assert None is Cgroup({}).memory_limit


def test_counts() -> None:
    """Kills and throttled periods are counted by the kernel."""
    cgroup = Cgroup(VERSION_2)
    assert (2, 400, 100) == (cgroup.oom_kills, cgroup.periods, cgroup.throttled_periods)


def test_counts_of_version_1() -> None:
    """Version 1 keeps the count of kills beside its control of the OOM killer."""
    cgroup = recorded("docker-limits-v1").cgroup
    assert (0, 0) == (cgroup.oom_kills, cgroup.throttled_periods)


def test_counts_of_its_own_level() -> None:
    """What befell others shows in the levels above: a privileged container of a node sees them."""
    files = {
        "memory.events": ("oom_kill 0\n", "oom_kill 7\n"),
        "cpu.stat": ("nr_periods 5\nnr_throttled 1\n", "nr_periods 9\nnr_throttled 8\n"),
    }
    cgroup = Cgroup(files)
    assert (0, 5, 1) == (cgroup.oom_kills, cgroup.periods, cgroup.throttled_periods)


def test_count_that_the_other_version_keeps() -> None:
    """On a hybrid host version 2 has a file of the same name, without quotas."""
    cgroup = Cgroup({"cpu.stat": ("usage_usec 9\n", "nr_periods 5\nnr_throttled 1\n")})
    assert (5, 1) == (cgroup.periods, cgroup.throttled_periods)


def test_count_that_is_not_kept_is_a_gap() -> None:
    """Kernels before 4.13 do not count kills in version 1: that is no zero."""
    files = {"memory.oom_control": ("oom_kill_disable 0\nunder_oom 0\n",)}
    with pytest.raises(CannotLook, match="has no oom_kill"):
        assert 0 == Cgroup(files).oom_kills


def test_kernel_without_swap_limits() -> None:
    """Whether swap can be limited shows in the files that are there."""
    files = {"memory.limit_in_bytes": ("67108864\n",)}
    assert (False, True) == (Cgroup(files).counts_swap, Cgroup(VERSION_2).counts_swap)


def test_processors() -> None:
    """Ranges and single processors are counted."""
    assert (5, 2) == (Cgroup(VERSION_2).cpu_set, recorded("docker-limits-v1").cgroup.cpu_set)

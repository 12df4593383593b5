"""Which levels of a cgroup of version 2 the programs print, in a tree that is made of folders."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_containerpolicy.experiments.inside import Vitals, beside
from pytest_containerpolicy.experiments.inside.survey import parse_sections
from pytest_containerpolicy.experiments.inside.vitals import parse_vitals
from pytest_containerpolicy.targets.kubernetes_exec import Output
from tests.unit.inside_readings import engine_copy

LOOK = Path(beside.__file__).with_name("look.sh").read_text()
# Of the top of a node that is itself a container, and of a container below it.
LEVELS = {
    "": ("33554432", 7),
    "/kubelet/app": ("max", 0),
}
Look = Callable[[str, str], Vitals]


def _tree(folder: Path) -> Path:
    for place, (limit, kills) in LEVELS.items():
        level = folder / f"tree{place}"
        level.mkdir(parents=True)
        (level / "cgroup.events").write_text("populated 1\n")
        (level / "memory.max").write_text(f"{limit}\n")
        (level / "memory.events").write_text(f"oom 0\noom_kill {kills}\n")
    (folder / "status").write_text("Uid:\t0\t0\t0\t0\nCapBnd:\t0\n")
    (folder / "root").symlink_to("/")
    return folder


@pytest.fixture(params=["look.sh", "beside.py"])
def look(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Look:
    """What a program says of a container in a cgroup, where a part of the tree is mounted."""
    folder = _tree(tmp_path)

    def look(path: str, top: str) -> Vitals:
        (folder / "cgroup").write_text(f"0::{path}\n")
        mount = f"1 0 0:1 {top} {folder}/tree rw - cgroup2 cgroup2 rw\n"
        (folder / "mountinfo").write_text(mount)
        if request.param == "look.sh":
            text = _by_shell(folder)
        else:
            beside.look(folder)
            text = f"{capsys.readouterr().out}@@end\n"
        return parse_vitals(engine_copy(), parse_sections(Output(0, text, "")))

    return look


def _by_shell(folder: Path) -> str:
    source = LOOK.replace("/proc/self/cgroup", f"{folder}/cgroup")
    source = source.replace("/proc/self/mountinfo", f"{folder}/mountinfo")
    argv = ["sh", "-c", source, "sh", "own"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_levels_above_its_own_bound_but_do_not_count(look: Look) -> None:
    """A container that sees its node's tree is bound by all of it, and killed for its own only."""
    cgroup = look("/kubelet/app", "/").cgroup
    assert (32 * 2**20, 0) == (cgroup.memory_limit, cgroup.oom_kills)
    assert 1 == len(cgroup.files["memory.events"])


def test_top_of_what_it_sees_is_its_own(look: Look) -> None:
    """In a cgroup namespace of its own the top is its own level."""
    assert 7 == look("/", "/").cgroup.oom_kills


def test_tree_from_above_its_namespace(look: Look) -> None:
    """A mount of what is above its namespace's root is not its own: nothing in it is its count."""
    assert "memory.events" not in look("/", "/../..").cgroup.files

"""The programs that look for what was written and who may write, run in folders of this machine."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from pytest_containerpolicy.experiments.effective_writes import parse_listing
from pytest_containerpolicy.experiments.inside import beside
from pytest_containerpolicy.experiments.inside.survey import parse_sections
from pytest_containerpolicy.targets.kubernetes_exec import Output

WRITTEN = Path(beside.__file__).with_name("written.sh").read_text()
OLD = 1_000_000_000
# A `find` of a BusyBox before 1.36.
FIND = """#!/bin/sh
for word in "$@"; do [ "$word" != -cmin ] || exit 1; done
exec /usr/bin/find "$@"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What `/proc/PID/root` leads to: a new file, one of today with an old mtime, and a folder."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "new").write_text("new")
    (folder / "from an archive").write_text("old")
    os.utime(folder / "from an archive", (OLD, OLD))
    return folder


def _shell(root: Path, since: int, *path: Path) -> dict[str, int]:
    source = WRITTEN.replace("find / -xdev", f"find {root} -xdev")
    env = {"PATH": ":".join([*map(str, path), "/usr/bin", "/bin"])}
    argv = ["sh", "-c", source, "sh", "own", str(since)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    return _listed(Output(done.returncode, done.stdout, done.stderr), since)


def _listed(output: Output, since: int) -> dict[str, int]:
    listing = dict(parse_sections(output))["files"]
    return {file.path.rpartition("/")[2]: file.size for file in parse_listing(listing, since)}


def _python(root: Path, since: int, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    beside.written(root.parent, str(since))
    return _listed(Output(0, f"{capsys.readouterr().out}@@end\n", ""), since)


def test_files_of_an_archive_are_found(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was put there after the start counts, however old its own date is."""
    since = int(time.time()) - 60
    expected = {"new": 3, "from an archive": 3}
    assert expected == _shell(root, since)
    assert expected == _python(root, since, capsys)


def test_find_without_cmin(root: Path, tmp_path: Path) -> None:
    """An older `find` lists all, and what is older than the start is left out all the same."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "find").write_text(FIND)
    (programs / "find").chmod(0o755)
    now = int(time.time())
    assert {"new": 3, "from an archive": 3} == _shell(root, now - 60, programs)
    assert {} == _shell(root, now + 60, programs)


def test_image_unpacked_in_the_second_of_the_start(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Old files whose ctime is that second may be the image's: they are nobody's state."""
    since = int((root / "from an archive").stat().st_ctime)
    assert "from an archive" not in _shell(root, since)
    assert "from an archive" not in _python(root, since, capsys)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_who_may_write_is_asked_as_the_process_s_user(tmp_path: Path) -> None:
    """Root may write everywhere; a process that has become another user may not."""
    for name, owner in (("own", 1000), ("foreign", 0)):
        (tmp_path / "root" / name).mkdir(parents=True)
        os.chown(tmp_path / "root" / name, owner, owner)
    tmp_path.joinpath("status").write_text("Uid:\t0\t1000\t0\t0\nGid:\t0\t1000\t0\t0\nGroups:\t\n")
    # Nobody else may come in from above: only the open root leads there.
    tmp_path.chmod(0o700)
    source = f"{beside.__file__}"
    program = (
        f"import runpy, pathlib; names = runpy.run_path({source!r});"
        f" names['disk'](pathlib.Path({str(tmp_path)!r}), '/own', '/foreign')"
    )
    done = subprocess.run(["python3", "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert ["writable 1000", "unwritable 1000"] == [line for line in lines if "writable" in line]
    assert 2 == lines.count("Filesystem 1024-blocks Used Available Capacity Mounted on")

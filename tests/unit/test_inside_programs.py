"""The programs that look for what was written and who may write, run in folders of this machine."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.experiments.effective_writes import parse_closed, parse_listing
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
    return _listed(_shell_output(root, since, *path), since)


def _shell_output(root: Path, since: int, *path: Path, **options: Any) -> Output:
    mounts = root.parent / "mountinfo"
    source = WRITTEN.replace("find / -xdev", f"find {root} -xdev")
    source = source.replace("/proc/self/mountinfo", f"{mounts if mounts.exists() else '/dev/null'}")
    env = {"PATH": ":".join([*map(str, path), "/usr/bin", "/bin"])}
    argv = ["sh", "-c", source, "sh", "own", str(since)]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, **options)
    return Output(done.returncode, done.stdout, done.stderr)


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


def _mount(root: Path, place: str, top: str) -> None:
    """Say that something is mounted at a place of a root; `top` is where programs find that one."""
    line = f"2 1 0:2 / {top}{place} rw - ext4 /dev/sda rw\n"
    root.parent.joinpath("mountinfo").write_text(f"1 0 0:1 / / rw - ext4 /dev/sda rw\n{line}")


def test_mounts_of_the_same_device(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A volume may be of the root's own file system: it is not searched."""
    (root / "data").mkdir()
    (root / "data" / "table").write_text("kept")
    since = int(time.time()) - 60
    _mount(root, "/data", str(root))
    assert {"new", "from an archive"} == set(_shell(root, since))
    _mount(root, "/data", "")
    assert {"new", "from an archive"} == set(_python(root, since, capsys))


CLOSED = {"unlisted": 0o711, "unentered": 0o744, "both": 0o700}


@pytest.fixture
def closed() -> Iterator[Path]:
    """A root that others may enter, with folders of its owner that they may not look into."""
    # Not below pytest's own folder, which is closed itself.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        for name, mode in CLOSED.items():
            (root / name).mkdir(parents=True)
            (root / name / "state").write_text("state")
            (root / name).chmod(mode)
        Path(folder).chmod(0o755)
        yield root


def _names(text: str) -> list[str]:
    return sorted(place.rpartition("/")[2] for place in parse_closed(text))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_closed_folders_are_told(closed: Path) -> None:
    """What a user can't look into is not empty; folders that did not change are left out."""
    since = int(time.time()) - 60
    seen = dict(parse_sections(_shell_output(closed, since, user=65534, group=65534)))
    assert ("65534", sorted(CLOSED)) == (seen["user"], _names(seen["files"]))
    later = dict(parse_sections(_shell_output(closed, since + 3600, user=65534, group=65534)))
    assert [] == _names(later["files"])
    assert [] == _names(dict(parse_sections(_shell_output(closed, since)))["files"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_closed_folders_are_told_from_beside(closed: Path) -> None:
    """The same without a shell."""
    source = Path(beside.__file__).read_text()
    program = f"import pathlib; written(pathlib.Path({str(closed.parent)!r}), TIME)"
    since = int(time.time()) - 60
    for moment, expected in ((since, sorted(CLOSED)), (since + 3600, [])):
        code = source.replace("    main(*sys.argv[1:])", "    pass")
        argv = ["python3", "-c", f"{code}\n{program.replace('TIME', repr(str(moment)))}"]
        done = subprocess.run(argv, capture_output=True, text=True, user=65534, group=65534)
        seen = dict(parse_sections(Output(done.returncode, f"{done.stdout}@@end\n", done.stderr)))
        assert ("65534", expected) == (seen["user"], _names(seen["files"]))


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

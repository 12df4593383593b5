"""What programs inside containers print, taken apart."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.effective_mounts import Space, parse_space
from pytest_containerpolicy.experiments.effective_writes import File, is_ignored, parse_listing
from pytest_containerpolicy.experiments.inside.mounts import MountPoint, parse_mounts
from pytest_containerpolicy.experiments.inside.processes import parse_status
from pytest_containerpolicy.experiments.inside.survey import parse_sections
from pytest_containerpolicy.targets.kubernetes_exec import Output
from tests.unit.inside_readings import recorded

KIB = 1024
DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"


def test_sections_have_titles_and_lines() -> None:
    """A title leads from `@@` to the end of its line."""
    output = Output(0, "@@one\na\nb\n@@/two words\n@@end\n", "")
    assert [("one", "a\nb"), ("/two words", "")] == parse_sections(output)


@pytest.mark.parametrize("text", ["", "@@main\nName: x\n"])
def test_half_an_answer_is_a_gap(text: str) -> None:
    """What did not get to its end may lack just the line that counts."""
    with pytest.raises(CannotLook, match="sh: cat: not found"):
        parse_sections(Output(1, text, "sh: cat: not found\n"))


def test_first_process() -> None:
    """Its user, and what it may still gain."""
    vitals = recorded("docker-limits-v1")
    assert (1000, True, True) == (
        vitals.main.user,
        vitals.main.no_new_privileges,
        vitals.main.is_filtered,
    )


def test_first_process_in_shared_namespace() -> None:
    """Beside other containers' processes it is the oldest of the own cgroup: not the pause one."""
    text = "Name:\tpause"
    assert 0 == recorded("pod-shared-processes-v1").main.user
    assert text not in "".join(dict(_sections("pod-shared-processes-v1"))["main"])


def _sections(name: str) -> list[tuple[str, str]]:
    from tests.unit.inside_readings import RECORDED

    return parse_sections(Output(0, (RECORDED / f"{name}.txt").read_text(), ""))


def test_bounding_capabilities() -> None:
    """The default set of an engine has fourteen, a container that drops all has none."""
    default, dropped = recorded("docker-defaults-v1").main, recorded("docker-limits-v1").main
    assert 14 == len(default.bounding)
    assert {"CHOWN", "NET_RAW", "AUDIT_WRITE"} <= default.bounding
    assert frozenset() == dropped.bounding


def test_capability_without_a_name() -> None:
    """A capability of a kernel to come is one, too."""
    status = "Uid:\t0\t0\t0\t0\nCapBnd:\t8000000000000001\n"
    assert {"CHOWN", "capability 63"} == parse_status(status).bounding


def test_kernel_that_tells_less() -> None:
    """What a status lacks is not known."""
    process = parse_status("Uid:\t0\t5\t0\t0\nCapBnd:\t0\n")
    assert (5, None, None) == (process.user, process.no_new_privileges, process.is_filtered)


def test_no_status_is_a_gap() -> None:
    """Without a status nothing is said about rights."""
    with pytest.raises(CannotLook, match="status"):
        parse_status("")


def test_mounts_by_place() -> None:
    """Escaped blanks are blanks; read-only is what the mount or its file system says."""
    mounts = recorded("docker-limits-v1").mounts
    assert ("ext4", True) == (mounts["/my data"].file_system, mounts["/my data"].is_read_only)
    assert mounts["/"].is_read_only


def test_file_system_that_turned_read_only() -> None:
    """A file system remounted after an error is read-only below a mount that is not."""
    line = "36 35 98:0 / /data rw,noatime master:1 - ext4 /dev/sdb ro,errors=remount-ro\n"
    wanted = MountPoint(point="/data", file_system="ext4", is_read_only=True, source="/dev/sdb")
    assert {"/data": wanted} == parse_mounts(line)


def test_last_mount_hides_the_others() -> None:
    """Of two mounts at one place the later one is seen."""
    lines = "1 0 0:1 / /data rw - ext4 /dev/sda rw\n2 1 0:2 / /data ro,nosuid - tmpfs tmpfs rw\n"
    assert "tmpfs" == parse_mounts(lines)["/data"].file_system


def test_space_of_a_mount() -> None:
    """`df` counts in KiB."""
    text = f"/srv/data\nwritable 1000\n{DF}/dev/sdb 1000 600 400 60% /srv/data\n"
    wanted = Space(place="/srv/data", can_write=True, user=1000, total=1000 * KIB, free=400 * KIB)
    assert wanted == parse_space(text)


def test_space_without_df() -> None:
    """Where no `df` answers, the space is not known."""
    assert Space(place="/data", can_write=False) == parse_space("/data\nunwritable \n")


def test_listed_files() -> None:
    """Names may have blanks; older files and a line that was cut off are left out."""
    lines = "100 3 /state\n99 8 /etc/issue\n120 2000000 /var/lib/my app/db  x\n130 7"
    wanted = [File(path="/state", size=3), File(path="/var/lib/my app/db  x", size=2000000)]
    assert wanted == parse_listing(lines, 100)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/scratch", True),
        ("/scratch/a/b", True),
        ("/scratches/a", False),
        ("/var/lib/app/app.pid", True),
        ("/root/.cache/pip/x", True),
        ("/var/lib/app/data", False),
    ],
)
def test_ignored_places(path: str, expected: bool) -> None:
    """A folder stands for all below it, a pattern for whole paths."""
    assert expected is is_ignored(path, ("/scratch", "*.pid", "*/.cache/*"))

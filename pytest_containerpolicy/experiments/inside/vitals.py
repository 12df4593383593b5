"""What one look into a container tells: its limits and counts, its first process, its mounts."""

from collections import defaultdict

from msgspec import Struct

from pytest_containerpolicy.experiments.inside.cgroups import Cgroup
from pytest_containerpolicy.experiments.inside.copies import Copy
from pytest_containerpolicy.experiments.inside.mounts import MountPoint, parse_mounts
from pytest_containerpolicy.experiments.inside.processes import Process, parse_status
from pytest_containerpolicy.experiments.inside.survey import Sections, read
from pytest_containerpolicy.experiments.lab import Lab

_MEMINFO = "/proc/meminfo"


class Vitals(Struct, frozen=True, kw_only=True):
    """One copy seen from inside.

    `main` is its first process; `swap` is the host's, in bytes.
    """

    copy: Copy
    cgroup: Cgroup
    main: Process
    mounts: dict[str, MountPoint]
    swap: int


def look_into(copy: Copy, lab: Lab) -> Vitals:
    """What is in force in a copy. Raises `CannotLook`."""
    return parse_vitals(copy, read(copy, lab, "look", lambda _: ()))


def parse_vitals(copy: Copy, sections: Sections) -> Vitals:
    """What the sections that `look.sh` printed mean. Raises `CannotLook`."""
    texts = dict(sections)
    return Vitals(
        copy=copy,
        cgroup=Cgroup(_cgroup_files(sections)),
        main=parse_status(texts.get("main", "")),
        mounts=parse_mounts(texts.get("mounts", "")),
        swap=_swap(texts.get(_MEMINFO, "")),
    )


def _cgroup_files(sections: Sections) -> dict[str, tuple[str, ...]]:
    """The files by name; a file that is there and empty says nothing."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for title, text in sections:
        if title.startswith("/") and title != _MEMINFO and text.strip():
            files[title.rpartition("/")[2]].append(text)
    return {name: tuple(texts) for name, texts in files.items()}


def _swap(meminfo: str) -> int:
    fields = dict(line.split(":", 1) for line in meminfo.splitlines() if ":" in line)
    return int(fields.get("SwapTotal", "1 kB").split()[0]) * 1024

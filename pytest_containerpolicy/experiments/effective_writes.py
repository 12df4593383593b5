"""What a container has written beside its volumes: which is gone when the container is replaced."""

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.checks.registry import Bytes, Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, daemon_errors
from pytest_containerpolicy.experiments.inside import (
    FROM_INSIDE,
    Copy,
    Sections,
    Vitals,
    few,
    in_every_copy,
    keeps_running,
    look_into,
    read,
    read_as,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.quantities import human_bytes

_IGNORED = (
    *("/tmp", "/var/tmp", "/run", "/var/run", "/var/lock", "/var/cache", "/var/log"),  # noqa: S108
    # Entrypoints write configuration and accounts again at every start.
    *("/etc", "/dev", "/proc", "/sys", "/.dockerenv"),
    *("*.pid", "*.lock", "*.pyc", "*/.cache/*", "*/.*_history"),
)
# As many lines as `written.sh` prints at most, and as many files as an engine is asked about.
_MOST_LISTED, _MOST_ASKED = 2000, 200
# What `written.sh` prints in place of a size.
_CLOSED = "closed"
_DELETED = 2
_WHY = "they are in the container's own layer, and gone with it at the next update"
_NOTHING = Bytes(0)
# Every bit of Go's file mode that stands for something other than a plain file:
# https://pkg.go.dev/io/fs#FileMode
_SPECIAL = sum(1 << bit for bit in (31, 27, 26, 25, 24, 21, 19))


class File(Struct, frozen=True, kw_only=True):
    """A file in a container, its size in bytes."""

    path: str
    size: int


class Written(Struct, frozen=True):
    """What was written beside the volumes and ignored places; `is_whole` if nothing was left out.

    `closed` are folders that changed, and that `user`, who looked, may not look into.
    """

    files: tuple[File, ...]
    is_whole: bool = True
    closed: tuple[str, ...] = ()
    user: str = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


@experiment(
    "probe", f"lists what was written beside its volumes {FROM_INSIDE}", applies=keeps_running
)
def state_in_volumes(
    container: Container,
    lab: Lab,
    ignored: tuple[str, ...] = _IGNORED,
    more_than: Bytes = _NOTHING,
) -> Iterator[Violation]:
    """It writes to volumes and to `ignored` places, and no more than some bytes anywhere else.

    `ignored` are folders and patterns of whole paths.
    """

    def writes(copy: Copy) -> Iterator[Violation]:
        written = written_by(copy, lab, ignored)
        if written.closed and written.size <= more_than:
            written = _seen_by_main(written, copy, lab, ignored)
        if written.size > more_than:
            found = _summary(written)
            yield Violation(found=found, wanted="what is to be kept in a volume", why=_WHY)
        elif written.closed:
            raise CannotLook(f"what it has written in {few(written.closed)} may not be looked at")
        elif not written.is_whole:
            raise CannotLook("it has written too many files to look at all of them")

    yield from in_every_copy(container, lab, writes)


def written_by(copy: Copy, lab: Lab, ignored: Sequence[str] = ()) -> Written:
    """What a copy has written beside its volumes and ignored places. Raises `CannotLook`."""
    copy.require_running()
    if isinstance(lab, DockerLab):
        return _by_engine(copy, lab, ignored)
    return parse_written(read(copy, lab, "written", _since), look_into(copy, lab), ignored)


def _seen_by_main(written: Written, copy: Copy, lab: Lab, ignored: Sequence[str]) -> Written:
    """What its first process sees as well, if that has become another user than who looked.

    A root without the capabilities to override others' rights may look into its own folders only.
    """
    vitals = look_into(copy, lab)
    if written.user == str(vitals.main.user):
        return written
    sections = read_as(vitals.main, copy, lab, "written", _since)
    return together(written, parse_written(sections, vitals, ignored))


def together(one: Written, other: Written) -> Written:
    """What two users saw; only what is closed to both is closed."""
    folders = dict.fromkeys((*one.closed, *other.closed))
    return Written(
        tuple(dict.fromkeys((*one.files, *other.files))),
        one.is_whole and other.is_whole,
        tuple(f for f in folders if _is_in(f, one.closed) and _is_in(f, other.closed)),
        other.user,
    )


def _since(copy: Copy) -> Sequence[str]:
    return [str(_start(copy))]


def parse_written(sections: Sections, vitals: Vitals, ignored: Sequence[str] = ()) -> Written:
    """What the sections that `written.sh` printed say."""
    texts, since = dict(sections), _start(vitals.copy)
    # What is mounted may be of the root's own device, so that it was searched, too.
    mounts = [point for point in vitals.mounts if point != "/"]

    def counts(path: str) -> bool:
        return not _is_in(path, mounts) and not is_ignored(path, ignored)

    return Written(
        tuple(file for file in parse_listing(texts["files"], since) if counts(file.path)),
        "unfinished" not in texts and texts["files"].count("\n") < _MOST_LISTED - 1,
        # Whether a folder counts is whether files in it would.
        tuple(place for place in parse_closed(texts["files"]) if counts(f"{place}/")),
        texts.get("user", ""),
    )


def is_ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether a path is one of these, in one of these folders, or fits one of these patterns."""
    return _is_in(path, patterns) or any(fnmatchcase(path, pattern) for pattern in patterns)


def _is_in(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _summary(written: Written) -> str:
    largest = sorted(written.files, key=lambda file: -file.size)
    told = few([f"{file.path} ({human_bytes(file.size)})" for file in largest])
    return f"{human_bytes(written.size)} written beside the volumes: {told}"


def _start(copy: Copy) -> int:
    """When the container was started, in seconds since 1970: what its image brought is older."""
    started = copy.status["state"]["running"]["startedAt"]
    return int(datetime.fromisoformat(started).timestamp())


def parse_listing(text: str, since: int) -> list[File]:
    """The files that changed since then; the lines have time, size and path.

    A last line that was cut off is left out.
    """
    lines = [line.split(" ", 2) for line in text.splitlines()]
    return [
        File(path=words[2], size=int(words[1]))
        for words in lines
        if len(words) > 2 and words[1] != _CLOSED and int(words[0]) >= since
    ]


def parse_closed(text: str) -> list[str]:
    """The folders that changed since then, and could not be looked into."""
    lines = [line.split(" ", 2) for line in text.splitlines()]
    return [words[2] for words in lines if len(words) > 2 and words[1] == _CLOSED]


def _by_engine(copy: Copy, lab: DockerLab, ignored: Sequence[str]) -> Written:
    """The changes that the engine itself knows of.

    https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Container/operation/ContainerChanges
    """
    with daemon_errors(f"changes of {copy.name}"):
        changes = lab.client.api.diff(copy.id) or []
    paths = [change["Path"] for change in changes if change["Kind"] != _DELETED]
    leaves = [path for path in _leaves(copy, paths) if not is_ignored(path, ignored)]
    asked = [_stat(copy, lab, path) for path in leaves[:_MOST_ASKED]]
    return Written(tuple(filter(None, asked)), len(leaves) <= _MOST_ASKED)


def _leaves(copy: Copy, paths: Sequence[str]) -> list[str]:
    """Those of the paths that may be files: neither folders of others nor mounts."""
    folders = {path.rpartition("/")[0] for path in paths}
    mounts = {mount["Destination"] for mount in copy.document.get("Mounts") or ()}
    mounts |= set(copy.document["HostConfig"].get("Tmpfs") or ())
    return [path for path in paths if path not in folders | mounts]


def _stat(copy: Copy, lab: DockerLab, path: str) -> File | None:
    """A plain file, as the engine sees it; None for folders, links, and what is gone."""
    api: Any = lab.client.api
    with daemon_errors(f"{path} in {copy.name}"):
        url = f"{api.base_url}/v{api.api_version}/containers/{copy.id}/archive"
        header = api.head(url, params={"path": path}).headers.get("X-Docker-Container-Path-Stat")
    found = msgspec.json.decode(base64.b64decode(header)) if header else {"mode": _SPECIAL}
    return None if found["mode"] & _SPECIAL else File(path=path, size=found["size"])

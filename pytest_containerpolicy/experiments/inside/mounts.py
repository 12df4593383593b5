"""The mounts that a process sees, from `/proc/PID/mountinfo`.

https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
"""

import re
from collections.abc import Iterator

from msgspec import Struct

_ESCAPED = re.compile(r"\\([0-7]{3})")


class MountPoint(Struct, frozen=True, kw_only=True):
    """One mount. `is_read_only` where the mount is, or the whole file system behind it."""

    point: str
    file_system: str
    is_read_only: bool
    source: str = ""


def parse_mounts(text: str) -> dict[str, MountPoint]:
    """The mounts by where they are; of several at one place the last, as it hides the others."""
    return {mount.point: mount for mount in _mounts(text)}


def _mounts(text: str) -> Iterator[MountPoint]:
    for line in text.splitlines():
        place, separator, kind = line.partition(" - ")
        fields, details = place.split(), kind.split()
        if separator and len(fields) > 5 and len(details) > 2:
            options = {*fields[5].split(","), *details[2].split(",")}
            yield MountPoint(
                point=_plain(fields[4]),
                file_system=details[0],
                is_read_only="ro" in options,
                source=_plain(details[1]),
            )


def _plain(path: str) -> str:
    """A path without the kernel's octal escapes for blanks and backslashes."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), path)

"""The volumes that are declared, and what is really mounted there."""

from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.inside import (
    FROM_INSIDE,
    Copy,
    MountPoint,
    Sections,
    Vitals,
    in_every_copy,
    keeps_running,
    look_into,
    read,
    read_as,
)
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.container import Container, Mount
from pytest_containerpolicy.model.quantities import human_bytes

_IN_MEMORY = ("tmpfs", "ramfs")
_LASTING = ("claim", "external")
# Who may write to a directory of the host is the host's business, and often nobody should.
_OF_THE_HOST = ("bind", "hostPath")


class Space(Struct, frozen=True, kw_only=True):
    """A mount's place in a container: where it really is, and what can be done there.

    Bytes; `total` is None where no `df` tells. `can_write` goes for `user`.
    """

    place: str
    can_write: bool
    user: int | None = None
    total: int | None = None
    free: int = 0


def mounts_volumes(container: Container) -> bool:
    """Whether it keeps running and declares volumes that hold data."""
    return keeps_running(container) and bool(_declared(container))


@experiment("probe", f"reads its mounts and their space {FROM_INSIDE}", applies=mounts_volumes)
def mounts_in_force(
    container: Container, lab: Lab, least_free: float = 0.05
) -> Iterator[Violation]:
    """Every declared volume is mounted, as writable as declared, and has space left."""
    fullest: dict[str, tuple[float, str]] = {}

    def flaws(copy: Copy) -> Iterator[Violation]:
        vitals, spaces = look_into(copy, lab), spaces_in(copy, lab)
        for mount in _declared(container):
            space = spaces[mount.destination]
            found = vitals.mounts.get(space.place)
            yield from _mount_flaws(mount, found, copy)
            yield from _space_flaws(mount, space, least_free)
            if found and space.total:
                text = f"{found.file_system}, {_amount(space)}, {copy.name}"
                told = fullest.get(mount.destination, (1.0, text))
                fullest[mount.destination] = min(told, (space.free / space.total, text))
        yield from _right_flaws(vitals, spaces, lab)

    yield from in_every_copy(container, lab, flaws)
    for destination, (_, text) in fullest.items():
        lab.record(f"{container.workload.ref} {container.name} {destination}: {text}")


def spaces_in(copy: Copy, lab: Lab) -> dict[str, Space]:
    """The places of a copy's declared mounts, by where they are declared. Raises `CannotLook`."""
    return _parsed(read(copy, lab, "disk", _destinations))


def _parsed(sections: Sections) -> dict[str, Space]:
    return {destination: parse_space(text) for destination, text in sections}


def parse_space(text: str) -> Space:
    """What one section of `disk.sh` says; `df` is told to stay on one line.

    https://pubs.opengroup.org/onlinepubs/9799919799/utilities/df.html
    """
    place, access, *table = text.splitlines()
    can_write, _, user = access.partition(" ")
    total, free = None, 0
    if len(table) > 1:
        numbers = [int(word) * 1024 for word in table[1].split()[1:4] if word.isdecimal()]
        total, free = (numbers[0], numbers[2]) if len(numbers) == 3 else (None, 0)
    return Space(
        place=place,
        can_write=can_write == "writable",
        user=int(user) if user.isdecimal() else None,
        total=total,
        free=free,
    )


def _declared(container: Container) -> list[Mount]:
    return [mount for mount in container.mounts if mount.volume.lifetime != "config"]


def _destinations(copy: Copy) -> list[str] | None:
    return [mount.destination for mount in _declared(copy.container)] or None


def _mount_flaws(mount: Mount, found: MountPoint | None, copy: Copy) -> Iterator[Violation]:
    volume, place = mount.volume, mount.destination
    if found is None:
        yield Violation(
            found=f"nothing is mounted on {place}",
            wanted=f"{volume.kind} {volume.name}, as declared",
            path=volume.path,
            why="what is written there is in the container's own layer, and lost with it",
        )
        return
    if mount.read_only and not found.is_read_only:
        yield Violation(
            found=f"{place} can be written", wanted="read-only, as declared", path=volume.path
        )
    if found.file_system in _IN_MEMORY and volume.lifetime in _LASTING:
        yield Violation(
            found=f"{place} is in memory ({found.file_system})",
            wanted="storage that outlives the node's restart",
            path=volume.path,
        )
    if not mount.read_only and found.is_read_only and not _is_read_only_source(copy, mount):
        yield _unwritable(mount, "is mounted read-only")


def _right_flaws(vitals: Vitals, spaces: dict[str, Space], lab: Lab) -> Iterator[Violation]:
    """Volumes that its first process may not write. Raises `CannotLook` if that is not known.

    That one may have begun as root, as who a shell of the copy runs, and be another user by now.
    """
    user = vitals.main.user
    judged = [m for m in _declared(vitals.copy.container) if _is_judged(m, spaces, vitals)]
    if any(spaces[mount.destination].user != user for mount in judged):
        spaces = _parsed(read_as(vitals.main, vitals.copy, lab, "disk", _destinations))
    for mount in judged:
        space = spaces[mount.destination]
        if space.user != user:
            raise CannotLook(f"whether uid {user} may write {mount.destination} is not known")
        if not space.can_write:
            yield _unwritable(mount, f"may not be written by uid {user}")


def _is_judged(mount: Mount, spaces: dict[str, Space], vitals: Vitals) -> bool:
    found = vitals.mounts.get(spaces[mount.destination].place)
    is_writable = not mount.read_only and found is not None and not found.is_read_only
    return is_writable and mount.volume.kind not in _OF_THE_HOST


def _unwritable(mount: Mount, hindrance: str) -> Violation:
    return Violation(
        found=f"{mount.destination} {hindrance}",
        wanted="writable, as declared",
        path=mount.volume.path,
    )


def _is_read_only_source(copy: Copy, mount: Mount) -> bool:
    """Whether a pod asks for a volume read-only, however it mounts it."""
    volumes = copy.document.get("spec", {}).get("volumes") or ()
    sources = [one for one in volumes if one["name"] == mount.volume.name]
    return any(
        isinstance(source, dict) and source.get("readOnly")
        for volume in sources
        for source in volume.values()
    )


def _space_flaws(mount: Mount, space: Space, least_free: float) -> Iterator[Violation]:
    if mount.read_only:
        return
    if space.total is None:
        raise CannotLook(f"no df tells the space on {mount.destination}")
    if space.total and space.free < least_free * space.total:
        yield Violation(
            found=f"{mount.destination} has {_amount(space)}",
            wanted=f"at least {least_free:.0%} free",
            path=mount.volume.path,
        )


def _amount(space: Space) -> str:
    return f"{human_bytes(space.free)} of {human_bytes(space.total or 0)} free"

"""Where a workload writes, and what of it is meant to outlive its containers."""

from collections.abc import Iterator, Mapping
from posixpath import join, normpath, relpath

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.checks.host_paths import is_system, real_path
from pytest_containerpolicy.checks.storage_lifetime import (
    KEPT,
    bound_host_path,
    data_mount,
    may_hold_data,
    unkept_directories,
)
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.container import Container, Mount
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import Workload

_OWN = "the container's own file system"
_NO_VOLUME = Volume(name="", kind="", lifetime="container")


class Place(Struct, frozen=True, kw_only=True):
    """A directory of a container that can be written to.

    `on` says what it is on, in the platform's words. `expected`: what is written there is meant to
    be kept. `is_data`: a well-known image keeps its data there. `folder` is where it is inside its
    volume, `host_path` the host's directory behind it, where that is known. `declared_at` leads to
    the declaration. `is_file`: it turned out to be no directory, so that no marker can tell.
    """

    container: str
    path: str
    volume: Volume = _NO_VOLUME
    folder: str = ""
    host_path: str = ""
    expected: bool = False
    is_data: bool = False
    declared_at: str = ""
    is_file: bool = False

    @property
    def is_probed(self) -> bool:
        """Whether what becomes of it is both expected and to be seen."""
        return self.expected and not self.is_file

    @property
    def on_one_disk(self) -> bool:
        """Whether the same place is another one on every node."""
        return bool(self.host_path) or self.volume.lifetime == "node"

    @property
    def on(self) -> str:
        """What holds it: `emptyDir cache`, `an anonymous volume`, the container's file system."""
        if not self.volume.kind:
            return _OWN
        if self.volume.kind == "anonymous":
            return "an anonymous volume"
        # A tmpfs is named by its destination.
        name = self.volume.claim_name or self.volume.name
        return self.volume.kind if name in ("", self.path) else f"{self.volume.kind} {name}"

    def __str__(self) -> str:
        return f"{self.path} on {self.on}"


def places_of(workload: Workload, images: Mapping[str, str] | None = None) -> tuple[Place, ...]:
    """The directories that its containers write to, each volume once.

    Expected to be kept is what is on a claim, a named volume, a host or elsewhere, what an
    anonymous volume holds - somebody thought of it as data - and the data directory of a
    well-known image, wherever it is. `images`: more images, each with its data directory.
    """
    found: dict[tuple[Volume, str], Place] = {}
    data: list[Place] = []
    for container in workload.running_containers:
        for mount in filter(_is_written, container.mounts):
            found.setdefault((mount.volume, mount.sub_path), _of_mount(container, mount))
        data += _data_places(container, images)
    held = {(place.container, place.path) for place in data}
    mounted = [place for place in found.values() if (place.container, place.path) not in held]
    return (*mounted, *data)


def place_at(workload: Workload, path: str) -> Place:
    """A directory that is expected to be kept because whoever asks says so.

    It is looked for in the container that mounts something at or above it, else in the first.
    """
    path = normpath(path)
    containers = workload.running_containers
    holding = [container for container in containers if container.mount_of(path)]
    container = (holding or containers)[0]
    mount = container.mount_of(path)
    return _place(container, mount, path, expected=True, is_data=True)


def _is_written(mount: Mount) -> bool:
    volume = mount.volume
    host_path = real_path(volume.host_path)
    return (
        not mount.read_only
        and volume.lifetime != "config"
        and (not host_path or (may_hold_data(host_path) and not is_system(host_path)))
    )


def _of_mount(container: Container, mount: Mount) -> Place:
    kept = mount.volume.lifetime in KEPT or mount.volume.kind == "anonymous"
    return _place(container, mount, mount.destination, expected=kept)


def _place(
    container: Container, mount: Mount | None, path: str, *, expected: bool, is_data: bool = False
) -> Place:
    """A directory at a mount, below it, or on no volume at all."""
    place = Place(
        container=container.name,
        path=normpath(path),
        expected=expected,
        is_data=is_data,
        declared_at=field_path(container, "mounts"),
    )
    if mount is None:
        return place
    below = relpath(place.path, normpath(mount.destination))
    folder = normpath(join(mount.sub_path, below))
    host_path = _host_path(container.workload, mount.volume)
    return replace(
        place,
        volume=mount.volume,
        folder=folder,
        host_path=normpath(join(host_path, folder)) if host_path else "",
        declared_at=mount.volume.path,
    )


def _host_path(workload: Workload, volume: Volume) -> str:
    try:
        return volume.host_path or bound_host_path(workload, volume)
    except CannotLook:
        return ""


def _data_places(container: Container, images: Mapping[str, str] | None) -> Iterator[Place]:
    """Where a well-known image keeps its data, on nothing that lasts: mount or directory."""
    for directory in unkept_directories(container, images):
        mount = data_mount(container, directory)
        if mount is not None and _is_written(mount):
            yield _place(container, mount, mount.destination, expected=True, is_data=True)
        else:
            yield _place(container, None, directory.path, expected=True, is_data=True)

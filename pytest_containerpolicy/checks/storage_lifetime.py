"""Checks of what happens to data when its container is replaced or moves to another node."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from pytest_containerpolicy.checks.host_paths import is_under, real_path
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.checks.stateful_images import DataDirectory, data_directories
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.container import Container, Mount
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.volume import PersistentVolume, Volume
from pytest_containerpolicy.model.workload import Workload

KEPT = ("node", "claim", "external")
# What an agent needs of its node - devices, sockets, logs - is not data that it keeps there.
_NOT_DATA = ("/boot", "/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/usr", "/var/log")


def has_volumes(container: Container) -> bool:
    """Whether it mounts anything that may hold data, or its image may see to that."""
    data = (mount for mount in container.mounts if mount.volume.lifetime != "config")
    return any(data) or bool(container.image_gap)


@check(applies=has_volumes)
def no_anonymous_volumes(container: Container, allow: Sequence[str] = ()) -> Iterator[Violation]:
    """No volume lacks a name, except at the destinations that a glob of `allow` matches."""
    nameless = [
        mount
        for mount in container.mounts
        if mount.volume.kind == "anonymous"
        and not any(fnmatchcase(mount.destination, glob) for glob in allow)
    ]
    if not nameless and container.image_gap:
        raise CannotLook(container.image_gap)
    for mount in nameless:
        yield Violation(
            found=f"{mount.destination} is on an anonymous volume",
            wanted="a named volume or a bind mount",
            path=mount.volume.path,
            why=f"only this very container knows the volume: the next one starts with a new"
            f" {mount.destination}",
        )


def keeps_data(container: Container, images: Mapping[str, str] | None = None) -> bool:
    """Whether it runs for good an image that is known to keep data."""
    return (
        container.role in ("main", "sidecar")
        and not container.workload.runs_to_completion
        and bool(data_directories(container.image, images))
    )


@check(applies=keeps_data)
def data_outlives_container(
    container: Container, images: dict[str, str] | None = None
) -> Iterator[Violation]:
    """The data directory of a well-known image is on a volume that outlives the container.

    `images`: more images, each with its data directory.
    """
    directories = unkept_directories(container, images)
    if not directories:
        return
    directory = directories[0]
    unit = "pod" if container.workload.platform == "kubernetes" else "container"
    yield Violation(
        found=f"data directory {directory.path} is {_place(container, directory)}",
        wanted=f"a volume that outlives the {unit}, mounted at {directory.mount_point}",
        path=field_path(container, "mounts"),
        why=f"the next {unit} of {container.workload.name} starts with an empty {directory.path}",
    )


def unkept_directories(
    container: Container, images: Mapping[str, str] | None = None
) -> tuple[DataDirectory, ...]:
    """Where a well-known image keeps its data; none if one is on what outlives the container."""
    directories = data_directories(container.image, images)
    kept = any(_is_kept(container, directory) for directory in directories)
    return () if kept else directories


def _is_kept(container: Container, directory: DataDirectory) -> bool:
    mounts = [data_mount(container, directory)]
    if directory.or_below:
        mounts += [m for m in container.mounts if is_under(m.destination, (directory.path,))]
    return any(
        mount is not None and mount.volume.lifetime in KEPT and not mount.read_only
        for mount in mounts
    )


def data_mount(container: Container, directory: DataDirectory) -> Mount | None:
    """The mount that holds the directory, unless a volume of the image lies over it."""
    mount = container.mount_of(directory.path)
    if mount is None or _lists_image_volumes(container):
        return mount
    hidden = directory.image_volume and not is_under(mount.destination, (directory.image_volume,))
    return None if hidden else mount


def _lists_image_volumes(container: Container) -> bool:
    # What an engine tells of a running container includes the volumes that its image declares.
    platform = container.workload.platform
    return platform == "docker" or (platform == "compose" and container.model.is_live)


def _place(container: Container, directory: DataDirectory) -> str:
    mount = data_mount(container, directory)
    above = container.mount_of(directory.path)
    if mount is not None:
        name = (
            f"{mount.volume.kind} {mount.volume.name}" if mount.volume.name else mount.volume.kind
        )
        return f"on {name}{', read-only' if mount.volume.lifetime in KEPT else ''}"
    if above is not None:
        return (
            f"on an anonymous volume of the image, which hides {above.volume.kind}"
            f" {above.volume.name} at {above.destination}"
        )
    return "on no volume"


def may_move(workload: Workload) -> bool:
    """Whether it keeps data on volumes, and a controller starts it anew elsewhere."""
    return workload.controlled and any(v.lifetime in KEPT for v in workload.written_volumes)


@check(applies=may_move)
def data_follows_workload(
    workload: Workload, shared_paths: Sequence[str] = ()
) -> Iterator[Violation]:
    """What is written on a node is still there after the workload moved.

    A workload that runs once on every node keeps its node's own data. `shared_paths`: paths of
    the hosts that all nodes mount from one file server.
    """
    if workload.one_per_node:
        return
    for volume in workload.written_volumes:
        path = real_path(volume.host_path or bound_host_path(workload, volume))
        if _stays_behind(volume, path, shared_paths) and not workload.keeps_to_one_node:
            name = f"{volume.kind} {volume.name}"
            yield Violation(
                found=f"{name} is on the node{f' at {path}' if path else ''}, no node is chosen",
                wanted="a volume that every node can mount, or one node by name",
                path=volume.path,
                why=f"on another node {workload.name} starts with an empty {volume.name}",
            )


def _stays_behind(volume: Volume, path: str, shared_paths: Sequence[str]) -> bool:
    if volume.lifetime != "node" and not path:
        return False
    return may_hold_data(path) and not is_under(path, shared_paths)


def may_hold_data(host_path: str) -> bool:
    """Whether a workload may keep data there: not in a socket, not among the host's own files."""
    return (
        host_path != "/" and not host_path.endswith(".sock") and not is_under(host_path, _NOT_DATA)
    )


def bound_host_path(workload: Workload, volume: Volume) -> str:
    """The host's path behind a claim: a hostPath volume binds it to no node.

    Only a cluster knows what a claim is bound to. Raises `CannotLook`.
    """
    if not volume.claim_name or not workload.model.is_live:
        return ""
    bound: PersistentVolume | None = next(
        claim.persistent_volume for other, claim in workload.claims if other == volume
    )
    return bound.host_path if bound else ""

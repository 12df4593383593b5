"""Checks of what containers may do to their host's file systems: reach into them, fill them."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from pytest_containerpolicy.checks.host_paths import is_system, leads_to_runtime, real_path
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.container import Container, Mount
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import Workload


def mounts_host(container: Container) -> bool:
    """Whether it mounts a path of its host."""
    return any(_host_path(mount) for mount in container.mounts)


@check(applies=mounts_host)
def no_sensitive_host_paths(container: Container, allow: Sequence[str] = ()) -> Iterator[Violation]:
    """No container can command the container runtime or write to the host's system directories.

    `allow`: globs of the host's paths that may be mounted, for agents of the node.
    """
    for mount in container.mounts:
        path = _host_path(mount)
        if not path or any(fnmatchcase(path, glob) for glob in allow):
            continue
        if leads_to_runtime(path):
            yield Violation(
                found=f"host path {path} leads to the container runtime's socket",
                wanted="no access to the container runtime",
                path=mount.volume.path,
                why="who can write to the socket starts a privileged container and owns the host;"
                " mounting it read-only changes nothing",
            )
        elif is_system(path) and not mount.read_only:
            yield Violation(
                found=f"host path {path} is writable at {mount.destination}",
                wanted="a read-only mount, or a directory of its own",
                path=mount.volume.path,
                why=f"who breaks into {container.name} changes {path} of the host",
            )


def _host_path(mount: Mount) -> str:
    volume = mount.volume
    return real_path(volume.name if volume.kind == "npipe" else volume.host_path)


def has_scratch_space(workload: Workload) -> bool:
    """Whether its containers have emptyDirs or tmpfs mounts."""
    return any(volume.kind in ("emptyDir", "tmpfs") for volume in workload.volumes)


@check(applies=has_scratch_space)
def scratch_space_bounded(workload: Workload) -> Iterator[Violation]:
    """Scratch space has a size, or a limit of the containers that fill it holds for it.

    A pod's emptyDirs on disk count against the sum of its containers' ephemeral-storage limits,
    memory-backed ones and tmpfs against the memory limit of the container that writes.
    """
    for volume in dict.fromkeys(workload.volumes):
        if volume.kind not in ("emptyDir", "tmpfs") or volume.size_limit:
            continue
        users = [c for c in workload.containers if any(m.volume == volume for m in c.mounts)]
        unlimited = [c for c in users if c.memory_limit is None]
        if volume.in_memory and unlimited:
            unlimited[0].require_limit_ranges()
            yield _unbounded_memory(volume, [container.name for container in unlimited])
        if not volume.in_memory and not any(c.writable_layer_limit for c in workload.containers):
            workload.containers[0].require_limit_ranges()
            yield Violation(
                found=f"emptyDir {volume.name} without a sizeLimit, no container with an"
                " ephemeral-storage limit",
                wanted="a sizeLimit, or an ephemeral-storage limit",
                path=volume.path,
                why="it can fill the node's disk; the kubelet then evicts other pods too",
            )


def _unbounded_memory(volume: Volume, unlimited: Sequence[str]) -> Violation:
    kind = "tmpfs" if volume.kind == "tmpfs" else f"memory-backed {volume.kind}"
    return Violation(
        found=f"{kind} {volume.name} without a size, {' and '.join(unlimited)} without a memory"
        " limit",
        wanted="a size, or a memory limit",
        path=volume.path,
        why="every file in it takes memory, up to"
        f" {'half of' if kind == 'tmpfs' else 'all'} that the host has",
    )

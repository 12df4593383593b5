"""What Docker volumes have in common wherever they are declared: engine, Compose, Swarm."""

from pytest_containerpolicy.model.quantities import compose_bytes
from pytest_containerpolicy.model.volume import Lifetime, Volume

_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "glusterfs", "ceph", "9p")


def named_volume_lifetime(driver: str, file_system: str) -> Lifetime:
    """Where a named volume's data lives, by its driver and the `type` the local driver mounts.

    A local volume of type tmpfs is unmounted, and so emptied, when its last container stops.
    https://docs.docker.com/reference/cli/docker/volume/create/#opt
    """
    if driver not in ("", "local") or file_system in _NETWORK_FILE_SYSTEMS:
        return "external"
    return "container" if file_system == "tmpfs" else "node"


def bound_directory(file_system: str, device: str) -> str:
    """The host's directory that a local volume stands for (`type=none`, `o=bind`), or nothing."""
    return device if file_system in ("", "none") else ""


def tmpfs(destination: str, size: int | None, path: str) -> Volume:
    """A memory file system of one container; `size` in bytes, unlimited without."""
    return Volume(
        name=destination,
        kind="tmpfs",
        lifetime="container",
        path=path,
        in_memory=True,
        size_limit=size or None,
    )


def tmpfs_size(options: str) -> int | None:
    """The size in bytes among mount options such as `rw,size=64m`; a share of memory is None."""
    sizes = [option[5:] for option in options.split(",") if option.startswith("size=")]
    return compose_bytes(sizes[-1]) if sizes and not sizes[-1].endswith("%") else None

"""Paths of a host: what they are whichever way they are written, and which give the host away."""

from collections.abc import Iterable
from posixpath import basename, normpath

# The same directories by another name on every current distribution.
_ALIASES = {"/var/run": "/run", "/var/lock": "/run/lock"}
_SOCKETS = (
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/balena-engine.sock",
    "/run/buildkit/buildkitd.sock",
)
_SOCKET_NAMES = frozenset(map(basename, (*_SOCKETS, "/pipe/docker_engine")))
# With everything below them. `/dev` is not: what is below it are devices, one by one.
_SYSTEM_TREES = (
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
)


def real_path(path: str) -> str:
    """A host's path without detours: `/etc/../var/run/` is `/run`; empty stays empty."""
    if not path:
        return ""
    plain = "/" + normpath(path.replace("\\", "/")).lstrip("/")
    for alias, target in _ALIASES.items():
        if is_under(plain, (alias,)):
            return target + plain.removeprefix(alias)
    return plain


def is_under(path: str, directories: Iterable[str]) -> bool:
    """Whether a path is one of the directories or below one."""
    return any(
        path == directory.rstrip("/") or path.startswith(directory.rstrip("/") + "/")
        for directory in directories
    )


def leads_to_runtime(path: str) -> bool:
    """Whether a path is, or holds, the socket of a container runtime.

    A socket takes commands through a read-only mount too. The root directory is left to
    `is_system`: monitoring agents mount it read-only.
    """
    if path == "/":
        return False
    return basename(path) in _SOCKET_NAMES or any(is_under(socket, (path,)) for socket in _SOCKETS)


def is_system(path: str) -> bool:
    """Whether who writes there can take over the host: a system directory, or one above it."""
    return (
        path in ("/dev", "/run")
        or is_under(path, _SYSTEM_TREES)
        or any(is_under(tree, (path,)) for tree in _SYSTEM_TREES)
    )

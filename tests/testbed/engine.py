"""A dedicated Docker engine: its own daemon, network namespace, images and address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import docker
from docker.errors import DockerException

from tests.testbed.builds import cached, digest, folder_of
from tests.testbed.images import WORKLOADS, archive
from tests.testbed.layout import Site
from tests.testbed.lease import leased
from tests.testbed.network import isolated
from tests.testbed.processes import running, spawn
from tests.testbed.shell import TestbedError, in_namespace, wait_until, write_atomically
from tests.testbed.sweep import sweep
from tests.testbed.system import system_packages, unpack_packages

Version = Literal["current", "oldest"]
SITES: dict[Version, Site] = {"current": Site("engine"), "oldest": Site("engine-oldest")}
_DEBIAN = ["docker.io", "containerd", "runc", "tini", "libdevmapper1.02.1", "libsystemd0"]


@dataclass(frozen=True)
class Engine:
    """A running engine.

    It lives in a network namespace of its own: a published port answers at `address`, not at
    127.0.0.1.
    """

    name: str
    folder: Path
    namespace: str
    address: str

    @property
    def socket(self) -> Path:
        """The daemon's socket."""
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        """What goes into DOCKER_HOST."""
        return f"unix://{self.socket}"

    def client(self, timeout: int = 60) -> docker.DockerClient:
        """A new Docker SDK client; the caller closes it."""
        return docker.DockerClient(base_url=self.url, timeout=timeout)

    @cached_property
    def version(self) -> str:
        """The engine's version, such as 29.0.0."""
        return str(self._versions["Version"])

    @cached_property
    def api_version(self) -> str:
        """The newest API version that the engine speaks, such as 1.52."""
        return str(self._versions["ApiVersion"])

    @cached_property
    def _versions(self) -> dict[str, Any]:
        with closing(self.client()) as client:
            return dict(client.version())

    def inside(self, *argv: str | Path) -> list[str]:
        """The command line that runs a program where the engine's own 127.0.0.1 is."""
        return in_namespace(self.namespace, argv)

    def answers(self) -> bool:
        """Whether the daemon takes requests."""
        if not self.socket.exists():
            return False
        try:
            # Making a client already asks the daemon for its version.
            with closing(self.client(timeout=5)) as client:
                return bool(client.ping())
        except (DockerException, OSError):
            return False


@contextmanager
def docker_engine(version: Version = "current") -> Iterator[Engine]:
    """A dedicated engine with the test images, reused when it is up already."""
    site = SITES[version]
    engine = engine_at(site)
    with leased(site, engine_up(site), lambda: start_engine(site, version), lambda: sweep(site)):
        yield engine


def engine_at(site: Site) -> Engine:
    """The engine of a site, running or not."""
    return Engine(site.name, site.folder, site.label, site.address)


def engine_up(site: Site) -> Any:
    """The question whether the site's engine runs and answers."""
    return lambda: running(site, "dockerd") and engine_at(site).answers()


def start_engine(site: Site, version: Version) -> None:
    """Start the daemon in a fresh namespace and give it the images."""
    isolated(site)
    engine = engine_at(site)
    start_daemon(site, engine, version, site.subnet(0))
    load_images(engine, *WORKLOADS)


def start_daemon(
    site: Site,
    engine: Engine,
    version: Version,
    subnet: str,
    *flags: str,
    process: str = "dockerd",
) -> None:
    """Start one dockerd and wait until it answers; it starts a containerd of its own."""
    settings = {"deprecated-key-path": f"{engine.folder}/key.json"} if version == "oldest" else {}
    write_atomically(engine.folder / "daemon.json", json.dumps(settings))
    argv = [*_secluded(engine.name), "dockerd", *_flags(site, engine, subnet), *flags]
    spawn(site, process, in_namespace(engine.namespace, argv), _environment(version))
    wait_until(
        f"{engine.name} answers (see {site.logs}/{process}.log)",
        lambda: engine.answers() or not running(site, process),
        30,
        pause=0.05,
    )
    if not running(site, process):
        raise TestbedError(f"{engine.name} ended: see {site.logs}/{process}.log")


def load_images(engine: Engine, *names: str) -> None:
    """Import test images; no registry is ever asked."""
    with archive(*names).open("rb") as tar, closing(engine.client(timeout=300)) as client:
        client.images.load(tar)


def _flags(site: Site, engine: Engine, subnet: str) -> list[str]:
    third = subnet.rpartition(".")
    pool = f"{third[0]}.{int(third[2]) + 16}.0/20"
    return [
        f"--config-file={engine.folder}/daemon.json",
        f"--data-root={engine.folder}/data",
        f"--exec-root={engine.folder}/exec",
        f"--pidfile={engine.folder}/dockerd.pid",
        f"--host={engine.url}",
        "--group=root",
        f"--cgroup-parent=/{site.label}",
        f"--bip={subnet}.1/24",
        f"--default-address-pool=base={pool},size=26",
    ]


def _secluded(hostname: str) -> list[str]:
    """Give the daemon a host name and mounts of its own.

    The name is also its name in a Swarm. The mounts end with the last process that sees them,
    and the sockets that containerd puts into /run stay out of the machine's own.
    """
    script = 'mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && hostname "$0"'
    flags = ["--uts", "--mount", "--propagation", "slave"]
    return ["unshare", *flags, "sh", "-c", f'{script} && exec "$@"', hostname]


def _environment(version: Version) -> dict[str, str]:
    debian = _debian_engine() / "usr"
    system = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    if version == "oldest":
        libraries = ":".join(str(path) for path in debian.parent.glob("**/lib/*-linux-gnu"))
        return {"PATH": f"{debian}/sbin:{debian}/bin:{system}", "LD_LIBRARY_PATH": libraries}
    ours = [str(folder_of(module)) for module in ("moby", "containerd", "runc")]
    return {"PATH": ":".join([*ours, system, f"{debian}/bin"])}


def _debian_engine() -> Path:
    """Debian's engine, unpacked; also the source of `docker-init` for the current one."""
    system_packages()
    key = digest(*(name.encode() for name in _DEBIAN))
    return cached("debian-engine", key, lambda folder: unpack_packages(_DEBIAN, folder))

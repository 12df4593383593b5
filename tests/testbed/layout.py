"""Where one environment lives: its folder, names and addresses, all derived from its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.shell import TestbedError

ENVIRONMENTS = ("engine", "engine-oldest", "swarm", "kubernetes")
# Found once: pytester gives each of its tests another HOME, and an empty cache is half an hour.
_HOME = Path.home()
SHORT = {"engine": "engine", "engine-oldest": "oldest", "swarm": "swarm", "kubernetes": "kube"}


def state_root() -> Path:
    """The one folder that holds everything the running environments write."""
    named = os.environ.get("CONTAINERPOLICY_TESTBED")
    if named:
        return Path(named)
    suffix = f"-{instance()}" if instance() else ""
    return Path(f"/var/lib/containerpolicy-testbed{suffix}")


def cache_root() -> Path:
    """Built binaries and images: worth keeping between runs, safe to delete."""
    named = os.environ.get("CONTAINERPOLICY_CACHE")
    return Path(named) if named else _HOME / ".cache" / "containerpolicy-testbed"


def instance() -> int:
    """Which of ten testbeds on this machine; each has its own folder, names and addresses."""
    number = int(os.environ.get("CONTAINERPOLICY_TESTBED_INSTANCE", "0"))
    if not 0 <= number <= 9:
        raise TestbedError(f"CONTAINERPOLICY_TESTBED_INSTANCE is {number}; wanted 0 to 9")
    return number


@dataclass(frozen=True)
class Site:
    """One environment's place on the machine; nothing outside it is ever written or stopped."""

    name: str

    @property
    def folder(self) -> Path:
        """Everything the environment keeps on disk."""
        return state_root() / self.name

    @property
    def logs(self) -> Path:
        """What its daemons said; kept after a stop, because that is when one reads it."""
        return self.folder / "log"

    @property
    def label(self) -> str:
        """Prefix of its network namespaces, interfaces and cgroups."""
        return f"cpt{instance()}-{SHORT[self.name]}"

    @property
    def host_address(self) -> str:
        """The machine's own address on the link into the environment."""
        return f"10.{200 + instance()}.{ENVIRONMENTS.index(self.name)}.1"

    @property
    def address(self) -> str:
        """Where the machine reaches the environment: its published ports, its API server."""
        return self.uplink(2)

    def uplink(self, host: int) -> str:
        """An address on the link between the machine and the environment."""
        return f"10.{200 + instance()}.{ENVIRONMENTS.index(self.name)}.{host}"

    def subnet(self, number: int) -> str:
        """The first three octets of one of the 32 /24 networks that are the environment's own."""
        return f"10.{200 + instance()}.{32 * (ENVIRONMENTS.index(self.name) + 1) + number}"

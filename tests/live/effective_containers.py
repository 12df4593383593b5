"""Containers of an engine that experiments look into."""

from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any

from tests.live.effective_pods import SERVER
from tests.live.experiment_verdicts import Verdict, verdict
from tests.testbed import Engine

MIB = 2**20
LIMITS: dict[str, Any] = {
    "mem_limit": 64 * MIB,
    "memswap_limit": 64 * MIB,
    "nano_cpus": 500_000_000,
    "pids_limit": 50,
}
CONFINED: dict[str, Any] = {
    "user": "1000",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
EXPERIMENTS = (
    "limits_in_force",
    "no_oom_kills",
    "not_throttled",
    "no_crash_loop",
    "runs_as_declared",
    "state_in_volumes",
)


class Host:
    """An engine with containers of one module, which are removed at its end."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """Nothing runs yet."""
        self.engine = engine
        self.folder = folder
        self.prefix = f"effective-{uuid.uuid4().hex[:6]}"
        self.client = engine.client()
        self._count = itertools.count()

    def run(self, name: str, image: str = SERVER, *command: str, **options: Any) -> str:
        """Start a container; its whole name, which is another one at a second try."""
        whole = f"{self.prefix}-{name}-{next(self._count)}"
        self.client.containers.run(image, list(command) or None, detach=True, name=whole, **options)
        return whole

    def ask(self, experiment: str, name: str, **params: Any) -> Verdict:
        """Judge one container, and look at no other one's inside."""
        uri = f"engine+{self.engine.url}?workload={name}"
        return verdict(experiment, uri, name, self.folder, level="probe", **params)

    def remove(self) -> None:
        """Take everything away."""
        for container in self.client.containers.list(all=True, filters={"name": self.prefix}):
            container.remove(force=True, v=True)
        for volume in self.client.volumes.list(filters={"name": self.prefix}):
            volume.remove()
        self.client.close()


def lift_memory_limit(process: int) -> None:
    """Take the memory limit away behind the engine's back, in either version of cgroups."""
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        old = Path(f"/sys/fs/cgroup/memory{path}")
        for name in ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes"):
            if controllers == "memory" and (old / name).exists():
                (old / name).write_text("-1")
        new = Path(f"/sys/fs/cgroup{path}/memory.max")
        if not controllers and new.exists():
            new.write_text("max")

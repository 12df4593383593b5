"""Stop one of the testbed's Docker daemons and start it again as it was, its containers unharmed.

A daemon sits in mount, host name and network namespaces of its own. What its containers live in is
only there, so the next daemon has to enter the same ones.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.testbed.engine import Engine
from tests.testbed.layout import Site
from tests.testbed.processes import alive, spawn
from tests.testbed.shell import wait_until


class Daemon:
    """The dockerd of an engine; `process` is its name in the testbed."""

    def __init__(self, site: Site, engine: Engine, process: str) -> None:
        self._site, self._engine, self._process = site, engine, process
        self._keeper: subprocess.Popen[bytes] | None = None
        self._argv: list[str] = []
        self._environment: dict[str, str] = {}

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; its namespaces stay."""
        pid = int((self._engine.folder / "dockerd.pid").read_text())
        process = Path("/proc") / str(pid)
        self._argv = _words(process / "cmdline")
        self._environment = dict(word.split("=", 1) for word in _words(process / "environ"))
        keeper = subprocess.Popen([*_inside(pid), "sleep", "600"])
        # Before it is `sleep`, it is still on its way in.
        wait_until("the namespaces are kept", lambda: _name(keeper.pid) == "sleep", 30)
        self._keeper = keeper
        os.kill(pid, how)
        wait_until(f"{self._engine.name} ends", lambda: not alive(pid), 60)

    def start(self) -> None:
        """Start it again with the same arguments, where it was."""
        assert self._keeper is not None, "it was not stopped"
        argv = [*_inside(self._keeper.pid), *self._argv]
        (self._engine.folder / "dockerd.pid").unlink(missing_ok=True)
        spawn(self._site, self._process, argv, self._environment)
        wait_until(f"{self._engine.name} answers", self._engine.answers, 60)
        self._keeper.kill()
        self._keeper.wait()

    def restart(self) -> None:
        """End it as an upgrade does, and start it again."""
        self.stop()
        self.start()


def _inside(pid: int) -> list[str]:
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--"]


def _words(file: Path) -> list[str]:
    return [word for word in file.read_bytes().decode().split("\0") if word]


def _name(pid: int) -> str:
    return (Path("/proc") / str(pid) / "comm").read_text().strip()

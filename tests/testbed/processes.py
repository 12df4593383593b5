"""Start daemons that outlive this process, and end exactly those that the testbed started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.testbed.layout import Site
from tests.testbed.shell import wait_until

# Not kubectl and the like: a person may run those on the environment's files.
DAEMONS = {
    "dockerd",
    "docker-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "local-path-provisioner",
    "kwok",
}


def spawn(
    site: Site, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None
) -> int:
    """Start a daemon in its own session, its output in a log file, its number in a pidfile."""
    site.logs.mkdir(parents=True, exist_ok=True)
    with (site.logs / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    _pidfile(site, name).parent.mkdir(parents=True, exist_ok=True)
    _pidfile(site, name).write_text(str(child.pid))
    child.returncode = 0  # the daemon is meant to stay: no warning when this handle is collected
    return child.pid


def running(site: Site, name: str) -> bool:
    """Whether the daemon of that name, and not a stranger with its old number, is alive."""
    return bool(_recorded(site, name))


def stop(site: Site, name: str) -> None:
    """End one daemon at once; what it held is cleaned by the environment's own sweep."""
    pid = _recorded(site, name)
    if pid:
        _end({pid})
    _pidfile(site, name).unlink(missing_ok=True)


def sweep_processes(site: Site) -> None:
    """End everything of the environment that still runs, whoever started it and when.

    Ours are: the pidfiles' processes, daemons that name the environment's
    folder or sit in its network namespaces, and members of its cgroups.
    """
    wait_until(f"{site.name}: its processes end", lambda: not _end(_owned(site)), 30)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected does not."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _owned(site: Site) -> set[int]:
    recorded = {_recorded(site, file.stem) for file in _pidfile(site, "x").parent.glob("*.pid")}
    return (recorded | set(_programs_at(site)) | set(_in_cgroups(site))) - {0}


def _recorded(site: Site, name: str) -> int:
    with suppress(OSError, ValueError):
        pid = int(_pidfile(site, name).read_text())
        if alive(pid) and _names_folder(site, pid):
            return pid
    return 0


def _programs_at(site: Site) -> Iterator[int]:
    namespaces = _namespace_ids(site)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "exe").readlink().name.removesuffix(" (deleted)") not in DAEMONS:
                continue
            pid = int(entry.name)
            if _names_folder(site, pid) or (entry / "ns/net").stat().st_ino in namespaces:
                yield pid


def _namespace_ids(site: Site) -> set[int]:
    return {path.stat().st_ino for path in Path("/run/netns").glob(f"{site.label}*")}


def _in_cgroups(site: Site) -> Iterator[int]:
    for folder in cgroups(site):
        for procs in [folder / "cgroup.procs", *folder.rglob("cgroup.procs")]:
            with suppress(OSError):
                yield from (int(line) for line in procs.read_text().split())


def cgroups(site: Site) -> list[Path]:
    """The environment's top cgroup folders, in every hierarchy of version 1 or in version 2."""
    root = Path("/sys/fs/cgroup")
    return [*root.glob(f"{site.label}*"), *root.glob(f"*/{site.label}*")]


def _names_folder(site: Site, pid: int) -> bool:
    with suppress(OSError):
        return f"{site.folder}/".encode() in _command_line(pid)
    return False


def _command_line(pid: int) -> bytes:
    """The process's arguments; for a moment, while it becomes another program, it has none."""
    for _ in range(50):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if line or not alive(pid):
            return line
        time.sleep(0.002)
    return b""


def _end(pids: set[int]) -> set[int]:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return {pid for pid in pids if alive(pid)}


def _pidfile(site: Site, name: str) -> Path:
    return site.folder / "pid" / f"{name}.pid"

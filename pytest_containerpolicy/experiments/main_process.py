"""Runs beside a container: kills its main process with SIGKILL, as a crash or the OOM killer does.

The first process of a PID namespace ignores signals from within, SIGKILL too (pid_namespaces(7)).
One sent by the kernel it can't ignore: PTRACE_O_EXITKILL has it sent when the tracer ends
(ptrace(2)). So it takes no right beyond the container's own processes: CAP_SYS_PTRACE, or the same
user where the host's kernel.yama.ptrace_scope is 0. Needs Python 3.8 with ctypes, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

SEIZE, EXITKILL = 0x4206, 1 << 20
START_TIME = 19  # in /proc/PID/stat, counted after the name


def main_process(container: str) -> int | None:
    """The eldest process of a container, whose id its cgroup has in its name."""
    folders = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [(started(folder), int(folder.name)) for folder in folders if held(folder, container)]
    return min(found)[1] if found else None


def held(folder: Path, container: str) -> bool:
    """Whether a process is one of a container."""
    try:
        return container in (folder / "cgroup").read_text()
    except OSError:
        return False  # it ended meanwhile


def started(folder: Path) -> int:
    """When a process started, in ticks since the host did."""
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[START_TIME])
    except OSError:
        return sys.maxsize


def main() -> None:
    """Kill it on the way out. Says why on standard error if that can't be."""
    pid = main_process(sys.argv[1])
    if pid is None:
        sys.exit("no process of the container can be seen from beside it")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(SEIZE, pid, None, EXITKILL):
        reason = os.strerror(ctypes.get_errno())
        needs = "needs CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0 on the host"
        sys.exit(f"ptrace of process {pid}: {reason}: {needs}")


if __name__ == "__main__":
    main()

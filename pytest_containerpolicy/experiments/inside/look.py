"""Prints what `look.sh` prints, of a container that has no shell, from a process beside it.

    python3 -c SOURCE CONTAINER_ID own|shared

`shared`: process 1 may be another container's. Standard library only, Python 3.8 or later.
"""

import sys
from pathlib import Path
from typing import Iterable, List

VERSION_1 = (
    "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.oom_control"
    " cpu.cfs_quota_us cpu.cfs_period_us cpu.stat cpuset.effective_cpus pids.max"
)
VERSION_2 = (
    "memory.max memory.swap.max memory.events cpu.max cpu.stat cpuset.cpus.effective pids.max"
)


def main(container: str, mode: str) -> None:
    """All sections."""
    process = first_process(container, mode == "shared")
    root = process / "root"
    try:
        list(root.iterdir())
    except OSError as error:
        sys.exit(f"{root}: {error.strerror}: needs the same user, or CAP_SYS_PTRACE")
    show("main", process / "status")
    show("caller", Path("/proc/self/status"))
    show("mounts", process / "mountinfo")
    show("/proc/meminfo", Path("/proc/meminfo"))
    show_cgroup(process, root)
    sys.stdout.write("@@end\n")


def first_process(container: str, shared: bool) -> Path:
    """The container's first process: in a shared process namespace the oldest one of its cgroup."""
    if not shared:
        return Path("/proc/1")
    numbers = (path.name for path in Path("/proc").iterdir() if path.name.isdigit())
    for number in sorted(numbers, key=int):
        process = Path("/proc", number)
        if any(container in line for line in lines(process / "cgroup")):
            return process
    sys.exit("none of the processes in sight is its own")


def show_cgroup(process: Path, root: Path) -> None:
    """The cgroup's files, wherever they are mounted."""
    paths = {line.split(":", 2)[2] for line in lines(process / "cgroup")} - {"/"}
    for line in lines(process / "mountinfo"):
        mount, _, kind = line.partition(" - ")
        top, point = mount.split()[3:5]
        # Where the host's whole tree is mounted, its own is some levels further down.
        below = sorted(f"{point}{path}" for path in paths if top == "/")
        own = [folder for folder in below if Path(f"{root}{folder}").is_dir()][:1]
        if kind.startswith("cgroup2 "):
            # The root of all has some of these files, but no limits: it is nobody's own.
            is_own = Path(f"{root}{point}/cgroup.events").exists()
            show_all(root, [*own, point] if is_own else own, VERSION_2)
        elif kind.startswith("cgroup "):
            show_all(root, own or [point], VERSION_1)


def show_all(root: Path, folders: Iterable[str], names: str) -> None:
    """Every file of these names in every folder."""
    for folder in folders:
        for name in names.split():
            show(f"{folder}/{name}", Path(f"{root}{folder}/{name}"))


def show(title: str, file: Path) -> None:
    """One section, if its file can be read."""
    if found := lines(file):
        sys.stdout.write("\n".join([f"@@{title}", *found, ""]))


def lines(file: Path) -> List[str]:
    """A file's lines; none if it can't be read."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Prints what the shell scripts print, of a container without a shell, from a process beside it.

    python3 -c SOURCE look|disk|written CONTAINER_ID own|shared ARGUMENT...

`shared`: process 1 may be another container's. Standard library only, Python 3.8 or later.
"""

import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Set, Tuple

VERSION_1 = (
    "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.oom_control"
    " cpu.cfs_quota_us cpu.cfs_period_us cpu.stat cpuset.effective_cpus pids.max"
)
LIMITS_2 = "memory.max memory.swap.max cpu.max cpuset.cpus.effective pids.max"
COUNTS_2 = "memory.events cpu.stat"
MOST_FILES = 2000
SECONDS = 20.0


def main(program: str, container: str, mode: str, *arguments: str) -> None:
    """All sections of one program."""
    process = first_process(container, mode == "shared")
    try:
        list((process / "root").iterdir())
    except OSError as error:
        sys.exit(f"{process}/root: {error.strerror}: needs the same user, or CAP_SYS_PTRACE")
    programs: Dict[str, Callable[..., None]] = {"look": look, "disk": disk, "written": written}
    programs[program](process, *arguments)
    write("@@end")


def first_process(container: str, shared: bool) -> Path:
    """The container's first process: in a shared process namespace the oldest one of its cgroup."""
    if not shared:
        return Path("/proc/1")
    numbers = (path.name for path in Path("/proc").iterdir() if path.name.isdigit())
    for number in sorted(numbers, key=int):
        process = Path("/proc", number)
        # A process that has ended, but is not reaped, has no command any more.
        is_own = any(container in line for line in lines(process / "cgroup"))
        if is_own and lines(process / "cmdline"):
            return process
    sys.exit("none of the processes in sight is its own")


def look(process: Path) -> None:
    """What `look.sh` prints."""
    show("main", process / "status")
    show("mounts", process / "mountinfo")
    show("/proc/meminfo", Path("/proc/meminfo"))
    root, paths = process / "root", cgroup_paths(process)
    for line in lines(process / "mountinfo"):
        mount, _, kind = line.partition(" - ")
        top, point = mount.split()[3:5]
        # Where the host's whole tree is mounted, its own is some levels further down.
        below = [f"{point}{path}" for path in paths if top == "/"]
        own = [folder for folder in below if Path(f"{root}{folder}").is_dir()][:1]
        if kind.startswith("cgroup2 "):
            # The root of all has some of these files, but no limits: it is nobody's own.
            levels = [point] if Path(f"{root}{point}/cgroup.events").exists() else []
            show_all(root, [*own, *levels], LIMITS_2)
            # What a level above its own has counted has befallen others, too.
            counting = own or ([] if top.startswith("/..") else levels)
            show_all(root, counting, COUNTS_2)
        elif kind.startswith("cgroup "):
            show_all(root, own or [point], VERSION_1)


def cgroup_paths(process: Path) -> List[str]:
    """Where in the trees of cgroups a process is, if not at the top of what it sees."""
    return sorted({line.split(":", 2)[2] for line in lines(process / "cgroup")} - {"/"})


def show_all(root: Path, folders: Iterable[str], names: str) -> None:
    """Every file of these names in every folder."""
    for folder in folders:
        for name in names.split():
            show(f"{folder}/{name}", Path(f"{root}{folder}/{name}"))


def disk(process: Path, *paths: str) -> None:
    """What `disk.sh` prints."""
    root = process / "root"
    # Who has become another user may not come in by /proc/PID/root any more.
    top = os.open(root, os.O_PATH | os.O_DIRECTORY)
    places = {path: resolved(root, path) for path in paths}
    become_user_of(process)
    for path, real in places.items():
        place = real.lstrip("/") or "."
        access = "writable" if os.access(place, os.W_OK, dir_fd=top) else "unwritable"
        write(f"@@{path}", real, f"{access} {os.geteuid()}")
        try:
            found = os.fstatvfs(os.open(place, os.O_PATH, dir_fd=top))
        except OSError:
            continue
        total, free = (count * found.f_frsize // 1024 for count in (found.f_blocks, found.f_bavail))
        write("Filesystem 1024-blocks Used Available Capacity Mounted on")
        write(f"- {total} {total - free} {free} - {real}")


def become_user_of(process: Path) -> None:
    """Go on as a process's user, if we may: what it may write is what counts."""
    fields = dict(line.split(":", 1) for line in lines(process / "status"))
    user, group = (int(fields[name].split()[1]) for name in ("Uid", "Gid"))
    if user != os.geteuid():
        try:
            os.setgroups([int(word) for word in fields.get("Groups", "").split()])
            os.setgid(group)
            os.setuid(user)
        except OSError:
            pass


def resolved(root: Path, path: str) -> str:
    """A path without symbolic links, as a process with that root would resolve it."""
    real = ""
    for step in filter(None, path.split("/")):
        place = os.path.normpath(f"{real}/{step}")
        try:
            target = os.readlink(f"{root}{place}")
        except OSError:
            real = place.rstrip("/")
        else:
            real = resolved(root, target if target.startswith("/") else f"{real}/{target}")
    return real or "/"


def written(process: Path, since: str) -> None:
    """What `written.sh` prints."""
    root = process / "root"
    write("@@user", f"{os.geteuid()}", "@@files")
    deadline, count = time.monotonic() + SECONDS, 0
    for place, found in files(root, mount_points(process)):
        line = told(place, found, int(since))
        if line:
            count += 1
            write(line)
        if count >= MOST_FILES or time.monotonic() > deadline:
            write("@@unfinished")
            return


def told(place: str, found: os.stat_result, since: int) -> str:
    """The line of a file that changed, or of a closed folder that did; empty for others."""
    if stat.S_ISDIR(found.st_mode):
        changed = int(found.st_ctime)
        return f"{changed} closed {place}" if changed >= since else ""
    moment = changed_at(found, since)
    return f"{moment} {found.st_size} {place}" if moment else ""


def changed_at(found: os.stat_result, since: int) -> int:
    """When a file changed, 0 if that was before.

    What an archive or a copy brings keeps its old mtime, but not its ctime. In the second of the
    start that may be the runtime's own doing: it may have unpacked the image just before.
    """
    modified, changed = int(found.st_mtime), int(found.st_ctime)
    if modified >= since:
        return modified
    return changed if changed > since else 0


def files(root: Path, mounts: Set[str]) -> Iterator[Tuple[str, os.stat_result]]:
    """The files of the root file system, then its folders that may not be looked into."""
    device, closed = root.stat().st_dev, []  # type: int, List[str]
    for folder, folders, names in os.walk(root, onerror=lambda e: closed.append(e.filename)):
        if not os.access(folder, os.X_OK):
            closed.append(folder)
        place = folder[len(str(root)) :]
        # What is mounted may be of the same device.
        folders[:] = [
            name
            for name in folders
            if f"{place}/{name}" not in mounts and status(folder, name).st_dev == device
        ]
        for name in names:
            found = status(folder, name)
            if stat.S_ISREG(found.st_mode) and found.st_dev == device:
                yield f"{place}/{name}", found
    for folder in closed:
        yield folder[len(str(root)) :], status(*os.path.split(folder))


def mount_points(process: Path) -> Set[str]:
    """Where something is mounted, as a process names it."""
    points = (line.split()[4] for line in lines(process / "mountinfo"))
    return {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point) for point in points}


def status(folder: str, name: str) -> os.stat_result:
    """What is there; nothing at all if it is gone meanwhile."""
    try:
        return Path(folder, name).lstat()
    except OSError:
        return os.stat_result([0] * 10)


def show(title: str, file: Path) -> None:
    """One section, if its file can be read."""
    if found := lines(file):
        write(f"@@{title}", *found)


def lines(file: Path) -> List[str]:
    """A file's lines; none if it can't be read."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def write(*texts: str) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{text}\n" for text in texts))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Markers: small files of random content, written, read back and removed by what a container has.

A shell of the container's own is enough: its builtin commands write and read. Where there is none,
a Python beside it does the same through /proc/1/root.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.targets.kubernetes_exec import NOT_FOUND_CODE, Output

Language = Literal["sh", "python"]
Operation = Literal["write", "read", "remove"]
Run = Callable[[Sequence[str]], Output]
_LINES = 64
_SEED_BYTES = 32
SIZE = _LINES * (2 * _SEED_BYTES + len("1000\n"))
_NO_DIRECTORY = 3
_MISSING = 4
# dd syncs this one file; not every shell's system has it.
_SHELL = """\
case $1 in
write)
  [ -d "$2" ] || exit 3
  set -C
  i=1000
  while [ $i -lt 1064 ]; do echo "$4$i"; i=$((i + 1)); done >"$2/$3" || exit 1
  dd of="$2/$3" conv=notrunc,fsync </dev/null >/dev/null 2>&1 || :
  ;;
read)
  [ -e "$2/$3" ] || exit 4
  while IFS= read -r line; do echo "$line"; done <"$2/$3"
  ;;
remove)
  rm -f "$2/$3" && [ ! -e "$2/$3" ]
  ;;
esac
"""
# Links are followed here: absolute ones would lead out of the other container's root.
_PYTHON = """\
import os, sys
operation, directory, name, seed = sys.argv[1:]
root = path = "/proc/1/root"
parts = directory.split("/")[::-1]
while parts:
    part = parts.pop()
    if part == "..":
        path = root if path == root else os.path.dirname(path)
    elif part not in ("", "."):
        link = os.path.join(path, part)
        if os.path.islink(link):
            target = os.readlink(link)
            path = root if target.startswith("/") else path
            parts += target.split("/")[::-1]
        else:
            path = link
os.listdir(root)
file = os.path.join(path, name)
if operation == "write":
    if not os.path.isdir(path):
        sys.exit(3)
    with open(file, "x") as out:
        out.write("".join(seed + str(i) + "\\n" for i in range(1000, 1064)))
        out.flush()
        os.fsync(out.fileno())
elif operation == "read":
    if not os.path.exists(file):
        sys.exit(4)
    sys.stdout.write(open(file).read())
elif os.path.lexists(file):
    os.unlink(file)
"""


class NoProgram(CannotLook):
    """The container has no shell."""


class Marker(Struct, frozen=True):
    """A file's name, the seed of its content, and the content's SHA-256."""

    name: str
    seed: str
    checksum: str


class Hand(Struct, frozen=True):
    """What reaches into a container's files: how to run a program there, and in which language."""

    run: Run
    language: Language = "sh"

    def write(self, directory: str, marker: Marker) -> bool:
        """Create the marker and sync it; False where there is no such directory."""
        return self._do("write", directory, marker.name, marker.seed).code != _NO_DIRECTORY

    def read(self, directory: str, marker: Marker) -> Literal["kept", "lost", "changed"]:
        """What became of the marker."""
        output = self._do("read", directory, marker.name)
        if output.code == _MISSING:
            return "lost"
        return "kept" if checksum(output.out) == marker.checksum else "changed"

    def remove(self, directory: str, name: str) -> None:
        """Remove the marker if it is there."""
        self._do("remove", directory, name)

    def _do(self, operation: Operation, directory: str, name: str, seed: str = "") -> Output:
        """Raises `NoProgram` without a shell, `CannotLook` where it is not allowed."""
        program = (
            ["sh", "-c", _SHELL, "sh"] if self.language == "sh" else ["python3", "-c", _PYTHON]
        )
        output = self.run([*program, operation, directory, name, seed])
        if output.code == NOT_FOUND_CODE:
            raise NoProgram(f"there is no {program[0]}: {output.err.strip()}")
        if output.code in (0, _NO_DIRECTORY, _MISSING):
            return output
        words = output.err.strip().splitlines() or [f"exit code {output.code}"]
        raise CannotLook(f"can't {operation} {directory.rstrip('/')}/{name}: {words[-1]}")


def new_marker(run: str) -> Marker:
    """A marker that no other run has; `run` is the run's name."""
    seed = secrets.token_hex(_SEED_BYTES)
    return Marker(f".containerpolicy-{run}-{seed[:8]}", seed, checksum(_content(seed)))


def checksum(content: str) -> str:
    """The SHA-256 of a marker's content."""
    return hashlib.sha256(content.encode()).hexdigest()


def _content(seed: str) -> str:
    return "".join(f"{seed}{number}\n" for number in range(1000, 1000 + _LINES))

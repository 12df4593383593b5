"""What an experiment is about to change and how to undo it, on disk before it acts.

One file a run, one JSON document a line, synced before the act: whatever kills the run, the next
one finds the file, sees that nobody holds its lock, and undoes what is not marked as done.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct

from pytest_containerpolicy.errors import UsageError

_SUFFIX = ".jsonl"


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: `undo` names the function that takes it back, `arguments` are given to it.

    `identity` is the environment's own id, so that nothing is undone anywhere else; `prober_image`
    is the one that can be had there.
    """

    number: int
    undo: str
    what: str
    target: str
    identity: str
    at: str
    arguments: dict[str, Any] = {}
    prober_image: str = ""


class Done(Struct, frozen=True):
    """The change of that number is taken back."""

    done: int


class JournalHeld(UsageError):
    """A journal that another process has open: its run is alive."""


def state_folder() -> Path:
    """Where journals are: `$XDG_STATE_HOME/containerpolicy`, else `~/.local/state/...`.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "containerpolicy"


class Journal:
    """The journal of one run. Whoever has it open holds its lock, to the end of the process."""

    def __init__(self, folder: Path, run: str) -> None:
        """Open or make the journal. Raises `UsageError` if it can't be used, `JournalHeld`."""
        self.run = run
        self._path = folder / f"{run}{_SUFFIX}"
        self._lock = FileLock(folder / f"{run}.lock", mode=0o600)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire(timeout=0)
            self._entries, done, self.unreadable = _read(self._path)
        except Timeout:
            raise JournalHeld(f"{self._path}: another process has this journal open") from None
        except OSError as error:
            raise UsageError(
                f"{error.filename or folder}: {error.strerror}: an experiment needs a journal to be"
                " undone from; set XDG_STATE_HOME to a folder that can be written"
            ) from None
        self._open = {
            number: entry for number, entry in self._entries.items() if number not in done
        }

    @property
    def pending(self) -> list[Entry]:
        """What is not undone yet, the newest first."""
        return [self._open[number] for number in sorted(self._open, reverse=True)]

    def add(
        self,
        undo: str,
        what: str,
        target: str,
        identity: str,
        arguments: dict[str, Any],
        *,
        prober_image: str = "",
    ) -> Entry:
        """Write down a change that is about to be made; returns once it is on the disk."""
        entry = Entry(
            number=max(self._entries, default=0) + 1,
            undo=undo,
            what=what,
            target=target,
            identity=identity,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            arguments=arguments,
            prober_image=prober_image,
        )
        self._append(entry)
        self._entries[entry.number] = self._open[entry.number] = entry
        return entry

    def done(self, entry: Entry) -> None:
        """Write down that a change was taken back."""
        self._append(Done(entry.number))
        del self._open[entry.number]

    def close(self) -> None:
        """Let go of the journal; it stays on disk only if something in it is not undone."""
        is_over = not self._open and not self.unreadable
        if is_over:
            self._path.unlink(missing_ok=True)
        self._lock.release()
        if is_over:
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _append(self, line: Entry | Done) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # A run that died while it wrote may have left half a line at the end.
            os.write(descriptor, b"\n" + msgspec.json.encode(line) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            _sync_folder(self._path.parent)


def orphans(folder: Path, problems: list[str]) -> Iterator[Journal]:
    """The journals that dead runs left behind, opened; the caller closes each.

    What can't be read of them is added to `problems`.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            journal = Journal(folder, path.stem)
        except JournalHeld:
            continue  # its run is alive
        except UsageError as error:
            problems.append(f"journal {path}: {error}")
            continue
        problems += journal.unreadable
        yield journal


def _read(path: Path) -> tuple[dict[int, Entry], set[int], list[str]]:
    """The changes by number, the numbers of those undone, and what of it is not understood."""
    entries: dict[int, Entry] = {}
    done: set[int] = set()
    unreadable: list[str] = []
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            content = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # empty, or its run died while it wrote it: it had not acted yet
        try:
            if isinstance(content, dict) and "done" in content:
                done.add(msgspec.convert(content, Done).done)
            else:
                entry = msgspec.convert(content, Entry)
                entries[entry.number] = entry
        except msgspec.ValidationError as error:
            unreadable.append(
                f"journal {path}, line {number}: {error}: it is of another version: restore with"
                " that one, or put right by hand what the line says, and remove the line"
            )
    return entries, done, unreadable


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Run programs and wait for conditions: the few verbs everything else is written in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class TestbedError(RuntimeError):
    """An environment could not be built, started or reached; the message says what to look at."""

    __test__ = False


def run(
    *argv: str | Path,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 120,
) -> str:
    """What the program printed; a failure carries its complaint, not only its exit code."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        words = " ".join(str(word) for word in argv)
        raise TestbedError(f"{words}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def say(line: str) -> None:
    """Tell the person at the terminal, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def succeeds(*argv: str | Path, timeout: float | None = 30) -> bool:
    """Whether the program ends with 0; what it prints does not matter."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, capture_output=True, timeout=timeout, check=False)
        return done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def wait_until(
    what: str, condition: Callable[[], T | None], seconds: float = 60, pause: float = 0.1
) -> T:
    """The condition's first true answer; naming what was awaited when it never comes."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TestbedError(f"{what}: still not so after {seconds:g} s")
        time.sleep(pause)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Readers see the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)


def in_namespace(namespace: str, argv: Sequence[str | Path]) -> list[str]:
    """The command line that runs a program in a network namespace.

    `ip netns exec` would also swap /sys, which hides the cgroup mounts from a daemon.
    """
    return ["nsenter", f"--net=/run/netns/{namespace}", *(str(word) for word in argv)]

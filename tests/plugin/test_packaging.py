"""The wheel, installed into an environment of its own, outside of any checkout."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.plugin.conftest import WEB

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the built wheel; dependencies are this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*build, "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    venv.create(folder / "venv", symlinks=True)
    packages = next((folder / "venv" / "lib").glob("python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    # pip of this environment installs into that one; the rest is found behind it.
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        packages,
    ]
    subprocess.run([*install, wheel], check=True, capture_output=True)
    own = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "dependencies.pth").write_text(f"{own}\n")
    return folder / "venv" / "bin"


def test_wheel_brings_its_policies(installed: Path, tmp_path: Path) -> None:
    """The wheel holds policies, schema and all; ids and `--lf` work outside the rootdir."""
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "test_own.py").write_text("def test_own(): assert False\n")
    command: list[str | Path] = [installed / "python", "-m", "pytest", "-q", "-rf"]
    command.append("--cp-target=manifests:web.yaml")

    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    again = subprocess.run([*command, "--lf"], cwd=tmp_path, capture_output=True, text=True)

    item = "policies/resources/memory-limit/policy.yaml::manifests:web.yaml::memory-limit"
    assert str(installed.parent) in _home(installed)
    assert f"FAILED {item}" in first.stdout
    assert f"FAILED {item}" in again.stdout
    assert "test_own.py::test_own" in again.stdout
    assert _count(first.stdout, "failed") == _count(again.stdout, "failed")
    assert 0 == _count(again.stdout, "passed")


def _home(installed: Path) -> str:
    program = "import pytest_containerpolicy.policies as p; print(p.builtin_pack().folder)"
    command: list[str | Path] = [installed / "python", "-c", program]
    return subprocess.run(command, cwd=installed, capture_output=True, text=True, check=True).stdout


def _count(output: str, outcome: str) -> int:
    words = output.splitlines()[-1].replace(",", "").split()
    return int(words[words.index(outcome) - 1]) if outcome in words else 0

"""The examples do what their pages say."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / command[0], *command[1:]], cwd=folder, capture_output=True, text=True
    )


def test_first_command_of_the_readme() -> None:
    """The README's main job judges the shop and names findings of all four challenges."""
    block = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    command = shlex.split(block.replace("\\\n", "").splitlines()[-1])

    result = _run(ROOT, "containerpolicy", *command[1:])

    failed = set(re.findall(r"FAILED policies/(\w+)/[\w-]+/policy.yaml::", result.stdout))
    assert {"storage", "networking", "resources", "upgrades"} == failed
    assert 1 == result.returncode
    assert "Traceback" not in result.stdout + result.stderr
    for target in (
        "manifests:examples/01-shop/manifests",
        "snapshot:examples/01-shop/cluster.snapshot.json",
    ):
        assert re.search(rf"^{target} .*\dF.*\dF.*\dF.*\dF", result.stdout, re.MULTILINE)


def test_snapshot_agrees_with_the_manifests() -> None:
    """The recorded cluster fails where its manifests do, but for what only a cluster can tell.

    There the claim's volume is local to one node: the new pod lands beside the old one.
    """
    result = _run(
        EXAMPLES / "01-shop",
        "containerpolicy", "audit", "manifests:manifests", "snapshot:cluster.snapshot.json",
    )  # fmt: skip

    by_target: dict[str, set[str]] = {}
    for policy, target in re.findall(r"FAILED policies/(\S+)/policy.yaml::(\w+)", result.stdout):
        by_target.setdefault(target, set()).add(policy)
    assert {"storage/claims-can-reattach"} == by_target["manifests"] - by_target["snapshot"]


def test_gate() -> None:
    """The gate's settings are taken from its pyproject.toml, waivers included."""
    result = _run(EXAMPLES / "03-ci-gate", "pytest", "--containerpolicy", "-p", "no:cacheprovider")

    assert 1 == result.returncode
    assert "from ini containerpolicy_targets" in result.stdout
    assert "waived: 1" in result.stdout


@pytest.mark.parametrize(
    ("command", "passed"),
    [
        ("pytest --cp-selftest --cp-pack pack --cp-select security/image-pinned", True),
        ("pytest --cp-target manifests:../01-shop/manifests --cp-pack pack --cp-select"
         " security", True),
        ("pytest --cp-target manifests:../01-shop/manifests --cp-pack pack --cp-select security"
         " --cp-profile strict", False),
    ],
)  # fmt: skip
def test_own_pack(command: str, passed: bool) -> None:
    """A pack of one's own is tested by its examples and judged beside the shipped one."""
    result = _run(EXAMPLES / "04-own-pack", *command.split(), "-p", "no:cacheprovider")

    assert (0 if passed else 1) == result.returncode, result.stdout

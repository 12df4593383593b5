"""A small pack and a small target for tests of the plugin itself."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

# pytester forgets modules that a run imports; PyYAML's C part does not survive a second import.
import pytest_containerpolicy.run  # noqa: F401

pytest_plugins = ["pytester"]

Judge = Callable[..., pytest.RunResult]
Write = Callable[[str], str]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: app, image: "example/web:1"}
"""
BOUNDED = WEB.replace(
    '"example/web:1"}', '"example/web:1", resources: {limits: {memory: 64Mi, cpu: 1}}}'
)


@pytest.fixture
def manifests(pytester: pytest.Pytester) -> Path:
    """A folder with one Deployment that has no limits."""
    folder = pytester.path / "manifests"
    folder.mkdir()
    (folder / "web.yaml").write_text(WEB)
    return folder


@pytest.fixture
def judge(pytester: pytest.Pytester, manifests: Path) -> Judge:
    """Run pytest on the manifests with one policy, in this process."""

    def run(*args: str, policy: str = "resources/memory-limit") -> pytest.RunResult:
        target = "--cp-target=manifests:manifests"
        return pytester.runpytest(target, f"--cp-select={policy}", *args)

    return run


@pytest.fixture
def waivers(pytester: pytest.Pytester) -> Write:
    """Write a waivers file and return its name."""

    def write(text: str) -> str:
        (pytester.path / "waivers.yaml").write_text(textwrap.dedent(text))
        return "waivers.yaml"

    return write

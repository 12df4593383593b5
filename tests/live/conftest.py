"""The real environments, each started for the first test that asks and shared by all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import pytest

from tests.testbed import Cluster, Engine, Swarm, docker_engine, kubernetes, swarm

T = TypeVar("T")


def _entered(stack: ExitStack, environment: AbstractContextManager[T]) -> T:
    """The environment; a machine that can't have it skips, but never under CI."""
    try:
        return stack.enter_context(environment)
    except Exception as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no such environment on this machine: {error}")


@pytest.fixture(scope="session")
def testbed_engine() -> Iterator[Engine]:
    """A dedicated engine of the current version, with the test images."""
    with ExitStack() as stack:
        yield _entered(stack, docker_engine())


@pytest.fixture(scope="session")
def testbed_engine_oldest() -> Iterator[Engine]:
    """A dedicated engine of the oldest supported version, with the test images."""
    with ExitStack() as stack:
        yield _entered(stack, docker_engine("oldest"))


@pytest.fixture(scope="session")
def testbed_swarm() -> Iterator[Swarm]:
    """A Swarm of three managers."""
    with ExitStack() as stack:
        yield _entered(stack, swarm())


@pytest.fixture(scope="session")
def testbed_cluster() -> Iterator[Cluster]:
    """A Kubernetes cluster of three nodes."""
    with ExitStack() as stack:
        yield _entered(stack, kubernetes())


class Namespace:
    """A namespace of one test, and the few things tests do in it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        """Take a namespace that exists."""
        self.cluster = cluster
        self.name = name

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """What kubectl prints, in this namespace."""
        return self.cluster.kubectl("-n", self.name, *args, input=stdin)

    def apply(self, *documents: dict[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def wait(self, condition: str, *what: str) -> None:
        """Wait until the objects meet a condition such as Ready."""
        self.kubectl("wait", f"--for={condition}", "--timeout=90s", *what)

    def inside(self, pod: str, *argv: str) -> str:
        """What a program prints in a pod."""
        return self.kubectl("exec", pod, "--", *argv)


@pytest.fixture
def namespace(testbed_cluster: Cluster) -> Iterator[Namespace]:
    """A namespace that is there for one test only."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    yield Namespace(testbed_cluster, name)
    testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")

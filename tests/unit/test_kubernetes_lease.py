"""Leases by the API server's clock: renewed while their run lives, taken when it is dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_lease
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, Refused
from pytest_containerpolicy.experiments.kubernetes_lease import hold
from pytest_containerpolicy.experiments.lab import LabOptions
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.kubernetes_models import controller, model_of_text, workload_named
from tests.unit.test_laboratories import KUBECONFIG

WEB = workload_named(model_of_text(controller("Deployment", "")), "web")
Document = dict[str, Any]


class Server:
    """The leases of an API server, whose clock is years from ours."""

    def __init__(self) -> None:
        self.now = datetime(2001, 1, 1, tzinfo=UTC)
        self.leases: dict[str, Document] = {}

    def answer(self, method: str, path: str, content: Document, dry_run: bool) -> Document:
        """What it does with one request."""
        if method == "POST":
            return self._create(path, content, dry_run)
        if path not in self.leases:
            raise Refused("none", 404, "")
        lease = self.leases[path]
        if method == "PATCH":
            lease["spec"] |= content["spec"]
        if method == "DELETE":
            del self.leases[path]
        return lease

    def _create(self, path: str, content: Document, dry_run: bool) -> Document:
        stamp = {"creationTimestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}", "uid": "u"}
        made = {**content, "metadata": {**content["metadata"], **stamp}}
        if not dry_run:
            place = f"{path}/{content['metadata']['name']}"
            if place in self.leases:
                raise Refused("there is one", 409, "")
            self.leases[place] = made
        return made


class Run(KubernetesLab):
    """A run that talks to such a server."""

    identity = "uid"
    server: Server

    def _request(self, method: str, path: str, content: Any = None, **more: Any) -> Document:
        return self.server.answer(method, path, content, bool(more.get("query")))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """Makes runs on one server, each with a journal of its own."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    target = parse_target(f"k8s://dev?kubeconfig={tmp_path}/kubeconfig&namespace=shop")
    assert isinstance(target, KubernetesTarget)
    server = Server()

    def make(name: str) -> Run:
        made = Run(target, Timeouts(), LabOptions(level="disrupt"), Journal(tmp_path, name))
        made.server = server
        return made

    yield make


def _take(run: Run, workload: Workload = WEB) -> None:
    with hold(run, workload):
        [lease] = run.server.leases.values()
        assert run.run == lease["spec"]["holderIdentity"]


def test_lease_is_let_go(run: Callable[[str], Run]) -> None:
    """After its block nothing is left of a claim."""
    first = run("first")

    _take(first)

    assert ({}, []) == (first.server.leases, first.journal.pending)


def test_lease_of_a_living_run(run: Callable[[str], Run]) -> None:
    """A machine whose own clock is years ahead does not take what is held."""
    first, second = run("first"), run("second")

    with (
        hold(first, WEB),
        pytest.raises(CannotLook, match="is being disrupted by run first since 00:00:00 UTC"),
    ):
        _take(second)


def test_lease_of_a_dead_run(run: Callable[[str], Run]) -> None:
    """A lease that nobody renewed for its duration, by the server's clock, is taken."""
    first, second = run("first"), run("second")

    with hold(first, WEB):
        first.server.now += timedelta(seconds=kubernetes_lease._SECONDS)
        _take(second)


def test_lease_is_renewed(run: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a run holds a workload its lease does not run out."""
    monkeypatch.setattr(kubernetes_lease, "_SECONDS", 0.03)
    first = run("first")

    with hold(first, WEB):
        [lease] = first.server.leases.values()
        first.server.now += timedelta(hours=1)
        deadline = time.monotonic() + 5
        while "T01:" not in lease["spec"]["renewTime"] and time.monotonic() < deadline:
            time.sleep(0.01)

        assert "2001-01-01T01:00:00.000000+00:00" == lease["spec"]["renewTime"]
        assert "2001-01-01T00:00:00.000000+00:00" == lease["spec"]["acquireTime"]

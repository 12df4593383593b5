"""Prober pods into which something else was injected."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_probers, kubernetes_vantage
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_probers import PROBER, prober_pod
from pytest_containerpolicy.experiments.kubernetes_vantage import viewpoint
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.targets.kubernetes_exec import Output
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.kubernetes_models import model_of_text, workload_named
from tests.loopback import write_kubeconfig

SERVED = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, clusterIP: 10.0.0.1, ports: [{port: 80}]}
"""
State = dict[str, Any]
RUNNING: State = {"running": {}}
ENDED: State = {"terminated": {"reason": "Completed"}}
PULLING: State = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubernetesLab:
    """A cluster that takes every pod, adds a container before and one after ours, and waits not."""
    config = write_kubeconfig(tmp_path / "config", "https://127.0.0.1:9", {})
    made = open_lab(parse_target(f"k8s://?kubeconfig={config}"), Timeouts(), LabOptions())
    assert isinstance(made, KubernetesLab)

    def created(_: str, pod: State, grace: int | None = None) -> AbstractContextManager[State]:
        return nullcontext({"metadata": {"namespace": "shop", **pod["metadata"]}})

    monkeypatch.setattr(made, "created", created)
    monkeypatch.setattr(kubernetes_probers, "_START_SECONDS", 0.0)
    return made


def states(monkeypatch: pytest.MonkeyPatch, lab: KubernetesLab, own: State, other: State) -> None:
    """Have the API server say so of our container and of those beside it."""
    named = (("proxy", other), (PROBER, own), ("logs", other))
    statuses = [{"name": name, "state": state} for name, state in named]
    monkeypatch.setattr(lab, "get", lambda _: {"status": {"containerStatuses": statuses}})


@pytest.mark.parametrize("other", [RUNNING, ENDED, PULLING, {}])
def test_what_others_beside_it_do(
    lab: KubernetesLab, monkeypatch: pytest.MonkeyPatch, other: State
) -> None:
    """Our container runs: what was injected beside it may do what it likes."""
    states(monkeypatch, lab, RUNNING, other)

    with prober_pod(lab, "shop") as name:
        assert name.startswith("containerpolicy-")


@pytest.mark.parametrize(
    ("own", "problem"),
    [({}, "waited 0 s for"), (ENDED, "ended at once"), (PULLING, "ErrImagePull")],
)
def test_others_run_and_it_does_not(
    lab: KubernetesLab, monkeypatch: pytest.MonkeyPatch, own: State, problem: str
) -> None:
    """A container that was injected is no prober, however well it runs."""
    states(monkeypatch, lab, own, RUNNING)

    with pytest.raises(CannotLook, match=problem), prober_pod(lab, "shop"):
        pass


def test_programs_run_in_our_container(lab: KubernetesLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pod with several containers the API server wants to know which is meant."""
    used: list[str] = []

    def execute(*_: Any, container: str = "") -> Output:
        used.append(container)
        return Output(0, "", "")

    def start_prober(_: KubernetesLab, namespace: str, pod: str, container: str = "") -> None:
        used.append(container)

    states(monkeypatch, lab, RUNNING, RUNNING)
    monkeypatch.setattr(lab, "execute", execute)
    monkeypatch.setattr(kubernetes_vantage, "start_prober", start_prober)

    with viewpoint(workload_named(model_of_text(SERVED), "web"), lab, "pod") as beside:
        beside.stream()

    assert [PROBER, PROBER] == used

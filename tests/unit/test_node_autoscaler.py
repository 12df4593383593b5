"""What adds nodes to a cluster, wherever it is installed, and when that is not known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, NotNow
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.node_autoscaler import nodes_may_be_added
from pytest_containerpolicy.targets.uri import parse_target
from tests.loopback import Answer, Loopback, loopback, write_kubeconfig
from tests.loopback_cluster import FORBIDDEN, PATIENT, Responder, cluster

KARPENTER = "/apis/karpenter.sh"
ALL = "/api/v1/configmaps"
USUAL = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
STATUS = {"metadata": {"name": "cluster-autoscaler-status"}, "data": {"status": "Running"}}
OLD = {"data": {"status": "time: 2020-01-01 00:00:00.1 +0000 UTC"}}
NONE = Answer(b'{"kind": "Status", "message": "not found"}', 404)


def listed(*statuses: object) -> Answer:
    """A list of ConfigMaps."""
    return Answer(json.dumps({"items": statuses}).encode())


def asked(folder: Path, answers: Mapping[str, Answer | Responder]) -> tuple[str, Loopback]:
    """What adds nodes to a cluster without Karpenter that answers so, and what it was asked."""
    with loopback(cluster({KARPENTER: NONE, **answers})) as server:
        config = write_kubeconfig(folder / "config", server.url)
        lab = open_lab(parse_target(f"k8s://lab?kubeconfig={config}"), PATIENT, LabOptions())
        assert isinstance(lab, KubernetesLab)
        with closing(lab):
            return nodes_may_be_added(lab), server


def test_in_any_namespace(tmp_path: Path) -> None:
    """Its status is found wherever it is; no other ConfigMap is asked for."""
    adds, server = asked(tmp_path, {ALL: listed(OLD, STATUS)})

    assert "Cluster Autoscaler" == adds
    [request] = server.asked(ALL)
    assert {"fieldSelector": "metadata.name=cluster-autoscaler-status"} == request.query


@pytest.mark.parametrize("statuses", [(), (OLD,)])
def test_nothing_adds_nodes(tmp_path: Path, statuses: tuple[object, ...]) -> None:
    """Nothing is there, or nothing any more: that is known once all namespaces were looked at."""
    assert "" == asked(tmp_path, {ALL: listed(*statuses)})[0]


def test_in_its_usual_place(tmp_path: Path) -> None:
    """Who may not list needs no more than to read it where it usually is."""
    found = Answer(json.dumps(STATUS).encode())

    assert "Cluster Autoscaler" == asked(tmp_path, {ALL: FORBIDDEN, USUAL: found})[0]


@pytest.mark.parametrize("usual", [NONE, FORBIDDEN, Answer(json.dumps(OLD).encode())])
def test_it_may_be_elsewhere(tmp_path: Path, usual: Answer) -> None:
    """Who may not list does not know that nothing adds nodes, and is told the right."""
    needs = r"needs list on the configmaps cluster-autoscaler-status of all namespaces"
    with pytest.raises(CannotLook, match=rf"Cluster Autoscaler adds .* known \(403\): {needs}"):
        asked(tmp_path, {ALL: FORBIDDEN, USUAL: usual})


def test_karpenter(tmp_path: Path) -> None:
    """Its API is there; without the right to ask for it nothing is known."""
    assert "Karpenter" == asked(tmp_path, {KARPENTER: Answer()})[0]
    with pytest.raises(CannotLook, match=r"Karpenter .* needs get on /apis/karpenter.sh"):
        asked(tmp_path, {KARPENTER: FORBIDDEN})


def test_an_outage(tmp_path: Path) -> None:
    """A server that can't answer now says nothing of rights."""
    with pytest.raises(NotNow):
        asked(tmp_path, {ALL: Answer(b"{}", 503)})

"""What is known of a drain before it is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_measurement import hindrances
from pytest_containerpolicy.experiments.drain_placement import Refusal, Stranded
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.model.scheduling import Pod
from tests.unit.known_clusters import known_cluster

POD = Pod(namespace="shop", name="web-1", uid="1", labels={}, requests={})
FULL = Stranded(POD, {"node1": Refusal(text="too little memory", full=True)})
PINNED = Stranded(POD, {"node1": Refusal(text="it is pinned to node2")})


def cluster(folder: Path, adds_nodes: str) -> Lab:
    """A cluster of which it is known what adds nodes to it."""
    return known_cluster(folder, "nodes may be added", lambda: adds_nodes)


def test_pods_that_find_no_place(tmp_path: Path) -> None:
    """They are named with what stands in their way; where none is stranded nothing does."""
    expected = ["no other node takes pod web-1: too little memory (1 node)"]
    assert expected == hindrances([FULL], cluster(tmp_path, ""))
    assert [] == hindrances([], cluster(tmp_path, ""))


def test_pods_for_which_a_node_may_be_added(tmp_path: Path) -> None:
    """Nobody knows whether it comes in time: that is no violation, and no pass."""
    with pytest.raises(CannotLook, match=r"nothing was touched: pod shop/web-1 needs a node that"):
        hindrances([FULL], cluster(tmp_path, "Cluster Autoscaler"))


def test_pods_that_no_further_node_helps(tmp_path: Path) -> None:
    """They alone are named, if others of them only wait for a node."""
    (found,) = hindrances([FULL, PINNED], cluster(tmp_path, "Karpenter"))
    assert "it is pinned to node2" in found

"""Which pods have what was marked, when the markers are removed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_containerpolicy.experiments.kubernetes_leftovers import Spot, Trace


def _trace(stable_name: str) -> Trace:
    return Trace(
        namespace="shop",
        labels={"app": "set"},
        stable_name=stable_name,
        uid="1",
        node="node1",
        spots=[],
    )


def _pod(name: str, node: str = "node1", uid: str = "2") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid}, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [(_pod("set-1"), True), (_pod("set-0"), False), (_pod("set-1", "node2"), False)],
    ids=["successor", "neighbour", "moved"],
)
def test_a_nodes_directory_of_one_pod(pod: dict[str, Any], expected: bool) -> None:
    """Each pod of a StatefulSet has a directory of its own, be they all on one node."""
    spot = Spot(container="app", path="/data", source={}, on_node=True)
    assert expected == _trace("set-1").mounts(spot, pod)


def test_a_nodes_directory_of_all_pods() -> None:
    """A Deployment's pods on a node share the directory."""
    spot = Spot(container="app", path="/data", source={}, on_node=True)
    assert _trace("").mounts(spot, _pod("web-x"))


def test_what_ends_with_the_pod() -> None:
    """The successor of the same name has nothing of it."""
    spot = Spot(container="app", path="/cache", source={}, ends_with_pod=True)
    assert (False, True) == (
        _trace("set-0").mounts(spot, _pod("set-0")),
        _trace("set-0").mounts(spot, _pod("set-0", uid="1")),
    )

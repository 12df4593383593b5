"""Where pods find a place: as a real scheduler recorded it, and rule by rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from pytest_containerpolicy.experiments.drain_floor import Floor
from pytest_containerpolicy.experiments.drain_placement import Trial, rehouse
from pytest_containerpolicy.model import kubernetes_cluster as cluster
from pytest_containerpolicy.model.cluster import Node
from pytest_containerpolicy.model.kubernetes_scheduling import scheduled_pods
from pytest_containerpolicy.model.kubernetes_volumes import persistent_volume
from pytest_containerpolicy.model.placement import Placement, Spread, Taint, Toleration
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.scheduling import Companions, Pod
from pytest_containerpolicy.model.selectors import Selector
from pytest_containerpolicy.model.volume import PersistentVolume
from pytest_containerpolicy.targets.kubernetes_scheduling import NODES, PODS, VOLUMES
from tests.unit.conftest import RECORDED

GIB = 2**30
HOST, ZONE = "kubernetes.io/hostname", "zone"
WEB = Selector.of({"app": "web"})


def node(name: str, memory: float = 10, zone: str = "a", **more: Any) -> Node:
    """A node with an amount of GiB."""
    labels = {HOST: name, ZONE: zone}
    allocatable = {"cpu": 4.0, "memory": memory * GIB, "pods": 10.0}
    ref = ObjectRef(kind="Node", name=name)
    return Node(ref=ref, labels=labels, allocatable=allocatable, **more)


def pod(name: str, on: str = "", memory: float = 1, **more: Any) -> Pod:
    """A pod that requests an amount of GiB."""
    return Pod(
        namespace="shop",
        name=name,
        uid=name,
        node=on,
        labels=more.pop("labels", {"app": "web"}),
        requests={"memory": memory * GIB, "pods": 1},
        controller=("ReplicaSet", "web"),
        **more,
    )


def floor(nodes: Iterable[Node], *pods: Pod) -> Floor:
    """A floor without volumes."""
    return Floor(nodes, pods, lambda *_: None)


def stranded(found: Floor, drained: str = "a") -> dict[str, str]:
    """The pods that find no place, and why."""
    return {left.pod.name: str(left) for left in rehouse(found, drained)}


def test_what_a_scheduler_did() -> None:
    """The pods foretold to find no place are those that a real scheduler placed nowhere.

    One of them had to make way for a pod of higher priority.
    """
    recorded = json.loads((RECORDED / "drain.json").read_text())
    documents = [msgspec.convert(found, PODS.type) for found in recorded["pods"]]
    pods, wrong = scheduled_pods(documents, {"shop": {}})
    claims = {
        found["metadata"]["name"]: found["spec"] for found in recorded["persistentvolumeclaims"]
    }
    volumes: dict[str, PersistentVolume] = {
        found["metadata"]["name"]: persistent_volume(msgspec.convert(found, VOLUMES.type))
        for found in recorded["persistentvolumes"]
    }
    nodes = [cluster.node(msgspec.convert(found, NODES.type)) for found in recorded["nodes"]]

    found = rehouse(
        Floor(nodes, pods, lambda _, name: volumes.get(claims[name]["volumeName"])), "node2"
    )

    assert [] == wrong
    assert recorded["stranded"] == sorted(left.pod.labels["app"] for left in found)
    assert ["low"] == [left.pod.labels["app"] for left in found if left.displaced]


def test_pods_are_moved_together() -> None:
    """Each fits alone; only one of them fits in the room that there is."""
    found = floor([node("a"), node("b", memory=5)], pod("x", "a", 4), pod("y", "a", 3))

    assert {"y": "too little memory (needs 3Gi, has 1Gi free, 1 node)"} == stranded(found)


def test_a_packing_that_the_first_order_misses() -> None:
    """Biggest first leaves one over; another order has room for all."""
    nodes = [node("a", 20), node("b", 10), node("c", 6)]
    pods = [pod("five", "a", 5), pod("four", "a", 4), pod("six", "a", 6)]

    assert {} == stranded(floor(nodes, *pods))


def test_only_what_stays_takes_room() -> None:
    """Ended pods and those on their way out take none; static pods and daemons stay."""
    others = [pod("ended", "b", 9, ended=True), pod("leaving", "b", 9, leaving=True)]
    found = floor(
        [node("a"), node("b")], pod("x", "a", 8), pod("static", "a", 8, stays=True), *others
    )

    assert {} == stranded(found)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (node("b", ready=False), "not ready (1 node)"),
        (node("b", schedulable=False), "cordoned (1 node)"),
        (node("b", taints=(Taint("gpu", "NoSchedule", "x"),)), "taint gpu=x:NoSchedule (1 node)"),
        (node("b", taints=(Taint("gpu", "PreferNoSchedule"),)), None),
        (node("b", memory=0.5), "too little memory (needs 1Gi, has 512Mi free, 1 node)"),
    ],
)
def test_a_node_that_takes_nothing(other: Node, why: str | None) -> None:
    """It is named with what keeps the pod off it."""
    assert ({"x": why} if why else {}) == stranded(floor([node("a"), other], pod("x", "a")))


def test_a_taint_that_is_tolerated() -> None:
    """It keeps nobody off."""
    placement = Placement(tolerations=(Toleration("gpu", "Exists"),))
    other = node("b", taints=(Taint("gpu", "NoSchedule"),))

    assert {} == stranded(floor([node("a"), other], pod("x", "a", placement=placement)))


def test_no_other_node() -> None:
    """There is nowhere to go."""
    assert {"x": "there is no other node"} == stranded(floor([node("a")], pod("x", "a")))


def test_host_ports_clash_by_address() -> None:
    """A port is taken on its own address, or on all of them."""
    one, other = ("TCP", "10.0.0.1", 80), ("TCP", "10.0.0.2", 80)
    there = pod("there", "b", ports=frozenset([one]))

    taken = floor([node("a"), node("b")], there, pod("x", "a", ports=frozenset([("TCP", "", 80)])))
    free = floor([node("a"), node("b")], there, pod("x", "a", ports=frozenset([other])))
    assert {"x": "host port 80 is taken (1 node)"} == stranded(taken)
    assert {} == stranded(free)


def test_anti_affinity_of_those_that_are_there() -> None:
    """A pod that wants nobody beside it keeps others away, though they would not mind."""
    loner = Companions(HOST, WEB, frozenset(["shop"]))
    there = pod("there", "b", labels={}, apart=(loner,))

    assert {"x": "podAntiAffinity over kubernetes.io/hostname (1 node)"} == stranded(
        floor([node("a"), node("b")], there, pod("x", "a"))
    )


def test_pods_that_belong_together_move_together() -> None:
    """The one that is needed may come from the same node, whichever is placed first."""
    near = Companions(HOST, Selector.of({"app": "db"}), frozenset(["shop"]))
    moving = [pod("x", "a", 5, together=(near,)), pod("db", "a", 1, labels={"app": "db"})]

    assert {} == stranded(floor([node("a"), node("b")], *moving))
    assert {"x": "podAffinity over kubernetes.io/hostname (1 node)"} == stranded(
        floor([node("a"), node("b")], moving[0])
    )


def test_the_first_of_its_kind_may_go_anywhere() -> None:
    """A pod that wants its own kind beside it, and is the only one, is not kept from every node."""
    own = Companions(HOST, WEB, frozenset(["shop"]))

    assert {} == stranded(floor([node("a"), node("b")], pod("x", "a", together=(own,))))


def test_spread_counts_the_drained_node() -> None:
    """A cordoned node stays a domain with no pod, unless taints are honoured."""
    nodes = [node("a", zone="a"), node("b", zone="b")]
    blind = Spread(
        kind="topology-spread", topology_key=ZONE, required=True, max_skew=1, selector=WEB
    )
    honest = msgspec.structs.replace(blind, honors_taints=True)

    for spread, expected in ((blind, {"x": "topology spread over zone (1 node)"}), (honest, {})):
        pods = [pod("x", "a", spread=(spread,)), pod("y", "b", spread=(spread,))]
        assert expected == stranded(floor(nodes, *pods))


def test_fewer_domains_than_there_should_be() -> None:
    """Then no domain may hold more than the skew."""
    spread = Spread(
        kind="topology-spread",
        topology_key=ZONE,
        required=True,
        max_skew=1,
        min_domains=2,
        selector=WEB,
        honors_taints=True,
    )
    trial = Trial(floor([node("a"), node("b")]))

    assert ["a", ""] == [trial.place(pod(name, spread=(spread,))) for name in ("x", "y")]


def test_placeholders_make_way() -> None:
    """Pods of negative priority are there to be displaced: nobody misses them."""
    there = pod("placeholder", "b", 9, priority=-1)

    assert {} == stranded(floor([node("a"), node("b")], there, pod("x", "a", 5)))


def test_a_pod_that_never_preempts() -> None:
    """It waits, whatever its priority."""
    there = pod("there", "b", 9)
    waiting = pod("x", "a", 5, priority=10, preempts=False)

    assert {"x"} == stranded(floor([node("a"), node("b")], there, waiting)).keys()


def test_whether_one_more_node_would_help() -> None:
    """It helps against want of room, not where the pod is pinned or too big for any."""
    pinned = Placement(node_name="a")
    pods = [pod("fits", "a", 9), pod("huge", "a", 99), pod("pinned", "a", placement=pinned)]
    found = floor([node("a", 200), node("b")], pod("there", "b", 5), *pods)

    helped = {left.pod.name: left.needs_a_node for left in rehouse(found, "a")}
    assert {"fits": True, "huge": False, "pinned": False} == helped

"""What pods write, after they were really deleted: on claims, in themselves, on their node."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.shared_folder import shared_by_nodes
from tests.live.survival_specimens import (
    CLAIM,
    RESTRICTED,
    await_rollouts,
    claim,
    files_in,
    measure,
    on_claim,
    pods_of,
    stateful_set,
    stored,
)
from tests.testbed import Cluster

SHOP = (
    claim("orders"),
    stateful_set("set"),
    stored(
        "claim",
        volumes=[
            ({"mountPath": "/orders"}, on_claim("orders")),
            ({"mountPath": "/scratch"}, {"emptyDir": {}}),
        ],
    ),
    stored(
        "scratch",
        container={"image": "testbed/stateful:1"},
        volumes=[({"mountPath": "/data"}, {"emptyDir": {}})],
    ),
    stored("layer", container={"image": "testbed/stateful:1"}),
    stored(
        "locked",
        container={"image": "testbed/distroless:1", "securityContext": RESTRICTED},
        volumes=[({"mountPath": "/orders"}, on_claim("orders"))],
    ),
    stored(
        "disk",
        volumes=[
            ({"mountPath": "/disk"}, {"hostPath": {"path": "/srv/s", "type": "DirectoryOrCreate"}})
        ],
    ),
    stored("reader", volumes=[({"mountPath": "/orders", "readOnly": True}, on_claim("orders"))]),
)


@pytest.fixture(scope="module")
def shop(testbed_cluster: Cluster) -> Iterator[Namespace]:
    """A namespace with workloads that keep data in every way."""
    name = f"test-survival-{time.time_ns() % 10**8}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    namespace.apply(*SHOP)
    await_rollouts(namespace)
    yield namespace
    testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_claims_of_a_stateful_set_are_kept(shop: Namespace, tmp_path: Path) -> None:
    """Each pod finds its own claim again, with what was in it, a folder of it as well."""
    verdict = measure(shop, "set", tmp_path, pods=2)
    assert ([], [], 1) == (verdict.found, verdict.gaps, verdict.judged)
    assert ["kept", "kept"] == verdict.fate("/data") == verdict.fate("/deep")
    assert "pod set-0 was deleted: ready again after" in verdict.figures
    assert "pod set-1 was deleted: ready again after" in verdict.figures
    assert "/deep:\n\n" in files_in(shop, "set", "/deep", "/deep/..")[:8] + "\n"


def test_claim_is_kept_and_scratch_is_not(shop: Namespace, tmp_path: Path) -> None:
    """A claim on one node's disk keeps the pod there; what was scratch is no violation."""
    verdict = measure(shop, "claim", tmp_path, move=True)
    assert ([], []) == (verdict.found, verdict.gaps)
    assert (["kept"], ["lost"]) == (verdict.fate("/orders"), verdict.fate("/scratch"))
    assert "didn't match PersistentVolume's node affinity" in verdict.figures
    assert "" == files_in(shop, "claim", "/orders")


@pytest.mark.parametrize(
    ("name", "place"),
    [("scratch", "emptyDir v0"), ("layer", "the container's own file system")],
)
def test_data_in_the_pod_is_lost(shop: Namespace, name: str, place: str, tmp_path: Path) -> None:
    """A database that keeps its data in its pod starts empty."""
    verdict = measure(shop, name, tmp_path)
    assert [True] == [
        text.startswith(f"a file written to /data on {place} is gone after pod {name}-")
        for text in verdict.found
    ]
    assert ["lost"] == verdict.fate("/data")


def test_without_a_shell(shop: Namespace, tmp_path: Path) -> None:
    """A container without a shell, a user of its own and no capabilities is looked into, too."""
    verdict = measure(shop, "locked", tmp_path)
    assert (["kept"], [], []) == (verdict.fate("/orders"), verdict.found, verdict.gaps)
    assert "" == files_in(shop, "claim", "/orders")


def test_hosts_directory_stays_behind(shop: Namespace, tmp_path: Path) -> None:
    """On another node the same path is empty; both nodes take pods again, and are left clean."""
    verdict = measure(shop, "disk", tmp_path, move=True, leave_behind=True)
    assert 1 == len(verdict.found)
    assert "stayed behind in /srv/s on node" in verdict.found[0]
    nodes = json.loads(shop.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert [] == [
        node for node in nodes if "containerpolicy/run" in node["metadata"]["annotations"]
    ]
    assert "" == files_in(shop, "disk", "/disk")


def test_nothing_is_left_behind_unasked(shop: Namespace, tmp_path: Path) -> None:
    """What may start away from its data is not touched, as nobody would bring it back."""
    before = pods_of(shop, "disk")[0]["metadata"]["uid"]
    verdict = measure(shop, "disk", tmp_path, move=True)
    assert (0, []) == (verdict.judged, verdict.found)
    assert [True] == ["nothing keeps it from starting on another node" in g for g in verdict.gaps]
    assert before == pods_of(shop, "disk")[0]["metadata"]["uid"]


def test_hosts_directory_that_was_not_left(namespace: Namespace, tmp_path: Path) -> None:
    """A pod that came back to its node proves nothing for what is on that node's disk."""
    path = {"path": "/srv/again", "type": "DirectoryOrCreate"}
    document = stored("again", volumes=[({"mountPath": "/disk"}, {"hostPath": path})])
    document["spec"]["template"]["spec"]["affinity"] = _preferring("node2")
    namespace.apply(document)
    await_rollouts(namespace)
    verdict = measure(namespace, "again", tmp_path, leave_behind=True)
    assert (0, [], ["kept"]) == (verdict.judged, verdict.found, verdict.fate("/disk"))
    (gap,) = verdict.gaps
    assert "/disk on hostPath v0: the next pod of pod again-" in gap
    assert "came to node2 again, so nothing shows whether it is there on any other node" in gap


def test_claim_that_moves(namespace: Namespace, tmp_path: Path) -> None:
    """What every node can reach is kept on another node, though it looks like a disk of one."""
    shared, place = tmp_path / "shared", f"/srv/{namespace.name}"
    shared.mkdir()
    shared.chmod(0o777)
    namespace.apply(*_shared(namespace.name, place), stored("mover", volumes=SHARED))
    try:
        with shared_by_nodes(shared, place):
            await_rollouts(namespace)
            verdict = measure(namespace, "mover", tmp_path, move=True, leave_behind=True)
            assert ([], [], ["kept"]) == (verdict.found, verdict.gaps, verdict.fate("/orders"))
            assert ", moved from node" in verdict.figures
            assert [] == list(shared.iterdir())
            namespace.kubectl("delete", "deployment", "mover", "--cascade=foreground")
    finally:
        namespace.cluster.kubectl("delete", "pv", namespace.name, "--wait=false")


SHARED = [({"mountPath": "/orders"}, {"persistentVolumeClaim": {"claimName": "orders"}})]


def _shared(name: str, place: str) -> list[dict[str, Any]]:
    """A volume that is bound to no node, and the claim that it is for."""
    modes = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    orders = claim("orders")
    orders["spec"] = CLAIM | modes
    spec = {
        **modes,
        "capacity": {"storage": "8Mi"},
        "hostPath": {"path": place, "type": "Directory"},
        "claimRef": {"namespace": name, "name": "orders"},
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    return [volume | {"spec": spec}, orders]


def test_stateful_set_on_a_hosts_directory(namespace: Namespace, tmp_path: Path) -> None:
    """A hostPath volume behind a template's claim is one node's disk, too, and is found out."""
    name, place = namespace.name, f"/srv/{namespace.name}"
    volume, _ = _shared(name, place)
    volume["spec"] |= {
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": place, "type": "DirectoryOrCreate"},
        "claimRef": {"namespace": name, "name": "data-set-0"},
    }
    document = stateful_set("set")
    document["spec"]["replicas"] = 1
    document["spec"]["volumeClaimTemplates"][0]["spec"] = CLAIM | {"storageClassName": ""}
    namespace.apply(volume, document)
    try:
        await_rollouts(namespace)
        untouched = measure(namespace, "set", tmp_path, move=True)
        verdict = measure(namespace, "set", tmp_path, move=True, leave_behind=True)
        namespace.kubectl("delete", "statefulset", "set", "--cascade=foreground")
    finally:
        namespace.cluster.kubectl("delete", "pv", name, "--wait=false")
    assert [True] == ["nothing keeps it from" in gap for gap in untouched.gaps]
    assert (["lost"], ["lost"]) == (verdict.fate("/data"), verdict.fate("/deep"))
    assert f"stayed behind in {place} on node" in verdict.found[0]


def _preferring(node: str) -> dict[str, Any]:
    match = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    kind = "preferredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {kind: [{"weight": 100, "preference": match}]}}


def test_nothing_but_the_workloads_is_left(shop: Namespace) -> None:
    """No lease, and no pod of ours."""
    found = shop.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")
    assert "" == found


def test_reading_is_not_judged(shop: Namespace, tmp_path: Path) -> None:
    """Who only reads a claim has no data to lose, and is left in peace."""
    before = pods_of(shop, "reader")[0]["metadata"]["uid"]
    verdict = measure(shop, "reader", tmp_path)
    assert (0, before) == (verdict.judged, pods_of(shop, "reader")[0]["metadata"]["uid"])

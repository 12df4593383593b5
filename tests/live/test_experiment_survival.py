"""What pods write, after they were really deleted: on claims, in themselves, on their node."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.limited_access import DELETE, EXEC, LEASES, limited, unlimited
from tests.live.shared_folder import shared_by_nodes
from tests.live.survivals import Verdict, survival
from tests.live.workloads import workload_document
from tests.testbed import Cluster
from tests.testbed.shell import wait_until

WAIT = 60.0
READY = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
RESTRICTED = {
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}


def _workload(
    name: str, *, kind: str = "Deployment", volumes: Any = (), container: Any = None, **spec: Any
) -> dict[str, Any]:
    """A workload of one pod; each volume is (mount, source)."""
    app = {
        "name": "app",
        "image": "testbed/server:1",
        "readinessProbe": READY,
        "volumeMounts": [{"name": f"v{n}", **mount} for n, (mount, _) in enumerate(volumes)],
        **(container or {}),
    }
    pod = {
        "containers": [app],
        "volumes": [{"name": f"v{n}", **source} for n, (_, source) in enumerate(volumes)],
        "terminationGracePeriodSeconds": 1,
    }
    return workload_document(name, pod, kind=kind, **{"replicas": 1, **spec})


def _claim(name: str) -> dict[str, Any]:
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": CLAIM,
    }


def _on_claim(name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name}}


def _stateful_set(name: str) -> dict[str, Any]:
    mounts = [
        {"name": "data", "mountPath": "/data"},
        {"name": "data", "mountPath": "/deep", "subPath": "deep"},
    ]
    templates = [{"metadata": {"name": "data"}, "spec": CLAIM}]
    return _workload(
        name,
        kind="StatefulSet",
        container={"image": "testbed/stateful:1", "volumeMounts": mounts},
        replicas=2,
        podManagementPolicy="Parallel",
        volumeClaimTemplates=templates,
    )


SHOP = (
    _claim("orders"),
    _stateful_set("set"),
    _workload(
        "claim",
        volumes=[
            ({"mountPath": "/orders"}, _on_claim("orders")),
            ({"mountPath": "/scratch"}, {"emptyDir": {}}),
        ],
    ),
    _workload(
        "scratch",
        container={"image": "testbed/stateful:1"},
        volumes=[({"mountPath": "/data"}, {"emptyDir": {}})],
    ),
    _workload("layer", container={"image": "testbed/stateful:1"}),
    _workload(
        "locked",
        container={"image": "testbed/distroless:1", "securityContext": RESTRICTED},
        volumes=[({"mountPath": "/orders"}, _on_claim("orders"))],
    ),
    _workload(
        "disk",
        volumes=[
            ({"mountPath": "/disk"}, {"hostPath": {"path": "/srv/s", "type": "DirectoryOrCreate"}})
        ],
    ),
    _workload(
        "reader", volumes=[({"mountPath": "/orders", "readOnly": True}, _on_claim("orders"))]
    ),
)


@pytest.fixture(scope="module")
def shop(testbed_cluster: Cluster) -> Iterator[Namespace]:
    """A namespace with workloads that keep data in every way."""
    name = f"test-survival-{time.time_ns() % 10**8}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    namespace.apply(*SHOP)
    _wait(namespace)
    yield namespace
    testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


def _wait(namespace: Namespace) -> None:
    for kind, name in (
        line.split("/") for line in namespace.kubectl("get", "deploy,sts", "-o", "name").split()
    ):
        namespace.kubectl("rollout", "status", kind, name, "--timeout=90s")


def _measure(
    shop: Namespace, name: str, folder: Path, kubeconfig: Path | None = None, **params: Any
) -> Verdict:
    file = kubeconfig or shop.cluster.kubeconfig
    return survival(f"k8s://?kubeconfig={file}&namespace={shop.name}", name, folder, **params)


def _pods(namespace: Namespace, name: str) -> list[dict[str, Any]]:
    found = json.loads(namespace.kubectl("get", "pods", "-l", f"app={name}", "-o", "json"))
    items: list[dict[str, Any]] = found["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def _left(namespace: Namespace, name: str, *directories: str) -> str:
    return namespace.inside(_pods(namespace, name)[0]["metadata"]["name"], "ls", "-A", *directories)


def test_claims_of_a_stateful_set_are_kept(shop: Namespace, tmp_path: Path) -> None:
    """Each pod finds its own claim again, with what was in it, a folder of it as well."""
    verdict = _measure(shop, "set", tmp_path, pods=2)
    assert ([], [], 1) == (verdict.found, verdict.gaps, verdict.judged)
    assert ["kept", "kept"] == verdict.fate("/data") == verdict.fate("/deep")
    assert "pod set-0 was deleted: ready again after" in verdict.figures
    assert "pod set-1 was deleted: ready again after" in verdict.figures
    assert "/deep:\n\n" in _left(shop, "set", "/deep", "/deep/..")[:8] + "\n"


def test_claim_is_kept_and_scratch_is_not(shop: Namespace, tmp_path: Path) -> None:
    """A claim on one node's disk keeps the pod there; what was scratch is no violation."""
    verdict = _measure(shop, "claim", tmp_path, move=True)
    assert ([], []) == (verdict.found, verdict.gaps)
    assert (["kept"], ["lost"]) == (verdict.fate("/orders"), verdict.fate("/scratch"))
    assert "didn't match PersistentVolume's node affinity" in verdict.figures
    assert "" == _left(shop, "claim", "/orders")


@pytest.mark.parametrize(
    ("name", "place"),
    [("scratch", "emptyDir v0"), ("layer", "the container's own file system")],
)
def test_data_in_the_pod_is_lost(shop: Namespace, name: str, place: str, tmp_path: Path) -> None:
    """A database that keeps its data in its pod starts empty."""
    verdict = _measure(shop, name, tmp_path)
    assert [True] == [
        text.startswith(f"a file written to /data on {place} is gone after pod {name}-")
        for text in verdict.found
    ]
    assert ["lost"] == verdict.fate("/data")


def test_without_a_shell(shop: Namespace, tmp_path: Path) -> None:
    """A container without a shell, a user of its own and no capabilities is looked into, too."""
    verdict = _measure(shop, "locked", tmp_path)
    assert (["kept"], [], []) == (verdict.fate("/orders"), verdict.found, verdict.gaps)
    assert "" == _left(shop, "claim", "/orders")


def test_hosts_directory_stays_behind(shop: Namespace, tmp_path: Path) -> None:
    """On another node the same path is empty; both nodes take pods again, and are left clean."""
    verdict = _measure(shop, "disk", tmp_path, move=True, leave_behind=True)
    assert 1 == len(verdict.found)
    assert "stayed behind in /srv/s on node" in verdict.found[0]
    nodes = json.loads(shop.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    assert [] == [
        node for node in nodes if "containerpolicy/run" in node["metadata"]["annotations"]
    ]
    assert "" == _left(shop, "disk", "/disk")


def test_nothing_is_left_behind_unasked(shop: Namespace, tmp_path: Path) -> None:
    """What may start away from its data is not touched, as nobody would bring it back."""
    before = _pods(shop, "disk")[0]["metadata"]["uid"]
    verdict = _measure(shop, "disk", tmp_path, move=True)
    assert (0, []) == (verdict.judged, verdict.found)
    assert [True] == ["nothing keeps it from starting on another node" in g for g in verdict.gaps]
    assert before == _pods(shop, "disk")[0]["metadata"]["uid"]


def test_hosts_directory_that_was_not_left(namespace: Namespace, tmp_path: Path) -> None:
    """A pod that came back to its node proves nothing for what is on that node's disk."""
    path = {"path": "/srv/again", "type": "DirectoryOrCreate"}
    document = _workload("again", volumes=[({"mountPath": "/disk"}, {"hostPath": path})])
    document["spec"]["template"]["spec"]["affinity"] = _preferring("node2")
    namespace.apply(document)
    _wait(namespace)
    verdict = _measure(namespace, "again", tmp_path, leave_behind=True)
    assert (0, [], ["kept"]) == (verdict.judged, verdict.found, verdict.fate("/disk"))
    (gap,) = verdict.gaps
    assert "/disk on hostPath v0: the next pod of pod again-" in gap
    assert "came to node2 again, so nothing shows whether it is there on any other node" in gap


def test_claim_that_moves(namespace: Namespace, tmp_path: Path) -> None:
    """What every node can reach is kept on another node, though it looks like a disk of one."""
    shared, place = tmp_path / "shared", f"/srv/{namespace.name}"
    shared.mkdir()
    shared.chmod(0o777)
    namespace.apply(*_shared(namespace.name, place), _workload("mover", volumes=SHARED))
    try:
        with shared_by_nodes(shared, place):
            _wait(namespace)
            verdict = _measure(namespace, "mover", tmp_path, move=True, leave_behind=True)
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
    claim = _claim("orders")
    claim["spec"] = CLAIM | modes
    spec = {
        **modes,
        "capacity": {"storage": "8Mi"},
        "hostPath": {"path": place, "type": "Directory"},
        "claimRef": {"namespace": name, "name": "orders"},
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    return [volume | {"spec": spec}, claim]


def test_stateful_set_on_a_hosts_directory(namespace: Namespace, tmp_path: Path) -> None:
    """A hostPath volume behind a template's claim is one node's disk, too, and is found out."""
    name, place = namespace.name, f"/srv/{namespace.name}"
    volume, _ = _shared(name, place)
    volume["spec"] |= {
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": place, "type": "DirectoryOrCreate"},
        "claimRef": {"namespace": name, "name": "data-set-0"},
    }
    document = _stateful_set("set")
    document["spec"]["replicas"] = 1
    document["spec"]["volumeClaimTemplates"][0]["spec"] = CLAIM | {"storageClassName": ""}
    namespace.apply(volume, document)
    try:
        _wait(namespace)
        untouched = _measure(namespace, "set", tmp_path, move=True)
        verdict = _measure(namespace, "set", tmp_path, move=True, leave_behind=True)
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
    before = _pods(shop, "reader")[0]["metadata"]["uid"]
    verdict = _measure(shop, "reader", tmp_path)
    assert (0, before) == (verdict.judged, _pods(shop, "reader")[0]["metadata"]["uid"])


def test_next_pod_never_ready(namespace: Namespace, tmp_path: Path) -> None:
    """A pod that needs what the last one had in itself is found, and what it kept is told."""
    probe = {"exec": {"command": ["test", "-e", "/scratch/seed"]}, "periodSeconds": 1}
    namespace.apply(
        _claim("orders"),
        _workload(
            "seeded",
            container={"readinessProbe": probe},
            volumes=[
                ({"mountPath": "/orders"}, _on_claim("orders")),
                ({"mountPath": "/scratch"}, {"emptyDir": {}}),
            ],
        ),
    )
    wait_until("a pod runs", lambda: _seeded(namespace, "seeded"), WAIT)
    _wait(namespace)
    verdict = _measure(namespace, "seeded", tmp_path, deadline=6)
    assert 1 == len(verdict.found)
    assert verdict.found[0].startswith("not ready again after pod seeded-")
    assert (["kept"], ["lost"]) == (verdict.fate("/orders"), verdict.fate("/scratch"))
    assert "" == _left(namespace, "seeded", "/orders")


def _seeded(namespace: Namespace, name: str, count: int = 1) -> bool:
    pods = [pod for pod in _pods(namespace, name) if pod["status"]["phase"] == "Running"]
    for pod in pods:
        namespace.inside(pod["metadata"]["name"], "touch", "/scratch/seed")
    return len(pods) == count


def test_no_further_pod_is_touched(namespace: Namespace, tmp_path: Path) -> None:
    """Once a StatefulSet's pod does not come back, the others are left alone."""
    document = _stateful_set("set")
    probe = {"exec": {"command": ["test", "-e", "/scratch/seed"]}, "periodSeconds": 1}
    pod = document["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    pod["containers"][0]["volumeMounts"] += [{"name": "scratch", "mountPath": "/scratch"}]
    pod["containers"][0]["readinessProbe"] = probe
    namespace.apply(document)
    wait_until("two pods run", lambda: _seeded(namespace, "set", 2), WAIT)
    _wait(namespace)
    second = ("get", "pod", "set-1", "-o", "jsonpath={.metadata.uid}")
    before = namespace.kubectl(*second)
    verdict = _measure(namespace, "set", tmp_path, deadline=6, pods=2)
    assert [True] == [one.startswith("not ready again after pod set-0") for one in verdict.found]
    assert before == namespace.kubectl(*second)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["delete", "pod", "set-0"], "the UID in the precondition"),
        (["scale", "sts", "set", "--replicas=0"], "was scaled from 1 to 0 pods meanwhile"),
    ],
    ids=["deleted", "scaled"],
)
def test_somebody_else_meanwhile(
    namespace: Namespace, command: list[str], words: str, tmp_path: Path
) -> None:
    """It is said, no verdict is given, and the markers are removed even if no pod is left."""
    document = _stateful_set("set")
    document["spec"]["replicas"] = 1
    namespace.apply(document)
    _wait(namespace)
    before = _pods(namespace, "set")[0]["metadata"]["uid"]

    def interfere(text: str) -> None:
        if text.startswith("deleting pod"):
            namespace.kubectl(*command)
            wait_until("it took effect", lambda: _changed(namespace, before), WAIT)

    verdict = _measure(namespace, "set", tmp_path, hook=interfere)
    assert (0, []) == (verdict.judged, verdict.found)
    assert [True] == [words in gap for gap in verdict.gaps], verdict.gaps
    namespace.kubectl("scale", "sts", "set", "--replicas=1")
    _wait(namespace)
    assert "deep\n" == _left(namespace, "set", "/data")


def _changed(namespace: Namespace, uid: str) -> bool:
    return [uid] != [pod["metadata"]["uid"] for pod in _pods(namespace, "set")]


@pytest.mark.parametrize(
    ("rules", "params", "judged", "words"),
    [
        ([LEASES], {}, 0, "needs the right to exec in pod"),
        ([LEASES, EXEC], {}, 0, "needs the right to DELETE"),
        ([LEASES, EXEC, DELETE], {"move": True}, 1, "not moved: PATCH /api/v1/nodes/"),
    ],
    ids=["exec", "delete", "cordon"],
)
def test_without_the_right(
    namespace: Namespace,
    rules: list[dict[str, Any]],
    params: dict[str, Any],
    judged: int,
    words: str,
    tmp_path: Path,
) -> None:
    """A 403 names the right; where the data does not depend on the node, it need not move."""
    kubeconfig = limited(namespace, tmp_path, rules)
    try:
        namespace.apply(
            _claim("orders"),
            _workload("claim", volumes=[({"mountPath": "/orders"}, _on_claim("orders"))]),
        )
        _wait(namespace)
        before = _pods(namespace, "claim")[0]["metadata"]["uid"]
        verdict = _measure(namespace, "claim", tmp_path, kubeconfig, **params)
    finally:
        unlimited(namespace)
    assert (judged, []) == (verdict.judged, verdict.found), verdict.gaps
    assert words in "\n".join([*verdict.gaps, verdict.figures])
    assert bool(judged) != (before == _pods(namespace, "claim")[0]["metadata"]["uid"])
    assert "" == _left(namespace, "claim", "/orders")

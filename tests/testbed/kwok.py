"""Fake nodes for scale: on the real API server, but nothing runs on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from tests.testbed.builds import binary
from tests.testbed.processes import spawn, stop
from tests.testbed.shell import in_namespace, wait_until

if TYPE_CHECKING:
    from tests.testbed.cluster import Cluster

SELECTOR = "type=kwok"
STAGES = ("node-initialize.yaml", "pod-ready.yaml", "pod-complete.yaml", "pod-delete.yaml")
_BATCH = 250


@contextmanager
def kwok_nodes(cluster: Cluster, number: int) -> Iterator[list[str]]:
    """The names of so many fake nodes.

    They are labelled `type=kwok` and tainted, so that only pods that tolerate
    `kwok.x-k8s.io/node` go there; delete those pods before the context ends.
    """
    names = [f"kwok-{index:05d}" for index in range(number)]
    with _only_one(cluster):
        _clear(cluster)
        _start(cluster)
        try:
            _create(cluster, names)
            wait_until(
                f"{number} fake nodes are ready", lambda: _ready(cluster) >= number, 120, 0.5
            )
            yield names
        finally:
            _clear(cluster)


def remove_fake_nodes(cluster: Cluster) -> None:
    """Remove what a killed run left; nodes that somebody uses stay."""
    with suppress(Timeout), _only_one(cluster).acquire(timeout=0):
        _clear(cluster)


def _only_one(cluster: Cluster) -> FileLock:
    return FileLock(cluster.site.folder.with_suffix(".kwok.lock"))


def _start(cluster: Cluster) -> None:
    kwok, kubeconfig = binary("kwok"), cluster.kubeconfig.with_name("kwok.conf")
    argv: list[str | Path] = [kwok, f"--kubeconfig={kubeconfig}", "--cidr=100.64.0.0/10"]
    argv += ["--manage-all-nodes=false"]
    argv += ["--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]
    argv += [f"--config={kwok.parent / stage}" for stage in STAGES]
    spawn(cluster.site, "kwok", in_namespace(cluster.site.label, argv))


def _create(cluster: Cluster, names: list[str]) -> None:
    batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: _create_batch(cluster, batch), batches))


def _create_batch(cluster: Cluster, names: list[str]) -> None:
    nodes = {"apiVersion": "v1", "kind": "List", "items": [_node(name) for name in names]}
    cluster.kubectl("create", "--validate=false", "-f", "-", input=json.dumps(nodes), timeout=300)


def _node(name: str) -> dict[str, Any]:
    zone = f"zone-{'abc'[int(name[-5:]) % 3]}"
    capacity = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "type": "kwok",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": zone,
            },
        },
        "spec": {
            "taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
        },
        "status": {"allocatable": capacity, "capacity": capacity},
    }


def _ready(cluster: Cluster) -> int:
    path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    found = cluster.kubectl("get", "nodes", "-l", SELECTOR, "-o", f"jsonpath={path}")
    return found.split().count("True")


def _clear(cluster: Cluster) -> None:
    # One request for all of them: kubectl would send one for each.
    path = f"/api/v1/nodes?labelSelector={quote(SELECTOR)}"
    cluster.kubectl("delete", "--raw", path, timeout=300)
    stop(cluster.site, "kwok")

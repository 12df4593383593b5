"""Workloads that show what keeps a node from being drained, and what a drain of one then does.

`python -m tests.live.drain_specimens` records pods, nodes, and what the scheduler makes of a drain,
for the unit tests of placement.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.conftest import Namespace
from tests.testbed import kubernetes
from tests.testbed.shell import wait_until

RECORDING = Path(__file__).parents[1] / "unit" / "recorded" / "kubernetes" / "drain.json"
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
DRAINED = "node2"
HARD = "requiredDuringSchedulingIgnoredDuringExecution"
PRIORITY = "containerpolicy-test-urgent"
# What the finding of each workload has to say; the others may be drained.
EXPECTED = {
    "held": "eviction of pod",
    "twice": "more than one PodDisruptionBudget (again, twice)",
    "pinned": "it is pinned to node2",
    "zone-b": "its node selector or affinity excludes them",
    "apart": "podAntiAffinity over kubernetes.io/hostname",
    "zones": "topology spread over topology.kubernetes.io/zone",
    "big": "too little memory (needs 13Gi",
    "port": "host port 18481 is taken",
    "local": "of claim data-local-0 can't be mounted there",
    "low": "when a drain moves pods of higher priority there: too little memory",
    "bare": "nothing makes pod bare again",
}


def selecting(name: str) -> dict[str, Any]:
    """A label selector of one workload's pods."""
    return {"matchLabels": {"app": name}}


def workload(
    name: str, replicas: int = 1, *, kind: str = "Deployment", container: Any = None, **spec: Any
) -> dict[str, Any]:
    """A workload whose pods do nothing; `spec` is added to the pod's."""
    app = {"name": "app", "image": "testbed/pause:1", **(container or {})}
    pod = {"terminationGracePeriodSeconds": 0, "containers": [app], **spec}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    whole = {"replicas": replicas, "selector": selecting(name), "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": whole}


def budget(name: str, app: str = "", **rule: Any) -> dict[str, Any]:
    """A PodDisruptionBudget."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": selecting(app or name), **rule},
    }


def requests(**amounts: str) -> dict[str, Any]:
    """A container's part that requests resources."""
    return {"resources": {"requests": amounts}}


def stateful(name: str) -> dict[str, Any]:
    """A StatefulSet of one pod, with a claim on a volume of its node."""
    mounts = [{"name": "data", "mountPath": "/data"}]
    made = workload(name, kind="StatefulSet", container={"volumeMounts": mounts})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    made["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": claim}]
    return made


def specimens() -> Iterator[dict[str, Any]]:
    """Every workload, with its budgets, in an order in which all find a place."""
    yield {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRIORITY},
        "value": 1000,
    }
    yield from (workload("free", 2), workload("anchor"), workload("allowed", 2))
    yield from (budget("allowed", minAvailable=1), workload("held", 2))
    yield from (budget("held", minAvailable=2), workload("twice", 2))
    yield from (budget("twice", minAvailable=1), budget("again", "twice", maxUnavailable=1))
    yield workload("pinned", nodeSelector={HOSTNAME: DRAINED})
    yield workload("zone-b", affinity=_on_nodes(ZONE, "zone-b"))
    yield workload("apart", 3, affinity=_pods("podAntiAffinity", "apart"))
    yield workload("beside", affinity=_pods("podAffinity", "anchor"))
    yield workload("zones", 3, **_spread("zones"))
    yield workload("zones-honoring", 3, **_spread("zones-honoring", nodeTaintsPolicy="Honor"))
    yield workload("port", 3, container={"ports": [{"containerPort": 80, "hostPort": 18481}]})
    yield stateful("local")
    yield workload("big", 3, container=requests(memory="13Gi"))
    low = _on_nodes(HOSTNAME, "node1", "node3") | _pods("podAntiAffinity", "low")
    yield workload("low", 2, container=requests(memory="9Gi"), affinity=low)
    urgent = requests(memory="9Gi")
    yield workload("urgent", container=urgent, priorityClassName=PRIORITY, **_only_later())
    bare = workload("bare")["spec"]["template"]
    yield {"apiVersion": "v1", "kind": "Pod", **bare, "metadata": {"name": "bare"}}


def _only_later() -> dict[str, Any]:
    return {}


def _on_nodes(key: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    return {"nodeAffinity": {HARD: {"nodeSelectorTerms": [term]}}}


def _pods(kind: str, app: str) -> dict[str, Any]:
    return {kind: {HARD: [{"topologyKey": HOSTNAME, "labelSelector": selecting(app)}]}}


def _spread(app: str, **more: Any) -> dict[str, Any]:
    rule = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    return {"topologySpreadConstraints": [{**rule, "labelSelector": selecting(app), **more}]}

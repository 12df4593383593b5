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

import msgspec

from pytest_containerpolicy.targets.kubernetes_documents import Kind
from pytest_containerpolicy.targets.kubernetes_scheduling import CLAIMS, NODES, PODS, VOLUMES
from tests.live.conftest import Namespace
from tests.live.workloads import workload_document
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
    return workload_document(name, pod, kind=kind, replicas=replicas)


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
    """A StatefulSet of one pod, with a claim on a volume of the drained node."""
    mounts = [{"name": "data", "mountPath": "/data"}]
    made = workload(name, kind="StatefulSet", container={"volumeMounts": mounts})
    preferred = {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [DRAINED]}]}
    kind = "preferredDuringSchedulingIgnoredDuringExecution"
    made["spec"]["template"]["spec"]["affinity"] = {
        "nodeAffinity": {kind: [{"weight": 100, "preference": preferred}]}
    }
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
    template = workload("bare")["spec"]["template"]
    yield {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "bare"}}


def low() -> dict[str, Any]:
    """A workload whose pods have to make way first: they are the youngest beside `big`."""
    affinity = _on_nodes(HOSTNAME, "node1", "node3") | _pods("podAntiAffinity", "low")
    return workload("low", 2, container=requests(memory="9Gi"), affinity=affinity)


def urgent() -> dict[str, Any]:
    """A workload for which pods of `low` have to make way, once it can't stay where it is."""
    room = requests(memory="9Gi")
    return workload("urgent", container=room, priorityClassName=PRIORITY)


def _on_nodes(key: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    return {"nodeAffinity": {HARD: {"nodeSelectorTerms": [term]}}}


def _pods(kind: str, app: str) -> dict[str, Any]:
    return {kind: {HARD: [{"topologyKey": HOSTNAME, "labelSelector": selecting(app)}]}}


def _spread(app: str, **more: Any) -> dict[str, Any]:
    rule = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    return {"topologySpreadConstraints": [{**rule, "labelSelector": selecting(app), **more}]}


@contextmanager
def deployed(namespace: Namespace) -> Iterator[None]:
    """All specimens, ready."""
    try:
        for documents_ in (list(specimens()), [low()], [urgent()]):
            namespace.apply(*documents_)
            for one in documents_:
                if one["apiVersion"] == "apps/v1":
                    name = f"{one['kind']}/{one['metadata']['name']}"
                    namespace.kubectl("rollout", "status", name, "--timeout=60s")
        yield
    finally:
        namespace.kubectl("delete", "priorityclass", PRIORITY, "--ignore-not-found")


def really_stranded(namespace: Namespace) -> set[str]:
    """The workloads of which a pod finds no place once a node is emptied of the namespace's pods.

    The node takes pods again afterwards.
    """
    namespace.kubectl("cordon", DRAINED)
    try:
        where = f"spec.nodeName={DRAINED}"
        namespace.kubectl("delete", "pods", "--field-selector", where, "--wait=true")
        stranded: list[set[str] | None] = [None, None]

        def is_settled() -> bool:
            stranded[:] = stranded[1], _stranded(namespace)
            return stranded[0] is not None and stranded[0] == stranded[1]

        wait_until("all pods are scheduled or can't be", is_settled, 60, 1)
        return stranded[1] or set()
    finally:
        namespace.kubectl("uncordon", DRAINED)


def _stranded(namespace: Namespace) -> set[str] | None:
    """The workloads with a pod that can't be scheduled; None while that is not known of all."""
    pods = [p for p in documents(namespace, "pods") if "deletionTimestamp" not in p["metadata"]]
    for one in documents(namespace, "deployments,statefulsets"):
        own = [pod for pod in pods if _app(pod) == one["metadata"]["name"]]
        known = [pod for pod in own if pod["spec"].get("nodeName") or _is_unschedulable(pod)]
        if len(known) != one["spec"]["replicas"]:
            return None
    if any("nodeName" not in pod["spec"] for pod in pods if _app(pod) == "urgent"):
        return None
    return {_app(pod) for pod in pods if _is_unschedulable(pod)}


def _is_unschedulable(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(condition.get("reason") == "Unschedulable" for condition in conditions)


def _app(pod: dict[str, Any]) -> str:
    return str(pod["metadata"].get("labels", {}).get("app", ""))


def documents(namespace: Namespace, kinds: str) -> list[dict[str, Any]]:
    """What the API server says of the objects of some kinds."""
    items: list[dict[str, Any]] = json.loads(namespace.kubectl("get", kinds, "-o", "json"))["items"]
    return items


def _record() -> None:
    name = f"record-{int(time.time())}"
    with kubernetes() as cluster:
        cluster.kubectl("create", "namespace", name)
        namespace = Namespace(cluster, name)
        with deployed(namespace):
            found = {kind.plural: _read(namespace, kind) for kind in (NODES, PODS, CLAIMS, VOLUMES)}
            found["stranded"] = sorted(really_stranded(namespace))
        cluster.kubectl("delete", "namespace", name, "--wait=false")
    lines = ",\n".join(f"{json.dumps(kind)}: {_lines(found[kind])}" for kind in found)
    RECORDING.write_text(f"{{\n{lines}\n}}\n".replace(name, "shop"))


def _read(namespace: Namespace, kind: Kind) -> list[Any]:
    items = documents(namespace, kind.plural)
    if kind is VOLUMES:
        items = [v for v in items if v["spec"]["claimRef"]["namespace"] == namespace.name]
    return [msgspec.to_builtins(msgspec.convert(item, kind.type)) for item in items]


def _lines(items: list[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


if __name__ == "__main__":
    _record()

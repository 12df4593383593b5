"""Where runs are killed: something small that runs, and what must be as before afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pytest_containerpolicy.experiments.lab import RUN_LABEL
from pytest_containerpolicy.experiments.swarm_watch import is_up
from tests.live.compose_projects import project
from tests.live.killed_runs import Place
from tests.live.swarm_specimens import SECOND, create_service, overlay_network
from tests.live.workloads import workload_document
from tests.testbed import Cluster, Engine
from tests.testbed.shell import wait_until

IMAGE = "testbed/server:1"
LABELS = {"app": "web"}
CONTAINER = {
    "name": "app",
    "image": IMAGE,
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
    "resources": {"requests": {"cpu": "5m"}},
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
}
QUICK = {"Parallelism": 1, "Monitor": SECOND, "FailureAction": "pause"}


def deployment(claim: bool = False) -> dict[str, Any]:
    """Two copies of a server, or one with a claim."""
    container: dict[str, Any] = dict(CONTAINER)
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 5}
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return workload_document(
        "web",
        {**spec, "containers": [container]},
        replicas=1 if claim else 2,
        strategy={"type": "Recreate"} if claim else {},
    )


@contextmanager
def cluster_place(
    cluster: Cluster, folder: Path, more: tuple[dict[str, Any], ...]
) -> Iterator[Place]:
    """A namespace with a Deployment and its Service, and `more` objects."""
    name = f"killed-{folder.name}"
    has_claim = any(one["kind"] == "PersistentVolumeClaim" for one in more)
    documents = [deployment(has_claim), SERVICE, *more]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("-n", name, "apply", "-f", "-", input=items)
        cluster.kubectl("-n", name, "rollout", "status", "deployment/web", "--timeout=90s")
        query = f"kubeconfig={cluster.kubeconfig}&namespace={name}"
        yield Place(folder, f"k8s://?{query}", lambda runs: _cluster_state(cluster, name, runs))
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def _cluster_state(cluster: Cluster, namespace: str, runs: set[str]) -> object:
    """What must be as before: pods of the workload only and all ready, no lease, no node aside."""

    def get(*what: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", *what, "-o", "json"))[
            "items"
        ]
        return items

    found = get("-n", namespace, "deployments")[0]
    pods = get("-n", namespace, "pods")
    ours = get("pods", "-A", "-l", RUN_LABEL)
    return {
        "image": found["spec"]["template"]["spec"]["containers"][0]["image"],
        "replicas": found["spec"]["replicas"],
        # The Deployment's own count is a moment behind.
        "ready": sorted(_is_ready(pod) for pod in pods if _is_of_web(pod)),
        "others": [pod["metadata"]["name"] for pod in pods if not _is_of_web(pod)],
        "probers": [
            p["metadata"]["name"] for p in ours if p["metadata"]["labels"][RUN_LABEL] in runs
        ],
        "leases": [lease["metadata"]["name"] for lease in get("-n", namespace, "leases")],
        "cordoned": [
            node["metadata"]["name"]
            for node in get("nodes")
            if namespace in str(node["metadata"].get("annotations"))
        ],
        "markers": _markers(cluster, namespace, pods),
    }


def _is_of_web(pod: dict[str, Any]) -> bool:
    return bool(pod["metadata"]["labels"].get("app") == "web")


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _markers(cluster: Cluster, namespace: str, pods: list[dict[str, Any]]) -> list[str]:
    """Files that an experiment left in a volume of a running pod."""
    found = []
    for pod in pods:
        mounts = pod["spec"]["containers"][0].get("volumeMounts", ())
        if any(mount["mountPath"] == "/data" for mount in mounts):
            listed = cluster.kubectl(
                "-n", namespace, "exec", pod["metadata"]["name"], "--", "ls", "-A", "/data"
            )
            found += [name for name in listed.split() if "containerpolicy" in name]
    return found


@contextmanager
def compose_place(engine: Engine, folder: Path, text: str) -> Iterator[Place]:
    """A project that is up."""
    file = folder / "compose.yaml"
    file.write_text(text)
    with project(engine, file) as running, closing(engine.client()) as client:
        running.compose("up", "-d", "--wait")

        def state(runs: set[str]) -> object:
            words = ("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}}")
            return {
                "containers": running.compose(*words).splitlines(),
                "markers": _named(running.compose("exec", "web", "ls", "-A", "/data")),
                "left": _left(client.api, runs),
            }

        yield Place(folder, f"compose://{running.name}?host={engine.url}", state)


@contextmanager
def engine_place(engine: Engine, folder: Path) -> Iterator[Place]:
    """A container that nothing but its engine looks after."""
    name = f"killed-{folder.name}"
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(engine.client()))
        policy = {"Name": "always"}
        made = client.containers.run(IMAGE, name=name, detach=True, restart_policy=policy)
        undo.callback(made.remove, force=True)

        def state(runs: set[str]) -> object:
            found = client.api.inspect_container(name)
            return {
                "runs": (found["Id"], found["State"]["Status"]),
                "left": _left(client.api, runs),
            }

        yield Place(folder, f"engine+{engine.url}?workload={name}", state)


@contextmanager
def swarm_place(manager: Engine, folder: Path, where: str = "") -> Iterator[Place]:
    """A service of one task with a volume, on the manager that is asked unless told otherwise."""
    name = f"killed-{folder.name}"
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(manager.client())).api
        network = undo.enter_context(overlay_network(api, name))
        identity = create_service(
            api, name, _service(name, network, where or f"node.hostname == {manager.name}")
        )
        undo.callback(api.remove_service, identity)
        wait_until(name, lambda: _running(api, name) == 1, 60)
        yield Place(
            folder,
            f"swarm+{manager.url}?workload={name}",
            lambda runs: _swarm_state(api, name, runs),
        )


def _service(name: str, network: str, where: str) -> dict[str, Any]:
    volume = {"Type": "volume", "Source": name, "Target": "/data"}
    return {
        "TaskTemplate": {
            "ContainerSpec": {"Image": IMAGE, "StopGracePeriod": 2 * SECOND, "Mounts": [volume]},
            "RestartPolicy": {"Condition": "any", "Delay": SECOND // 2},
            "Placement": {"Constraints": [where]},
            "Networks": [{"Target": network}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "dnsrr"},
        "UpdateConfig": QUICK,
        "RollbackConfig": QUICK,
    }


def _swarm_state(api: Any, name: str, runs: set[str]) -> object:
    spec = api.inspect_service(name)["Spec"]
    # A forced update is a new spec that says the same.
    spec["TaskTemplate"].pop("ForceUpdate", None)
    label = {"label": f"com.docker.swarm.service.name={name}"}
    listed = [_inside(api, row["Id"]) for row in api.containers(filters=label)]
    return {
        "spec": spec,
        "running": _running(api, name),
        "aside": [
            n["ID"] for n in api.nodes() if (n["Spec"].get("Labels") or {}).get(RUN_LABEL) in runs
        ],
        "markers": [marker for text in listed for marker in _named(text)],
        "left": _left(api, runs)
        + [one["Spec"]["Name"] for one in api.services() if _is_of(one["Spec"], runs)]
        + [one["Spec"]["Name"] for one in api.configs() if _is_of(one["Spec"], runs)],
    }


def _inside(api: Any, container: str) -> str:
    made = api.exec_create(container, ["ls", "-A", "/data"])
    return str(api.exec_start(made["Id"]).decode())


def _running(api: Any, service: str) -> int:
    return sum(map(is_up, api.tasks({"service": service})))


def _left(api: Any, runs: set[str]) -> list[str]:
    """Containers and volumes that runs of ours left on a daemon."""
    containers = [one["Names"][0] for one in api.containers(all=True) if _is_of(one, runs)]
    volumes = [one["Name"] for one in api.volumes()["Volumes"] or () if _is_of(one, runs)]
    return containers + volumes


def _is_of(document: dict[str, Any], runs: set[str]) -> bool:
    return (document.get("Labels") or {}).get(RUN_LABEL) in runs


def _named(listed: str) -> list[str]:
    return [name for name in listed.split() if "containerpolicy" in name]

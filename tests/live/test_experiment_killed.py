"""Runs that are killed at every step of an experiment, and what comes after puts right.

Each experiment runs on a namespace or project of its own, again and again, and is killed with
SIGKILL after each change that it makes, until it gets through.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.compose_projects import project
from tests.testbed import Cluster, Engine
from tests.testbed.shell import wait_until

POLICY = """
id: {id}
title: t
summary: are at fault
severity: low
platforms: [kubernetes, compose, swarm]
evidence: measured
experiment: {experiment}
params: {params}
why: w.
fix: f.
"""
MOST_STEPS = 40
SIDE_BY_SIDE = 5
REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Series:
    """One experiment with quick params, and the environment that it is killed in."""

    experiment: str
    params: dict[str, Any]
    environment: str = "kubernetes"
    more: tuple[dict[str, Any], ...] = ()


LABELS = {"app": "web"}
CONTAINER = {
    "name": "app",
    "image": "testbed/server:1",
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
    "resources": {"requests": {"cpu": "5m"}},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
}
COMPOSE = """
services:
  web:
    image: testbed/server:1
    stop_grace_period: 2s
    restart: always
    volumes: [data:/data]
volumes: {data: {}}
"""


def _deployment(claim: bool) -> dict[str, Any]:
    container: dict[str, Any] = dict(CONTAINER)
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 5}
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    template = {"metadata": {"labels": LABELS}, "spec": {**spec, "containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": LABELS},
        "spec": {
            "replicas": 1 if claim else 2,
            "strategy": {"type": "Recreate"} if claim else {},
            "selector": {"matchLabels": LABELS},
            "template": template,
        },
    }


SERIES = {
    "rollout": Series("no_downtime", {"rate": 20, "settle": 0.5}),
    "rollback": Series("bad_revision_is_harmless", {"rate": 20, "seconds": 1}),
    "drain": Series("drain_without_downtime", {"rate": 20}),
    "survival": Series("data_survives", {}, more=(CLAIM,)),
    "stop": Series("stops_in_time", {}),
    "crash": Series("recovers_from_crash", {"stays": 1}),
    "compose-rollout": Series("no_downtime", {"rate": 20, "settle": 0.5}, "compose"),
    "compose-survival": Series("data_survives", {}, "compose"),
    "compose-stop": Series("stops_in_time", {}, "compose"),
}


class Place:
    """Where a series runs: its target, what is in order there, and a folder for its runs."""

    def __init__(self, folder: Path, target: str, state: Callable[[], object]) -> None:
        self.folder = folder
        self.target = target
        self.state = state

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours with the series' own journal."""
        return subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:]],
            cwd=self.folder,
            env={
                **os.environ,
                **environment,
                "XDG_STATE_HOME": str(self.folder / "state"),
                "PYTHONPATH": str(REPO),
            },
            capture_output=True,
            text=True,
            timeout=300,
        )


@contextmanager
def _cluster_place(cluster: Cluster, series: Series, folder: Path) -> Iterator[Place]:
    name = f"killed-{folder.name}"
    documents = [_deployment(bool(series.more)), SERVICE, *series.more]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("-n", name, "apply", "-f", "-", input=items)
        cluster.kubectl("-n", name, "rollout", "status", "deployment/web", "--timeout=90s")
        query = f"kubeconfig={cluster.kubeconfig}&namespace={name}&workload=web"
        yield Place(folder, f"k8s://?{query}", lambda: _cluster_state(cluster, name))
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def _cluster_state(cluster: Cluster, namespace: str) -> object:
    """What must be as before: pods of the workload only and all ready, no lease, no node aside."""

    def get(*what: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", *what, "-o", "json"))[
            "items"
        ]
        return items

    deployment = get("-n", namespace, "deployments")[0]
    pods = get("-n", namespace, "pods")
    return {
        "image": deployment["spec"]["template"]["spec"]["containers"][0]["image"],
        "replicas": deployment["spec"]["replicas"],
        "ready": deployment["status"].get("readyReplicas", 0),
        "others": [
            p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get("app") != "web"
        ],
        "leases": [lease["metadata"]["name"] for lease in get("-n", namespace, "leases")],
        "cordoned": [
            node["metadata"]["name"]
            for node in get("nodes")
            if namespace in str(node["metadata"].get("annotations"))
        ],
        "markers": _markers(cluster, namespace, pods),
    }


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
def _compose_place(engine: Engine, folder: Path) -> Iterator[Place]:
    file = folder / "compose.yaml"
    file.write_text(COMPOSE)
    with project(engine, file) as running:
        running.compose("up", "-d", "--wait")
        target = f"compose://{running.name}?host={engine.url}"

        def state() -> object:
            rows = json.loads(
                f"[{','.join(running.compose('ps', '-a', '--format', 'json').split(chr(10))[:-1])}]"
            )
            listed = running.compose("exec", "web", "ls", "-A", "/data")
            return {
                "containers": [(row["Service"], row["State"]) for row in rows],
                "markers": [name for name in listed.split() if "containerpolicy" in name],
            }

        yield Place(folder, target, state)


def _killed_everywhere(place: Place, series: Series) -> list[str]:
    """Kill a run at each step; returns what was not as before after the next run's restoring."""
    before = place.state()
    problems: list[str] = []
    for step in range(1, MOST_STEPS):
        done = place.run(
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.live.kill_switch",
            "--cp-pack=pack",
            "--cp-select=upgrades/quick",
            "--cp-level=disrupt",
            "--cp-prober-image=testbed/python:1",
            f"--cp-target={place.target}",
            KILL_AT=str(step),
        )
        if done.returncode != -9:
            finished = done.returncode in (0, 1) and " error" not in done.stdout
            return problems if finished else [*problems, done.stdout + done.stderr]
        restored = place.run("containerpolicy", "restore")
        if restored.returncode:
            problems.append(f"step {step}: {restored.stderr}")
        try:
            wait_until("all is as before", lambda: place.state() == before, 60)
        except Exception:
            problems.append(f"step {step}: {place.state()}, before {before}")
    return [*problems, f"no end after {MOST_STEPS} steps"]


@pytest.fixture(scope="module")
def outcomes(
    testbed_cluster: Cluster, testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """What went wrong in each series; they run side by side, as most of it is waiting."""

    def carry_out(name: str) -> list[str]:
        series = SERIES[name]
        folder = tmp_path_factory.mktemp(name)
        policy = folder / "pack" / "upgrades" / "quick"
        policy.mkdir(parents=True)
        values = {"id": "upgrades/quick", "params": json.dumps(series.params)}
        (policy / "policy.yaml").write_text(POLICY.format(experiment=series.experiment, **values))
        with ExitStack() as stack:
            if series.environment == "compose":
                place = stack.enter_context(_compose_place(testbed_engine, folder))
            else:
                place = stack.enter_context(_cluster_place(testbed_cluster, series, folder))
            return _killed_everywhere(place, series)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(SERIES, pool.map(carry_out, SERIES), strict=True))


@pytest.mark.parametrize("name", SERIES)
def test_killed_at_every_step(name: str, outcomes: dict[str, list[str]]) -> None:
    """Whatever the step at which a run is killed, all is as before once it is restored."""
    assert [] == outcomes[name]

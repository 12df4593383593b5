"""A folder of Kubernetes manifests as a team writes them: 1,000 objects in 250 files.

usage: python -m tests.benchmarks.manifest_corpus FOLDER

Each file holds one application: a workload, its Service, a disruption budget or autoscaler, and a
NetworkPolicy or claim. The same seed gives the same bytes.
"""

import random
import sys
from pathlib import Path
from typing import Any

import yaml

FILES = 250
SEED = 20261123
_TEAMS = ("shop", "billing", "search", "media", "identity", "reports")
_LIMITS = (("250m", "128Mi"), ("500m", "256Mi"), ("1", "512Mi"), ("2", "2Gi"))


class _Dumper(yaml.CSafeDumper):
    """Writes everything out: people do not use anchors for equal labels."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_corpus(folder: Path, files: int = FILES, seed: int = SEED) -> int:
    """Write the corpus into a folder, one subfolder per team; the number of objects."""
    chance = random.Random(seed)  # noqa: S311 - a fixed seed is the point
    objects = 0
    for number in range(files):
        team = _TEAMS[number % len(_TEAMS)]
        application = _application(chance, team, f"app-{number:03}")
        file = folder / team / f"app-{number:03}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.dump_all(application, Dumper=_Dumper, sort_keys=False))
        objects += len(application)
    return objects


def _application(chance: random.Random, team: str, name: str) -> list[dict[str, Any]]:
    kind = chance.choice(("Deployment", "Deployment", "StatefulSet"))
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": team}
    guard = _budget(labels) if chance.random() < 0.5 else _autoscaler(kind, name)
    last = _claim() if kind == "StatefulSet" else _network_policy(labels)
    objects = [_workload(chance, kind, name, labels), _service(labels), guard, last]
    for manifest in objects:
        manifest["metadata"] = {"name": name, "namespace": team, "labels": labels}
    return objects


def _workload(
    chance: random.Random, kind: str, name: str, labels: dict[str, str]
) -> dict[str, Any]:
    pod = {
        "serviceAccountName": name,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001},
        "terminationGracePeriodSeconds": chance.choice((30, 60)),
        "containers": [_container(chance, f"{name}-{index}") for index in range(2)],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
    }
    spec = {
        "replicas": chance.randint(1, 6),
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {}, "spec": spec}


def _container(chance: random.Random, name: str) -> dict[str, Any]:
    cpu, memory = chance.choice(_LIMITS)
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
    return {
        "name": name,
        "image": f"registry.example.com/{name}:1.{chance.randint(0, 99)}.0",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": f"SETTING_{index}", "value": f"value {index}"} for index in range(4)],
        "resources": {
            "requests": {"cpu": cpu, "memory": memory},
            "limits": {"cpu": cpu, "memory": memory},
        },
        "readinessProbe": probe | {"timeoutSeconds": 2},
        "livenessProbe": probe | {"failureThreshold": 6},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app", "readOnly": True}],
    }


def _service(labels: dict[str, str]) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"selector": labels, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": spec}


def _budget(labels: dict[str, str]) -> dict[str, Any]:
    spec = {"minAvailable": "50%", "selector": {"matchLabels": labels}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {}, "spec": spec}


def _autoscaler(kind: str, name: str) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": 70}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
        "minReplicas": 2,
        "maxReplicas": 8,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {},
        "spec": spec,
    }


def _network_policy(labels: dict[str, str]) -> dict[str, Any]:
    spec = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": 8080}], "from": [{"podSelector": {}}]}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {},
        "spec": spec,
    }


def _claim() -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": spec}


if __name__ == "__main__":
    print(write_corpus(Path(sys.argv[1])), "objects")  # noqa: T201

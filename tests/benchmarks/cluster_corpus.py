"""A large cluster: 1,000 workloads of 50 namespaces that make 5,000 pods, about 20,000 objects.

The same seed gives the same objects. Replica sets, pods, endpoint slices and events are made by the
cluster's own controllers; the fake nodes are kwok's.
"""

import random
from collections.abc import Iterator
from typing import Any, Final

NAMESPACES: Final = 50
WORKLOADS: Final = 20  # per namespace
NODES: Final = 200
PODS: Final = 5_000
SEED: Final = 20261123
PREFIX: Final = "bench-"
_DEPLOYMENTS = 15
_STATEFUL = 3
_LIMITS = (("250m", "128Mi"), ("500m", "256Mi"), ("1", "512Mi"), ("2", "2Gi"))
_TOLERATIONS = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]

Object = dict[str, Any]


def namespaces() -> list[Object]:
    """The namespaces; everything else is in one of them."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{PREFIX}{number:02}"}}
        for number in range(NAMESPACES)
    ]


def objects(seed: int = SEED) -> Iterator[Object]:
    """What people would apply, in an order that the cluster accepts."""
    chance = random.Random(seed)  # noqa: S311 - a fixed seed is the point
    for namespace in namespaces():
        yield from _namespace_policies(namespace["metadata"]["name"])
        for number in range(WORKLOADS):
            yield from _application(chance, namespace["metadata"]["name"], number)


def _namespace_policies(namespace: str) -> Iterator[Object]:
    yield _object("v1", "ResourceQuota", namespace, "all", {"hard": {"pods": "1000"}})
    limits = [{"type": "Container", "defaultRequest": {"cpu": "10m", "memory": "16Mi"}}]
    yield _object("v1", "LimitRange", namespace, "all", {"limits": limits})
    deny = {"podSelector": {}, "policyTypes": ["Ingress"]}
    yield _object("networking.k8s.io/v1", "NetworkPolicy", namespace, "deny", deny)


def _application(chance: random.Random, namespace: str, number: int) -> Iterator[Object]:
    name = f"app-{number:02}"
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
    yield _config(chance, namespace, name)
    yield {
        **_object("v1", "ServiceAccount", namespace, name),
        "automountServiceAccountToken": False,
    }
    yield _workload(chance, namespace, name, labels, number)
    if number >= _DEPLOYMENTS + _STATEFUL:
        return
    yield _service(namespace, name, labels)
    if chance.random() < 0.6:
        yield _budget(namespace, name, labels)
    if chance.random() < 0.4:
        yield _network_policy(namespace, name, labels)
    if chance.random() < 0.3:
        yield _ingress(namespace, name)


def _object(api: str, kind: str, namespace: str, name: str, spec: Object | None = None) -> Object:
    metadata = {"name": name, "namespace": namespace}
    found: Object = {"apiVersion": api, "kind": kind, "metadata": metadata}
    return found if spec is None else {**found, "spec": spec}


def _workload(
    chance: random.Random, namespace: str, name: str, labels: dict[str, str], number: int
) -> Object:
    template = _pod_template(chance, name, labels)
    if number < _DEPLOYMENTS:
        spec = {"replicas": chance.randint(3, 8), "selector": {"matchLabels": labels}}
        spec["strategy"] = {"rollingUpdate": {"maxUnavailable": chance.choice((0, "25%"))}}
        return _object("apps/v1", "Deployment", namespace, name, {**spec, "template": template})
    if number < _DEPLOYMENTS + _STATEFUL:
        return _stateful_set(namespace, name, labels, template)
    template["spec"]["restartPolicy"] = "OnFailure"
    job = {"spec": {"template": template}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": job}
    return _object("batch/v1", "CronJob", namespace, name, spec)


def _stateful_set(namespace: str, name: str, labels: dict[str, str], template: Object) -> Object:
    spec = {
        "replicas": 5,
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": template,
    }
    return _object("apps/v1", "StatefulSet", namespace, name, spec)


def _pod_template(chance: random.Random, name: str, labels: dict[str, str]) -> Object:
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    spec = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": chance.choice((30, 60)),
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001},
        "tolerations": _TOLERATIONS,
        "nodeSelector": {"type": "kwok"},
        "topologySpreadConstraints": [_spread(labels)],
        "containers": [_container(chance, f"{name}-{index}") for index in range(2)],
        "volumes": [
            {"name": "config", "configMap": {"name": name}},
            {"name": "cache", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def _spread(labels: dict[str, str]) -> Object:
    return {
        "maxSkew": 5,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }


def _container(chance: random.Random, name: str) -> Object:
    cpu, memory = chance.choice(_LIMITS)
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
    return {
        "name": name,
        "image": f"registry.example.com/team/{name}:1.{chance.randint(0, 99)}.0",
        "args": ["--log-level=info", "--listen=:8080", f"--config=/etc/{name}/config.yaml"],
        "env": [{"name": f"SETTING_{number}", "value": f"value-{number}"} for number in range(8)],
        "ports": [{"name": "http", "containerPort": 8080}] if name.endswith("0") else [],
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {
            "requests": {"cpu": "10m", "memory": "16Mi"},
            "limits": {"memory": memory, "cpu": cpu},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": f"/etc/{name}", "readOnly": True},
            {"name": "cache", "mountPath": "/var/cache"},
        ],
    }


def _config(chance: random.Random, namespace: str, name: str) -> Object:
    data = {"config.yaml": "\n".join(f"key-{n}: {chance.randint(0, 10**9)}" for n in range(40))}
    return {**_object("v1", "ConfigMap", namespace, name), "data": data}


def _service(namespace: str, name: str, labels: dict[str, str]) -> Object:
    spec = {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return _object("v1", "Service", namespace, name, spec)


def _budget(namespace: str, name: str, labels: dict[str, str]) -> Object:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    return _object("policy/v1", "PodDisruptionBudget", namespace, name, spec)


def _network_policy(namespace: str, name: str, labels: dict[str, str]) -> Object:
    peer = {"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": namespace}}}
    spec = {
        "podSelector": {"matchLabels": labels},
        "ingress": [{"from": [peer], "ports": [{"port": 8080}]}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, spec)


def _ingress(namespace: str, name: str) -> Object:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"host": f"{name}.{namespace}.example.com", "http": {"paths": [path]}}
    return _object("networking.k8s.io/v1", "Ingress", namespace, name, {"rules": [rule]})

"""Kubernetes objects around the test server, as documents."""

from __future__ import annotations

from typing import Any


def pod(name: str, claim: str = "", env: dict[str, str] | None = None, **more: Any) -> Any:
    """A pod of the test server, with a claim at /data or settings on demand."""
    container = {
        "name": "server",
        "image": "testbed/server:1",
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        **more,
    }
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 2}
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    meta = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Pods of the test server, spread over the nodes."""
    spec = pod(name)["spec"]
    spec["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": name}},
        }
    ]
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }


def on_fake_nodes(document: dict[str, Any]) -> dict[str, Any]:
    """The same workload, for fake nodes only."""
    spec = document["spec"]["template"]["spec"]
    spec["tolerations"] = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    spec["nodeSelector"] = {"type": "kwok"}
    return document


def service(name: str) -> dict[str, Any]:
    """A Service on port 80 for the pods of that name."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def network_policy(peer: dict[str, Any]) -> dict[str, Any]:
    """Only this peer may reach the pods of `web`."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "only-some"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": [{"port": 8080}]}],
        },
    }

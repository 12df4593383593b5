"""Somebody who may read the whole test cluster, and do a few things in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.live.conftest import Namespace
from tests.live.kubernetes_access import account, kubeconfig_for

Rule = dict[str, Any]
LEASES: Rule = {
    "apiGroups": ["coordination.k8s.io"],
    "resources": ["leases"],
    "verbs": ["create", "delete", "get"],
}
EXEC: Rule = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}
DELETE: Rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]}
PROBERS: Rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "delete"]}
NODES: Rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}
_READING: Rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
_API = "rbac.authorization.k8s.io"


def limited(
    namespace: Namespace, folder: Path, rules: Sequence[Rule], everywhere: Sequence[Rule] = ()
) -> Path:
    """A kubeconfig of somebody with these rights in the namespace, and others in the cluster.

    They last until `unlimited` takes them away.
    """
    token = account(namespace, "limited")
    for prefix, granted in (("", rules), ("Cluster", (_READING, *everywhere))):
        namespace.apply(*_binding(namespace.name, prefix, granted))
    return kubeconfig_for(namespace.cluster, folder, {"token": token})


def unlimited(namespace: Namespace) -> None:
    """Take away what `limited` gave in the cluster."""
    for kind in ("clusterrole", "clusterrolebinding"):
        namespace.cluster.kubectl("delete", kind, namespace.name, "--ignore-not-found")


def _binding(name: str, prefix: str, rules: Sequence[Rule]) -> list[dict[str, Any]]:
    version, metadata, kind = f"{_API}/v1", {"name": name}, f"{prefix}Role"
    subject = {"kind": "ServiceAccount", "name": "limited", "namespace": name}
    role = {"apiVersion": version, "kind": kind, "metadata": metadata, "rules": list(rules)}
    reference = {"apiGroup": _API, "kind": kind, "name": name}
    binding = {"apiVersion": version, "kind": f"{kind}Binding", "metadata": metadata}
    return [role, binding | {"subjects": [subject], "roleRef": reference}]

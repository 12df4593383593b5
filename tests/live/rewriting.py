"""Admission that sends images to another registry, as clusters with a mirror of their own do.

https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.live.conftest import Namespace
from tests.testbed.shell import wait_until

_API = "admissionregistration.k8s.io/v1"
_FROM, _TO = "containerpolicy.invalid", "registry.invalid"


class Rewriting(NamedTuple):
    """Where images are rewritten: which objects, and the path of their pod's spec."""

    group: str
    resource: str
    spec: str


TEMPLATES = Rewriting("apps", "deployments", "spec.template.spec")
SOLE_PODS = Rewriting("", "pods", "spec")


@contextmanager
def rewritten(namespace: Namespace, where: Rewriting) -> Iterator[None]:
    """Images of the registry that does not exist get another one's name, in one namespace."""
    kubectl = namespace.cluster.kubectl
    documents = _policy(namespace.name, where)
    kubectl("apply", "-f", "-", input=json.dumps({"kind": "List", **documents}))
    try:
        wait_until("a policy that is in force", lambda: _is_in_force(namespace, where), 60)
        yield
    finally:
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            kubectl("delete", kind, namespace.name, "--ignore-not-found")


def _policy(name: str, where: Rewriting) -> dict[str, Any]:
    image = f"object.{where.spec}.containers[0].image"
    path = f"/{where.spec.replace('.', '/')}/containers/0/image"
    patch = (
        f'JSONPatch{{op: "replace", path: "{path}", value: {image}.replace("{_FROM}", "{_TO}")}}'
    )
    rule = {
        "apiGroups": [where.group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [where.resource],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "ours", "expression": f'{image}.startsWith("{_FROM}")'}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patch}]"}}],
        "reinvocationPolicy": "Never",
        "failurePolicy": "Fail",
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    metadata, kind = {"name": name}, "MutatingAdmissionPolicy"
    policy = {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}
    bound = {"policyName": name, "matchResources": here}
    binding = {"apiVersion": _API, "kind": f"{kind}Binding", "metadata": metadata, "spec": bound}
    return {"apiVersion": "v1", "items": [policy, binding]}


def _is_in_force(namespace: Namespace, where: Rewriting) -> bool:
    kind = "pod" if where is SOLE_PODS else "deployment"
    make = ("run",) if kind == "pod" else ("create", kind)
    trial = ("trial", f"--image={_FROM}/never", "--dry-run=server", "-o", "json")
    return _TO in namespace.kubectl(*make, *trial)

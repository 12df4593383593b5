"""Workloads, services and policies to probe the network of, and experiments run on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_containerpolicy.checks.registry import Judgement
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import account, kubeconfig_for
from tests.live.workloads import workload_document
from tests.testbed import Cluster
from tests.testbed.nodes import nodes_engine

PYTHON = "testbed/python:1"
Document = dict[str, Any]
HTTP = {"name": "http", "containerPort": 8080}


def deployment(name: str, image: str = "server", **container: Any) -> Document:
    """One pod of a test image; `container` replaces or adds fields of its container."""
    replicas = container.pop("replicas", 1)
    serves = image in ("server", "distroless")
    own = {
        "name": "app",
        "image": f"testbed/{image}:1",
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "96Mi"}},
        **({"ports": [HTTP]} if serves else {}),
        **({"readinessProbe": probe(8080)} if serves else {}),
        **container,
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [own]}
    return workload_document(name, spec, replicas=replicas)


def probe(port: int) -> Document:
    """A readiness probe that soon succeeds."""
    return {"httpGet": {"path": "/readyz", "port": port}, "periodSeconds": 1}


def policy(name: str, app: str = "", **spec: Any) -> Document:
    """A NetworkPolicy on one app, or on all."""
    selector = {"matchLabels": {"app": app}} if app else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector, **spec},
    }


def service(name: str, app: str = "", *ports: Document, **spec: Any) -> Document:
    """A Service of one app."""
    selector = {"selector": {"app": app}} if app else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": list(ports), **selector, **spec},
    }


def pods(app: str) -> Document:
    """The peer of a rule: the pods of one app."""
    return {"podSelector": {"matchLabels": {"app": app}}}


def ring(size: int) -> list[Document]:
    """Workloads in a ring, each with a policy: its neighbours only, one in and one out, and DNS."""
    names = [f"w{number:02}" for number in range(size)]
    policies = [
        policy(
            name,
            name,
            policyTypes=["Ingress", "Egress"],
            ingress=[{"from": [pods(names[n - 1])], "ports": [{"port": 8080}]}],
            egress=[
                {"to": [pods(names[(n + 1) % size])]},
                {"ports": [{"port": 53, "protocol": "UDP"}]},
            ],
        )
        for n, name in enumerate(names)
    ]
    images = ("server", "distroless")
    return [*(deployment(name, images[n % 2]) for n, name in enumerate(names)), *policies]


def started(namespace: Namespace, *documents: Document) -> None:
    """Create objects and wait for their pods."""
    namespace.apply(*documents)
    namespace.wait("condition=Available", "deployments", "--all")


class Trial:
    """What an experiment said of a namespace, and the figures that it kept."""

    def __init__(self, judgement: Judgement, figures: list[str]) -> None:
        self.judged, self.gaps, self.figures = judgement.judged, judgement.gaps, figures
        self.findings = {f.ref.name: f.violation for f in judgement.findings}


def trial(
    namespace: Namespace,
    experiment: str,
    *,
    kubeconfig: Path | None = None,
    image: str = PYTHON,
    beside: str = "",
    progress: Callable[[str], None] = lambda _: None,
    read: Callable[[Model], Model] = lambda model: model,
    **params: Any,
) -> Trial:
    """Carry out an experiment on a namespace, as administrator or as somebody else.

    `beside` is a second namespace that the target names.
    """
    file = kubeconfig or namespace.cluster.kubeconfig
    second = f"&namespace={beside}" if beside else ""
    target = parse_target(f"k8s://?kubeconfig={file}&namespace={namespace.name}{second}")
    model = read(build_model(take_inventory(target, Timeouts())))
    options = LabOptions(level="probe", prober_image=image, progress=progress)
    lab = open_lab(target, Timeouts(), options)
    try:
        found = find_experiment(experiment)
        judgement = found.using(lab).judge(model, found.convert(params))
        return Trial(judgement, list(lab.figures))
    finally:
        lab.close()


def restricted(namespace: Namespace, folder: Path, *rights: str) -> Path:
    """The kubeconfig of somebody who may read all, and `VERB[,VERB] RESOURCE` in the namespace."""
    name = f"prober-{len(rights)}"
    token = account(namespace, name)
    subject = f"--serviceaccount={namespace.name}:{name}"
    kubectl, binding = namespace.cluster.kubectl, f"{namespace.name}-{name}"
    kubectl("create", "clusterrolebinding", binding, "--clusterrole=view", subject)
    uid = kubectl("get", "namespace", namespace.name, "-o", "jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace.name, "uid": uid}
    change = {"metadata": {"ownerReferences": [owner]}}
    # It goes when the namespace goes.
    kubectl("patch", "clusterrolebinding", binding, "-p", json.dumps(change))
    for number, right in enumerate(rights):
        verbs, resource = right.split()
        role = f"{name}-{number}"
        namespace.kubectl("create", "role", role, f"--verb={verbs}", f"--resource={resource}")
        namespace.kubectl("create", "rolebinding", role, f"--role={role}", subject)
    return kubeconfig_for(namespace.cluster, folder, {"token": token})


@contextmanager
def rule_on_nodes(cluster: Cluster, *rule: str) -> Iterator[None]:
    """A packet filter rule before all others on every node, as long as the context lasts."""
    client = nodes_engine(cluster.site).client()

    def change(how: str) -> None:
        for node in cluster.nodes:
            argv = ["iptables", "-t", "mangle", how, "FORWARD", *rule]
            code, output = client.containers.get(node.name).exec_run(argv)
            assert 0 == code, output

    change("-I")
    try:
        yield
    finally:
        change("-D")
        client.close()


def address_of(namespace: Namespace, app: str) -> str:
    """The address of an app's only pod."""
    items = json.loads(namespace.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
    return str(items[0]["status"]["podIP"])

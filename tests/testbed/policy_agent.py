"""A small network policy engine for the testbed: reads policies, filters packets on each node.

Without it policies are accepted and ignored, as in many a real cluster: that, too, is a case.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tests.testbed.nodes import nodes_engine
from tests.testbed.pki import client_certificate
from tests.testbed.policy_rules import TOP, Document, World, chains, pod_from
from tests.testbed.shell import TestbedError, run, succeeds

if TYPE_CHECKING:
    from tests.testbed.cluster import Cluster

PERIOD = 0.25
_PATHS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}


@contextmanager
def enforcing(cluster: Cluster) -> Iterator[None]:
    """Enforce from the first moment inside to the last; what a killed run left is replaced."""
    with _only_one(cluster):
        agent = Agent(cluster)
        agent.synchronise()
        thread = threading.Thread(target=agent.keep_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            agent.ending.set()
            thread.join(10)
            agent.clear()


@contextmanager
def ignoring(cluster: Cluster) -> Iterator[None]:
    """Keep others from enforcing, and remove what a killed agent left."""
    with _only_one(cluster):
        Agent(cluster).clear()
        yield


def stop_enforcing(cluster: Cluster) -> None:
    """Remove what a killed agent left; a living one keeps its rules."""
    with suppress(Timeout), _only_one(cluster).acquire(timeout=0):
        Agent(cluster).clear()


def _only_one(cluster: Cluster) -> FileLock:
    return FileLock(cluster.site.folder.with_suffix(".policy.lock"))


class Agent:
    """Compares the rules that should be with those that are, four times a second."""

    def __init__(self, cluster: Cluster) -> None:
        """Find the nodes' network namespaces."""
        self.cluster = cluster
        self.ending = threading.Event()
        self.applied: dict[str, dict[str, list[str]]] = {}
        self.processes = _node_processes(cluster)
        self.context = _tls(cluster)

    def keep_on(self) -> None:
        """Follow the cluster until told to end; one failed look is not the end."""
        while not self.ending.wait(PERIOD):
            try:
                self.synchronise()
            except (OSError, TestbedError, http.client.HTTPException, ValueError):
                continue

    def synchronise(self) -> None:
        """Bring every node's rules in line with the cluster's policies as they are now."""
        world = self._world()
        for node in self.processes:
            wanted = chains(world, node)
            if self.applied.get(node) != wanted:
                self._apply(node, wanted)
                self.applied[node] = wanted

    def clear(self) -> None:
        """Stop enforcing."""
        for node in self.processes:
            hook = ["iptables", "-t", "mangle", "-D", "FORWARD", "-j", TOP]
            succeeds(*self._inside(node), *hook)
            self._apply(node, {}, hook=False)

    def _apply(self, node: str, wanted: dict[str, list[str]], hook: bool = True) -> None:
        stale = self._present(node) - set(wanted)
        lines = ["*mangle", *(f":{name} - [0:0]" for name in sorted(stale | set(wanted)))]
        lines += [f"-A {name} {rule}" for name, rules in wanted.items() for rule in rules]
        lines += [*(f"-X {name}" for name in sorted(stale)), "COMMIT", ""]
        self._enter(node, "iptables-restore", "--noflush", stdin="\n".join(lines))
        check = ["iptables", "-t", "mangle", "-C", "FORWARD", "-j", TOP]
        if hook and not succeeds(*self._inside(node), *check):
            self._enter(node, "iptables", "-t", "mangle", "-I", "FORWARD", "-j", TOP)

    def _present(self, node: str) -> set[str]:
        rules = self._enter(node, "iptables", "-t", "mangle", "-S").splitlines()
        return {line.split()[1] for line in rules if line.startswith("-N CPT-")}

    def _enter(self, node: str, *argv: str, stdin: str | None = None) -> str:
        return run(*self._inside(node), *argv, stdin=stdin)

    def _inside(self, node: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.processes[node]}/ns/net"]

    def _world(self) -> World:
        address = self.cluster.site.address
        link = http.client.HTTPSConnection(address, 6443, context=self.context, timeout=5)
        try:
            found = {name: _items(link, path) for name, path in _PATHS.items()}
        finally:
            link.close()
        pods = [pod for document in found["pods"] if (pod := pod_from(document))]
        metas = [namespace["metadata"] for namespace in found["namespaces"]]
        labels = {meta["name"]: meta.get("labels", {}) for meta in metas}
        return World(pods, labels, found["policies"])


def _items(link: http.client.HTTPSConnection, path: str) -> list[Document]:
    link.request("GET", path, headers={"Accept": "application/json"})
    answer = link.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise TestbedError(f"{path}: {answer.status}: {body[:300]!r}")
    items: list[Document] = json.loads(body)["items"]
    return items


def _tls(cluster: Cluster) -> ssl.SSLContext:
    pki = cluster.kubeconfig.parent
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(str(client_certificate(pki, "policy-agent")))
    return context


def _node_processes(cluster: Cluster) -> dict[str, int]:
    client = nodes_engine(cluster.site).client()
    try:
        return {
            node.name: client.api.inspect_container(node.name)["State"]["Pid"]
            for node in cluster.nodes
        }
    finally:
        client.close()

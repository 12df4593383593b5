"""A Kubernetes cluster: a real control plane, three real nodes, DNS, metrics and storage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.builds import HERE, binary
from tests.testbed.control_plane import (
    PROCESSES,
    start_api,
    start_controllers,
    start_provisioner,
    wait_for_api,
)
from tests.testbed.kwok import kwok_nodes, remove_fake_nodes
from tests.testbed.layout import Site
from tests.testbed.lease import KEPT, holders, leased
from tests.testbed.network import isolated
from tests.testbed.nodes import NODES, Node, all_nodes, pod_network, start_nodes
from tests.testbed.pki import CONTEXT, ensure_pki
from tests.testbed.policy_agent import enforcing, ignoring, stop_enforcing
from tests.testbed.processes import running
from tests.testbed.shell import run, succeeds, wait_until
from tests.testbed.sweep import sweep

SITE = Site("kubernetes")


@dataclass(frozen=True)
class Cluster:
    """A running cluster and the ways to talk to it."""

    site: Site

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.site.folder / "pki" / "admin.conf"

    @property
    def context(self) -> str:
        """The only context in it."""
        return CONTEXT

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.site.address}:6443"

    @property
    def audit_log(self) -> Path:
        """One JSON line per request of a client, written before the request is answered."""
        return self.site.folder / "audit.log"

    @property
    def nodes(self) -> list[Node]:
        """The three real nodes."""
        return all_nodes(self.site)

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - the word of subprocess.run
        timeout: float = 120,
    ) -> str:
        """What kubectl prints; as administrator."""
        command: list[str | Path] = [binary("kubectl"), "--kubeconfig", self.kubeconfig, *args]
        return run(*command, stdin=input, timeout=timeout)

    def kwok(self, nodes: int) -> AbstractContextManager[list[str]]:
        """Fake nodes for scale, as long as the context lasts."""
        return kwok_nodes(self, nodes)

    def enforce_network_policies(self) -> AbstractContextManager[None]:
        """Enforce NetworkPolicies as long as the context lasts; otherwise nothing does."""
        return enforcing(self)

    def ignore_network_policies(self) -> AbstractContextManager[None]:
        """Nobody else on this machine enforces NetworkPolicies as long as the context lasts."""
        return ignoring(self)


@contextmanager
def kubernetes() -> Iterator[Cluster]:
    """The cluster, reused when it is up already."""
    with leased(SITE, lambda: cluster_up(SITE), lambda: start_cluster(SITE), lambda: sweep(SITE)):
        cluster = Cluster(SITE)
        if not _shared():
            stop_enforcing(cluster)
            remove_fake_nodes(cluster)
        yield cluster


def _shared() -> bool:
    """Whether other processes use the cluster now: what they have put into force is theirs."""
    own = f"{os.getpid()}-"
    return any(holder != KEPT and not holder.startswith(own) for holder in holders(SITE))


def cluster_up(site: Site) -> bool:
    """Whether all daemons run and the API server answers."""
    if not all(running(site, name) for name in (*PROCESSES, "dockerd")):
        return False
    admin = Cluster(site).kubeconfig
    return succeeds(binary("kubectl"), "--kubeconfig", admin, "get", "--raw", "/readyz")


def start_cluster(site: Site) -> None:
    """Start everything that can start at once at once, and wait for nodes and DNS."""
    pods = pod_network(site)
    pki = ensure_pki(site, pods, list(NODES))
    isolated(site)
    with ThreadPoolExecutor(2) as pool:
        nodes = pool.submit(start_nodes, site, pki)
        start_api(site, pki)
        wait_for_api(site, pki)
        start_controllers(site, pki, pods)
        _install(Cluster(site))
        start_provisioner(site, pki)
        nodes.result()
    _wait_for_nodes(Cluster(site))
    _wait_for_dns(Cluster(site))


def _install(cluster: Cluster) -> None:
    for name in ("cluster", "storage", "coredns", "metrics-server"):
        cluster.kubectl("apply", "-f", str(HERE / "manifests" / f"{name}.yaml"))


def _wait_for_nodes(cluster: Cluster) -> None:
    def ready() -> bool:
        nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
        return sum(_is_ready(node["status"]["conditions"]) for node in nodes) == len(NODES)

    wait_until("three nodes are Ready", ready, 60, pause=0.3)
    for node in cluster.nodes:
        spec = json.dumps({"spec": {"podCIDR": node.pods, "podCIDRs": [node.pods]}})
        cluster.kubectl("patch", "node", node.name, "-p", spec)


def _is_ready(conditions: list[dict[str, str]]) -> bool:
    return {"Ready": "True"}.items() <= {c["type"]: c["status"] for c in conditions}.items()


def _wait_for_dns(cluster: Cluster) -> None:
    cluster.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")

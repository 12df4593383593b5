"""The cluster's nodes: containers of an engine of their own, each a whole node inside.

The engine is not the one that tests judge: its containers must not appear in their inventory.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.builds import HERE, folder_of
from tests.testbed.engine import Engine, load_images, start_daemon
from tests.testbed.layout import Site
from tests.testbed.network import ip
from tests.testbed.node_seed import copy_seed
from tests.testbed.shell import run

NODES = ("node1", "node2", "node3")
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/alternatives", "/etc/ld.so.cache")


@dataclass(frozen=True)
class Node:
    """One node: its number decides its addresses and its zone."""

    site: Site
    number: int

    @property
    def name(self) -> str:
        """Its host name and its name in the cluster."""
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """Where the API server and the other nodes reach it."""
        return f"{self.site.subnet(1)}.{10 + self.number}"

    @property
    def pods(self) -> str:
        """The addresses of its pods."""
        return f"{self.site.subnet(8 + self.number)}.0/24"

    @property
    def zone(self) -> str:
        """Its availability zone: a letter per node."""
        return f"zone-{'abc'[self.number - 1]}"

    @property
    def folder(self) -> Path:
        """What it keeps on disk."""
        return self.site.folder / "nodes" / self.name


def all_nodes(site: Site) -> list[Node]:
    """The nodes of the cluster."""
    return [Node(site, number) for number in range(1, len(NODES) + 1)]


def pod_network(site: Site) -> str:
    """The network that holds every node's pods."""
    return f"{site.subnet(8)}.0/21"


def start_nodes(site: Site, pki: Path) -> None:
    """Start the engine, the network and the nodes; they join as soon as the API server answers."""
    engine = nodes_engine(site)
    with ThreadPoolExecutor(3) as pool:
        copies = [pool.submit(copy_seed, n.folder / "containerd") for n in all_nodes(site)]
        start_daemon(site, engine, "current", site.subnet(0), "--iptables=false", "--ip-masq=false")
        load_images(engine, "node")
        client = engine.client()
        try:
            _create_network(client, site)
            for copy in copies:
                copy.result()
            list(pool.map(lambda node: _create(client, node, pki), all_nodes(site)))
        finally:
            client.close()
    _route(site)


def nodes_engine(site: Site) -> Engine:
    """The engine whose containers are the nodes."""
    return Engine("nodes", site.folder, site.label, site.address)


def _create_network(client: Any, site: Site) -> None:
    pool = {"Subnet": f"{site.subnet(1)}.0/24", "Gateway": f"{site.subnet(1)}.1"}
    client.networks.create(
        "nodes",
        driver="bridge",
        ipam={"Driver": "default", "Config": [pool]},
        options={"com.docker.network.bridge.name": "nodes"},
    )


def _create(client: Any, node: Node, pki: Path) -> None:
    api = client.api
    container = api.create_container(
        "testbed/node:1",
        name=node.name,
        hostname=node.name,
        environment=_settings(node),
        host_config=api.create_host_config(
            privileged=True,
            binds=_binds(node, pki),
            tmpfs={"/run": ""},
            cgroupns="host",
        ),
        networking_config=api.create_networking_config(
            {"nodes": api.create_endpoint_config(ipv4_address=node.address)}
        ),
    )
    api.start(container)


def _settings(node: Node) -> dict[str, str]:
    others = [other for other in all_nodes(node.site) if other != node]
    zone = f"topology.kubernetes.io/zone={node.zone},topology.kubernetes.io/region=testbed"
    return {
        "NODE": node.name,
        "ADDRESS": node.address,
        "POD_CIDR": node.pods,
        "CLUSTER_CIDR": pod_network(node.site),
        "CGROUP": f"{node.site.label}-{node.name}",
        "ROUTES": " ".join(f"{other.pods}@{other.address}" for other in others),
        "LABELS": f"{zone},node.kubernetes.io/instance-type=testbed",
    }


def _binds(node: Node, pki: Path) -> list[str]:
    programs = [f"{folder_of(m)}:/opt/{m}:ro" for m in ("containerd", "runc", "kubernetes")]
    own = [f"{node.folder}/{name}:/var/{path}" for name, path in _OWN.items()]
    for name in _OWN:
        (node.folder / name).mkdir(parents=True, exist_ok=True)
    return [
        *(f"{path}:{path}:ro" for path in _SYSTEM),
        *programs,
        *own,
        f"{folder_of('cni')}:/opt/cni/bin:ro",
        f"{HERE}/node:/node:ro",
        f"{pki}/ca.crt:/opt/pki/ca.crt:ro",
        f"{pki}/kube-proxy.conf:/opt/conf/kube-proxy.conf:ro",
        f"{pki}/{node.name}.conf:/opt/conf/{node.name}.conf:ro",
        "/sys/fs/cgroup:/sys/fs/cgroup:rw",
    ]


_OWN = {
    "containerd": "lib/containerd",
    "kubelet": "lib/kubelet",
    "log": "log",
    "volumes": "lib/local-path",
}


def _route(site: Site) -> None:
    """Let the machine and the control plane reach nodes and pods by their own addresses."""
    for node in all_nodes(site):
        ip(site.label, f"route replace {node.pods} via {node.address}")
    for network in (f"{site.subnet(1)}.0/24", pod_network(site)):
        run("ip", "route", "replace", network, "via", site.address)

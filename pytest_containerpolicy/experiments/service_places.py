"""Every place at which a service should answer: its address, its endpoints, its node ports."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.experiments.network_pods import pod_of
from pytest_containerpolicy.experiments.network_scene import DNS_PORT, namespace_labels
from pytest_containerpolicy.experiments.reachability import Address, End
from pytest_containerpolicy.experiments.service_ports import (
    Endpoint,
    node_addresses,
    read_endpoints,
)

Kind = Literal["name", "nothing", "endpoint", "address", "node port"]
_MOST_ENDPOINTS = 10
_MOST_NODES = 3


class Place(Struct, frozen=True, kw_only=True, eq=False):
    """One place to ask; `index` is that of the service's port.

    `ends` are the pods (or what is none) that may take the connection, each with its port there.
    `name` is what an ExternalName stands for. `nodes`, if there are any, are those from which alone
    it leads anywhere.
    """

    service: str
    index: int
    kind: Kind
    host: str = ""
    port: int = 0
    protocol: str = "TCP"
    is_dns: bool = False
    ends: tuple[tuple[End, int], ...] = ()
    name: str = ""
    nodes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        if self.kind in ("name", "nothing"):
            return self.name
        owner = f" ({self.ends[0][0]})" if self.kind == "endpoint" else ""
        return f"{self.kind} {self.host}:{self.port}{owner}"


def places_of(lab: KubernetesLab, namespace: str) -> list[Place]:
    """All places of a namespace's services, of many endpoints and nodes some. Raises `Refused`."""
    reader = _Reader(lab, namespace)
    documents = lab.items(f"/api/v1/namespaces/{namespace}/services")
    return [place for document in documents for place in reader.places(document)]


class _Reader:
    """Reads what the services of one namespace lead to, once for all of them."""

    def __init__(self, lab: KubernetesLab, namespace: str) -> None:
        labels = namespace_labels(lab, namespace)
        pods = lab.items(f"/api/v1/namespaces/{namespace}/pods")
        self._pods = {
            pod["metadata"]["name"]: pod_of(pod, labels) for pod in pods if _has_address(pod)
        }
        self._endpoints = read_endpoints(lab, namespace)
        try:
            self._nodes = node_addresses(lab.items("/api/v1/nodes"))
        except Refused as refusal:
            lab.record(f"node ports are not asked: {refusal}")
            self._nodes = {}

    def places(self, document: Document) -> Iterator[Place]:
        """The places of one service."""
        name, spec = document["metadata"]["name"], document["spec"]
        if spec.get("type") == "ExternalName":
            yield Place(service=name, index=0, kind="name", name=spec.get("externalName", ""))
            return
        for index, port in enumerate(spec.get("ports") or ()):
            yield from self._of_port(name, index, port, spec)

    def _of_port(self, name: str, index: int, port: Document, spec: Document) -> Iterator[Place]:
        found = [
            (endpoint, number)
            for endpoint in self._endpoints.get(name, ())
            if (number := endpoint.port(port.get("name") or ""))
        ]
        ends = tuple((self._end(endpoint), number) for endpoint, number in found)
        common = {
            "service": name,
            "index": index,
            "protocol": port.get("protocol", "TCP"),
            "is_dns": port["port"] == DNS_PORT,
        }
        if not ends:
            target = port.get("targetPort", port["port"])
            yield Place(**common, kind="nothing", name=f"port {target}, which no endpoint has")
            return
        for end, number in ends[:_MOST_ENDPOINTS]:
            yield Place(
                **common, kind="endpoint", host=end.address, port=number, ends=((end, number),)
            )
        address = spec.get("clusterIP", "None")
        if address not in ("", "None"):
            yield Place(
                **common,
                kind="address",
                host=address,
                port=port["port"],
                ends=ends,
                nodes=_nodes_served(spec, [endpoint for endpoint, _ in found]),
            )
        if port.get("nodePort"):
            for host in self._hosts(spec, [endpoint for endpoint, _ in found]):
                yield Place(**common, kind="node port", host=host, port=port["nodePort"], ends=ends)

    def _end(self, endpoint: Endpoint) -> End:
        pod = self._pods.get(endpoint.pod)
        return pod or Address(name=endpoint.address, address=endpoint.address, in_cluster=True)

    def _hosts(self, spec: Document, endpoints: list[Endpoint]) -> list[str]:
        local = spec.get("externalTrafficPolicy") == "Local"
        nodes = {endpoint.node for endpoint in endpoints} if local else set(self._nodes)
        return [self._nodes[node] for node in sorted(nodes & set(self._nodes))][:_MOST_NODES]


def _nodes_served(spec: Document, endpoints: list[Endpoint]) -> frozenset[str]:
    """The nodes from which alone its address leads to endpoints; none if it does from each.

    https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/
    """
    local = spec.get("internalTrafficPolicy") == "Local"
    return frozenset(endpoint.node for endpoint in endpoints) if local else frozenset()


def _has_address(pod: Document) -> bool:
    status = pod["status"]
    return bool(status.get("podIP")) and status.get("phase") == "Running"

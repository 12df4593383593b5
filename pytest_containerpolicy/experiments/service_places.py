"""Every place at which a service should answer: its addresses, its endpoints, its node ports."""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, Refused
from pytest_containerpolicy.experiments.network_pods import pod_of
from pytest_containerpolicy.experiments.network_scene import DNS_PORT, namespace_labels
from pytest_containerpolicy.experiments.reachability import Address, End
from pytest_containerpolicy.experiments.service_ports import (
    Endpoint,
    family_of,
    node_addresses,
    read_endpoints,
)

Kind = Literal["name", "nothing", "endpoint", "address", "node port"]
_MOST_ENDPOINTS = 10
_MOST_NODES = 3


class Place(Struct, frozen=True, kw_only=True, eq=False):
    """One place to ask; `index` is that of the service's port.

    `ends` are the pods (or what is none) that the connection must get to, each with its port there.
    `name` is what an ExternalName stands for. `nodes`, if there are any, are those from which alone
    it leads anywhere. `gap` is why it is not known where to ask.
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
    gap: str = ""

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to connect to."""
        return self.kind != "nothing" and not self.gap

    def __str__(self) -> str:
        if self.kind in ("name", "nothing"):
            return self.name
        owner = f" ({self.ends[0][0]})" if self.kind == "endpoint" else ""
        host = f"[{self.host}]" if family_of(self.host) == "IPv6" else self.host
        return f"{self.kind} {host}:{self.port}{owner}"


def places_of(lab: KubernetesLab, namespace: str) -> list[Place]:
    """All places of a namespace's services, of many endpoints and nodes some. Raises `Refused`."""
    reader = _Reader(lab, namespace)
    documents = lab.items(f"/api/v1/namespaces/{namespace}/services")
    return [place for document in documents for place in reader.places(document)]


class _Behind(Struct, frozen=True):
    """One endpoint of a port, and the port's number there."""

    address: str
    node: str
    end: End
    port: int


class _Reader:
    """Reads what the services of one namespace lead to, once for all of them."""

    def __init__(self, lab: KubernetesLab, namespace: str) -> None:
        labels = namespace_labels(lab, namespace)
        pods = lab.items(f"/api/v1/namespaces/{namespace}/pods")
        self._pods = {
            pod["metadata"]["name"]: pod_of(pod, labels) for pod in pods if _has_address(pod)
        }
        self._endpoints = read_endpoints(lab, namespace)
        self._nodes: dict[str, tuple[str, ...]] = {}
        self._refusal = ""
        try:
            self._nodes = node_addresses(lab.items("/api/v1/nodes"))
        except Refused as refusal:
            # It matters where there are node ports, and only there.
            self._refusal = str(refusal)

    def places(self, document: Document) -> Iterator[Place]:
        """The places of one service."""
        name, spec = document["metadata"]["name"], document["spec"]
        if spec.get("type") == "ExternalName":
            yield Place(service=name, index=0, kind="name", name=spec.get("externalName", ""))
            return
        for index, port in enumerate(spec.get("ports") or ()):
            yield from self._of_port(name, index, port, spec)

    def _of_port(self, name: str, index: int, port: Document, spec: Document) -> Iterator[Place]:
        found = self._found(name, port)
        common = {
            "service": name,
            "index": index,
            "protocol": port.get("protocol", "TCP"),
            "is_dns": port["port"] == DNS_PORT,
        }
        if not found:
            target = port.get("targetPort", port["port"])
            yield Place(**common, kind="nothing", name=f"port {target}, which no endpoint has")
            return
        yield from _at_endpoints(common, found)
        yield from _at_addresses(common, port["port"], spec, found)
        if port.get("nodePort"):
            yield from self._at_nodes(common, port["nodePort"], spec, found)

    def _found(self, name: str, port: Document) -> list[_Behind]:
        return [
            _Behind(endpoint.address, endpoint.node, self._end(endpoint), number)
            for endpoint in self._endpoints.get(name, ())
            if (number := endpoint.port(port.get("name") or ""))
        ]

    def _end(self, endpoint: Endpoint) -> End:
        return self._pods.get(endpoint.pod) or _in_cluster(endpoint.address)

    def _at_nodes(
        self, common: Document, number: int, spec: Document, found: Sequence[_Behind]
    ) -> Iterator[Place]:
        """At nodes, in each family of the service that they have; if in none, that is a gap."""
        asked = False
        for family in _families(spec):
            behind = _of_family(found, family)
            for host in self._hosts(spec, behind, family):
                asked = True
                # Before its node translates it, policies see the node's address.
                ends = (*_ends(behind), (_in_cluster(host), number))
                yield Place(**common, kind="node port", host=host, port=number, ends=ends)
        if not asked:
            nobody = f"no ready node that leads to it has an {' or '.join(_families(spec))} address"
            gap = f"node port {number}: {self._refusal or nobody}"
            yield Place(**common, kind="node port", port=number, gap=gap)

    def _hosts(self, spec: Document, behind: Sequence[_Behind], family: str) -> list[str]:
        local = spec.get("externalTrafficPolicy") == "Local"
        nodes = set(self._nodes) & {one.node for one in behind} if local else set(self._nodes)
        addresses = (_of_node(self._nodes[node], family) for node in sorted(nodes))
        return [address for address in addresses if address][:_MOST_NODES]


def _at_endpoints(common: Document, found: Sequence[_Behind]) -> Iterator[Place]:
    for family in sorted({family_of(one.address) for one in found}):
        for one in _of_family(found, family)[:_MOST_ENDPOINTS]:
            end = (one.end, one.port)
            yield Place(**common, kind="endpoint", host=one.address, port=one.port, ends=(end,))


def _at_addresses(
    common: Document, number: int, spec: Document, found: Sequence[_Behind]
) -> Iterator[Place]:
    for address in _addresses(spec):
        behind = _of_family(found, family_of(address))
        ends, nodes = _ends(behind), _nodes_served(spec, behind)
        yield Place(**common, kind="address", host=address, port=number, ends=ends, nodes=nodes)


def _of_family(found: Sequence[_Behind], family: str) -> list[_Behind]:
    return [one for one in found if family_of(one.address) == family]


def _ends(found: Sequence[_Behind]) -> tuple[tuple[End, int], ...]:
    return tuple((one.end, one.port) for one in found)


def _in_cluster(address: str) -> Address:
    return Address(name=address, address=address, in_cluster=True)


def _addresses(spec: Document) -> list[str]:
    """The service's own addresses, one of each family; a headless one has none."""
    found = spec.get("clusterIPs") or [spec.get("clusterIP", "None")]
    return [address for address in found if address not in ("", "None")]


def _families(spec: Document) -> list[str]:
    return spec.get("ipFamilies") or [family_of(address) for address in _addresses(spec)]


def _of_node(addresses: Sequence[str], family: str) -> str:
    """Its first address of a family: kube-proxy may serve node ports at no other.

    https://kubernetes.io/docs/concepts/services-networking/service/#service-nodeport-custom-listen-address
    """
    return next((address for address in addresses if family_of(address) == family), "")


def _nodes_served(spec: Document, behind: Sequence[_Behind]) -> frozenset[str]:
    """The nodes from which alone its address leads to endpoints; none if it does from each.

    https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/
    """
    local = spec.get("internalTrafficPolicy") == "Local"
    return frozenset(one.node for one in behind) if local else frozenset()


def _has_address(pod: Document) -> bool:
    status = pod["status"]
    return bool(status.get("podIP")) and status.get("phase") == "Running"

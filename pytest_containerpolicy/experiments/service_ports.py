"""Where the ports of services lead, as the cluster's own documents say."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab

SERVICE_LABEL = "kubernetes.io/service-name"


class Endpoint(Struct, frozen=True, kw_only=True):
    """An address behind a service that takes connections now; `pod` is empty for what is none."""

    address: str
    pod: str = ""
    node: str = ""
    ports: tuple[tuple[str, int], ...] = ()

    def port(self, name: str) -> int | None:
        """The number that a service's port of this name has here."""
        return dict(self.ports).get(name)


def read_endpoints(lab: KubernetesLab, namespace: str) -> dict[str, list[Endpoint]]:
    """The endpoints of each service of a namespace that are ready. Raises `Refused`."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    found: dict[str, dict[str, Endpoint]] = {}
    for document in lab.items(path):
        service = (document["metadata"].get("labels") or {}).get(SERVICE_LABEL, "")
        for endpoint in endpoints_in(document):
            found.setdefault(service, {})[endpoint.address] = endpoint
    return {service: list(endpoints.values()) for service, endpoints in found.items()}


def endpoints_in(document: Document) -> Iterator[Endpoint]:
    """The endpoints of one slice that are ready."""
    ports = tuple(
        (port.get("name") or "", port["port"])
        for port in document.get("ports") or ()
        if port.get("port")
    )
    for endpoint in document.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        # `ready` is always true where the service publishes what is not ready; `serving` is not.
        if conditions.get("ready") is False or conditions.get("serving") is False:
            continue
        target = endpoint.get("targetRef") or {}
        yield Endpoint(
            address=endpoint["addresses"][0],
            pod=target.get("name", "") if target.get("kind") == "Pod" else "",
            node=endpoint.get("nodeName") or "",
            ports=ports,
        )


def node_addresses(nodes: Iterable[Document]) -> dict[str, tuple[str, ...]]:
    """The addresses in the cluster of each node that is ready, in its own order."""
    return {node["metadata"]["name"]: _internal(node) for node in nodes if _is_ready(node)}


def family_of(address: str) -> str:
    """`IPv4` or `IPv6`, as a service's `ipFamilies` name them."""
    return "IPv6" if ":" in address else "IPv4"


def _internal(node: Document) -> tuple[str, ...]:
    addresses = node["status"].get("addresses") or ()
    return tuple(a["address"] for a in addresses if a["type"] == "InternalIP")


def _is_ready(node: Document) -> bool:
    conditions = node["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

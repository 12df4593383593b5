"""Where a cluster answers DNS queries, and whether a network policy's rule leads there.

Answers are true, false, or None: what only the cluster itself could tell.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct

from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE, Namespace
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Peer, PolicyRule, Service, ServicePort
from pytest_containerpolicy.model.selectors import Labels, Selector
from pytest_containerpolicy.model.workload import Workload

AnyNetwork = IPv4Network | IPv6Network
DNS_PORT = 53
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
# Where clusters have their services and pods: https://www.rfc-editor.org/rfc/rfc1918, rfc4193
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


class NameServer(Struct, frozen=True, kw_only=True):
    """What answers DNS queries. Labels that are not `complete` may have others beside them.

    `ports` are the pods' ports and their names, by protocol. `addresses` are those of the service
    and its pods: whether a policy's block sees the one or the other is up to the network plugin.
    """

    namespace: str
    namespace_labels: Labels
    namespace_complete: bool
    pod_labels: Labels
    pods_complete: bool
    ports: frozenset[tuple[str, int | str]]
    addresses: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def name_servers(model: Model) -> tuple[NameServer, ...]:
    """The cluster's DNS as it was read; where it was not, as kubeadm and the big clouds have it.

    Raises `CannotLook` if the pods behind its service could not be read.
    """
    services = [service for service in model.all(Service) if _serves_dns(service)]
    system = [service for service in services if service.ref.namespace == SYSTEM_NAMESPACE]
    # Without the system's namespace this is no whole cluster, and its DNS is elsewhere.
    candidates = system or (services if _namespace(model, SYSTEM_NAMESPACE) else [])
    known = [_server(service, workload) for service in candidates for workload in service.workloads]
    return tuple(known) or (_conventional(model),)


def may_reach(rule: PolicyRule, namespace: str, server: NameServer, protocol: str) -> bool | None:
    """Whether an egress rule of a policy in `namespace` lets queries to a server out."""
    if not _allows_port(rule, server, protocol):
        return False
    if not rule.peers:
        return True
    # Who allows port 53 to some addresses means name servers: the cluster's, a node's cache.
    means_dns = any(port.number == DNS_PORT for port in rule.ports)
    answers = [
        (means_dns or _in_block(peer, server.addresses))
        if peer.cidr
        else _is_pod(peer, namespace, server)
        for peer in rule.peers
    ]
    return True if True in answers else None if None in answers else False


def _serves_dns(service: Service) -> bool:
    return any(port.number == DNS_PORT and port.protocol == "UDP" for port in service.ports)


def _server(service: Service, workload: Workload) -> NameServer:
    namespace = _namespace(service.model, service.ref.namespace)
    return NameServer(
        namespace=service.ref.namespace,
        namespace_labels=namespace.labels if namespace else _name_label(service.ref.namespace),
        namespace_complete=namespace is not None,
        pod_labels=workload.labels,
        pods_complete=True,
        ports=frozenset(
            behind
            for port in service.ports
            if port.number == DNS_PORT
            for behind in _ports_behind(port, workload)
        ),
        addresses=(service.cluster_ip, *workload.pod_addresses) if workload.pod_addresses else (),
    )


def _conventional(model: Model) -> NameServer:
    namespace = _namespace(model, SYSTEM_NAMESPACE)
    return NameServer(
        namespace=SYSTEM_NAMESPACE,
        namespace_labels=namespace.labels if namespace else _name_label(SYSTEM_NAMESPACE),
        namespace_complete=namespace is not None,
        pod_labels={"k8s-app": "kube-dns"},
        pods_complete=False,
        ports=frozenset((("UDP", DNS_PORT), ("UDP", "dns"), ("TCP", DNS_PORT), ("TCP", "dns-tcp"))),
    )


def _ports_behind(port: ServicePort, workload: Workload) -> Iterator[tuple[str, int | str]]:
    found = False
    for container in workload.running_containers:
        for declared in container.ports:
            if declared.protocol == port.protocol and port.target in (
                declared.number,
                declared.name,
            ):
                found = True
                yield declared.protocol, declared.number
                yield declared.protocol, declared.name
    if not found:
        yield port.protocol, port.target if isinstance(port.target, int) else DNS_PORT


def _namespace(model: Model, name: str) -> Namespace | None:
    return next((found for found in model.all(Namespace) if found.ref.name == name), None)


def _name_label(namespace: str) -> Labels:
    # https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
    return {_NAMESPACE_NAME: namespace}


def _allows_port(rule: PolicyRule, server: NameServer, protocol: str) -> bool:
    return any(
        rule.allows_port(port, protocol)
        if isinstance(port, int)
        else any((allowed.protocol, allowed.number) == (protocol, port) for allowed in rule.ports)
        for served, port in server.ports
        if served == protocol
    )


def _is_pod(peer: Peer, namespace: str, server: NameServer) -> bool | None:
    if peer.namespaces is None:
        in_namespace: bool | None = namespace == server.namespace
    else:
        in_namespace = _matches(peer.namespaces, server.namespace_labels, server.namespace_complete)
    pods = peer.pods is None or _matches(peer.pods, server.pod_labels, server.pods_complete)
    if in_namespace is False or pods is False:
        return False
    return None if None in (in_namespace, pods) else True


def _matches(selector: Selector, labels: Labels, complete: bool) -> bool | None:
    decidable = [r for r in selector.requirements if complete or r.key in labels]
    if not all(requirement.matches(labels) for requirement in decidable):
        return False
    return True if len(decidable) == len(selector.requirements) else None


def _in_block(peer: Peer, addresses: Iterable[str]) -> bool | None:
    block, excepted = ip_network(peer.cidr), [ip_network(cidr) for cidr in peer.except_cidrs]
    # Everywhere, but for addresses such as the cloud's metadata service.
    if block.prefixlen == 0 and not any(p.overlaps(e) for p in _PRIVATE for e in excepted):
        return True
    inside = {
        ip_address(address) in block and not any(ip_address(address) in part for part in excepted)
        for address in addresses
        if address
    }
    if len(inside) == 1:
        return inside.pop()
    return None if any(_leaves(block, excepted, private) for private in _PRIVATE) else False


def _leaves(block: AnyNetwork, excepted: Iterable[AnyNetwork], private: AnyNetwork) -> bool:
    """Whether any address of a private range is in a block and not excepted from it."""
    if not block.overlaps(private):
        return False
    common = max(block, private, key=lambda network: network.prefixlen)
    return not any(_within(common, part) for part in excepted)


def _within(inner: AnyNetwork, outer: AnyNetwork) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )

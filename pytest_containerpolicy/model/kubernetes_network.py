"""Services, routes and network policies of Kubernetes."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.kubernetes_values import ref_of, selector_of
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import (
    Backend,
    EndpointSlice,
    NetworkPolicy,
    Peer,
    PolicyPort,
    PolicyRule,
    Route,
    Service,
    ServicePort,
)
from pytest_containerpolicy.model.selectors import Selector
from pytest_containerpolicy.targets import kubernetes_workloads as workloads

_SERVICE_LABEL = "kubernetes.io/service-name"


def service(found: workloads.Service, model: Model) -> Service:
    """A Service with the API's defaults."""
    spec = found.spec
    return Service(
        ref=ref_of("Service", found),
        model=model,
        type=spec.type or "ClusterIP",
        selector=None if spec.selector is None else Selector.of(spec.selector),
        ports=tuple(_service_port(port) for port in spec.ports or ()),
        headless=spec.cluster_ip == "None",
        publish_not_ready=bool(spec.publish_not_ready_addresses),
        external_traffic_policy=spec.external_traffic_policy or "Cluster",
        cluster_ip=_address(spec.cluster_ip),
        external_ips=tuple(spec.external_ips or ()),
    )


def endpoint_slice(found: workloads.EndpointSlice) -> EndpointSlice:
    """An EndpointSlice; an address whose readiness is unknown counts as ready, as the API says."""
    addresses = found.endpoints or ()
    conditions = [endpoint.conditions for endpoint in addresses]
    return EndpointSlice(
        ref=ref_of("EndpointSlice", found),
        service=(found.metadata.labels or {}).get(_SERVICE_LABEL, ""),
        ready=sum(condition is None or condition.ready is not False for condition in conditions),
        total=len(conditions),
    )


def _address(cluster_ip: str | None) -> str:
    if not cluster_ip or cluster_ip == "None":
        return ""
    try:
        return str(ip_address(cluster_ip))
    except ValueError:
        raise UsageError(f"spec.clusterIP: {cluster_ip!r} is not an IP address") from None


def _service_port(found: workloads.ServicePort) -> ServicePort:
    return ServicePort(
        number=found.port,
        target=found.target_port or found.port,
        name=found.name,
        protocol=found.protocol or "TCP",
        node_port=found.node_port,
    )


def ingress(found: workloads.Ingress, model: Model) -> Route:
    """An Ingress as a route."""
    namespace = found.metadata.namespace
    backends = tuple(
        Backend(
            backend.service.name,
            namespace,
            (backend.service.port.name or backend.service.port.number)
            if backend.service.port
            else None,
            f"{path}.service",
        )
        for backend, path in _ingress_backends(found.spec)
        if backend.service
    )
    return Route(
        ref=ref_of("Ingress", found),
        model=model,
        backends=backends,
        tls_hosts=tuple(dict.fromkeys(_tls_hosts(found.spec))),
    )


def _tls_hosts(spec: workloads.IngressSpec) -> Iterator[str]:
    """Where no hosts are named, the controller serves those of the rules over TLS."""
    of_rules = [rule.host for rule in spec.rules or ()] or [""]
    for tls in spec.tls or ():
        yield from tls.hosts or of_rules


def _ingress_backends(
    spec: workloads.IngressSpec,
) -> Iterator[tuple[workloads.IngressBackend, str]]:
    if spec.default_backend:
        yield spec.default_backend, "spec.defaultBackend"
    for i, rule in enumerate(spec.rules or ()):
        for j, path in enumerate(rule.http.paths if rule.http else ()):
            yield path.backend, f"spec.rules[{i}].http.paths[{j}].backend"


def http_route(found: workloads.HTTPRoute, model: Model) -> Route:
    """A Gateway API HTTPRoute as a route; references to other kinds than services are left out."""
    backends = tuple(
        Backend(
            reference.name,
            reference.namespace or found.metadata.namespace,
            reference.port,
            f"spec.rules[{i}].backendRefs[{j}]",
        )
        for i, rule in enumerate(found.spec.rules or ())
        for j, reference in enumerate(rule.backend_refs or ())
        if (reference.kind or "Service") == "Service" and not reference.group
    )
    return Route(ref=ref_of("HTTPRoute", found), model=model, backends=backends)


def network_policy(found: workloads.NetworkPolicy, model: Model) -> NetworkPolicy:
    """A NetworkPolicy; without `policyTypes` egress counts only if there are egress rules."""
    spec = found.spec
    types = spec.policy_types or (["Ingress", "Egress"] if spec.egress else ["Ingress"])
    return NetworkPolicy(
        ref=ref_of("NetworkPolicy", found),
        model=model,
        selector=selector_of(spec.pod_selector) or Selector(),
        isolates_ingress="Ingress" in types,
        isolates_egress="Egress" in types,
        ingress=tuple(_rule(rule.from_, rule.ports) for rule in spec.ingress or ()),
        egress=tuple(_rule(rule.to, rule.ports) for rule in spec.egress or ()),
    )


def _rule(
    peers: list[workloads.NetworkPolicyPeer] | None,
    ports: list[workloads.NetworkPolicyPort] | None,
) -> PolicyRule:
    return PolicyRule(
        tuple(_peer(peer) for peer in peers or ()),
        tuple(
            PolicyPort(number=port.port, end=port.end_port, protocol=port.protocol or "TCP")
            for port in ports or ()
        ),
    )


def _peer(found: workloads.NetworkPolicyPeer) -> Peer:
    block = found.ip_block
    return Peer(
        pods=selector_of(found.pod_selector),
        namespaces=selector_of(found.namespace_selector),
        cidr=_cidr(block.cidr) if block else "",
        except_cidrs=tuple(map(_cidr, (block and block.except_) or ())),
    )


def _cidr(text: str) -> str:
    try:
        # The API takes host bits and does not look at them.
        return str(ip_network(text, strict=False))
    except ValueError:
        raise UsageError(f"ipBlock: {text!r} is not a network such as 10.0.0.0/8") from None

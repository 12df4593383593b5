"""Who can reach what: services, published ports, networks and network policies."""

from typing import TYPE_CHECKING

from msgspec import Struct

from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Labels, Selector

if TYPE_CHECKING:
    from pytest_containerpolicy.model.model import Model
    from pytest_containerpolicy.model.workload import Workload


class PublishedPort(Struct, frozen=True, kw_only=True):
    """A port of the host that leads to a container.

    `address` is the host's address it listens on, empty for all of them. `number` is None when
    the platform picks one, from `choices` many where a range is declared. `mode` is Swarm's:
    `ingress` (routing mesh) or `host`. `path` leads to the declaration.
    """

    container_port: int
    number: int | None = None
    choices: int | None = None
    address: str = ""
    protocol: str = "TCP"
    mode: str = "host"
    path: str = ""

    @property
    def on_all_interfaces(self) -> bool:
        return self.address in ("", "0.0.0.0", "::", "[::]")

    @property
    def on_loopback(self) -> bool:
        return self.address.startswith("127.") or self.address in ("::1", "[::1]", "localhost")


class ServicePort(Struct, frozen=True, kw_only=True):
    """A port of a Kubernetes Service; `target` is the pod's port, by number or name."""

    number: int
    target: int | str
    name: str = ""
    protocol: str = "TCP"
    node_port: int | None = None


class Service(Struct, eq=False, kw_only=True):
    """A Kubernetes Service. `selector` is None when endpoints are managed by somebody else.

    `cluster_ip` is empty where files don't give one, and for headless services.
    """

    ref: ObjectRef
    model: "Model"
    type: str = "ClusterIP"
    selector: Selector | None = None
    ports: tuple[ServicePort, ...] = ()
    headless: bool = False
    publish_not_ready: bool = False
    external_traffic_policy: str = "Cluster"
    cluster_ip: str = ""
    external_ips: tuple[str, ...] = ()

    def selects(self, labels: Labels) -> bool:
        """Whether pods with these labels are its backends; an empty selector selects none."""
        return (
            self.selector is not None
            and not self.selector.is_empty
            and self.selector.matches(labels)
        )

    @property
    def workloads(self) -> "tuple[Workload, ...]":
        """The workloads whose pods it selects. Raises `CannotLook` if some were not read."""
        return self.model.selected_by(self)

    @property
    def ready_endpoints(self) -> int | None:
        """How many ready addresses are behind it now; None for files, which know none.

        Raises `CannotLook` if endpoint slices could not be read.
        """
        slices = self.model.within(EndpointSlice, self.ref.namespace)
        if not self.model.is_live:
            return None
        return sum(s.ready for s in slices if s.service == self.ref.name)

    @property
    def is_external(self) -> bool:
        """Whether it is reachable from outside the cluster."""
        return self.type in ("NodePort", "LoadBalancer") or bool(self.external_ips)


class EndpointSlice(Struct, eq=False, kw_only=True):
    """Some of the addresses behind a Service of the same namespace: `ready` of `total`."""

    ref: ObjectRef
    service: str
    ready: int = 0
    total: int = 0


class Backend(Struct, frozen=True):
    """A service that a route leads to, and the port by number or name."""

    service: str
    namespace: str
    port: int | str | None = None
    path: str = ""


class Route(Struct, eq=False, kw_only=True):
    """An Ingress or an HTTPRoute: what leads from outside to services.

    `tls_hosts` are an Ingress' hosts that are served over TLS; an empty one stands for any.
    """

    ref: ObjectRef
    model: "Model"
    backends: tuple[Backend, ...] = ()
    tls_hosts: tuple[str, ...] = ()


class Peer(Struct, frozen=True, kw_only=True):
    """One end of a network policy rule. `namespaces` None means the policy's own namespace."""

    pods: Selector | None = None
    namespaces: Selector | None = None
    cidr: str = ""
    except_cidrs: tuple[str, ...] = ()


class PolicyPort(Struct, frozen=True, kw_only=True):
    """A port a rule allows: `number` None is every port; `end` closes a range."""

    number: int | str | None = None
    end: int | None = None
    protocol: str = "TCP"

    def covers(self, number: int, protocol: str) -> bool:
        if self.protocol != protocol:
            return False
        if self.number is None:
            return True
        if isinstance(self.number, str):
            return False
        return self.number <= number <= (self.end or self.number)


class PolicyRule(Struct, frozen=True):
    """What one rule allows; no `peers` is everybody, no `ports` is every port."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()

    def allows_port(self, number: int, protocol: str) -> bool:
        return not self.ports or any(port.covers(number, protocol) for port in self.ports)


class NetworkPolicy(Struct, eq=False, kw_only=True):
    """A NetworkPolicy, with `policyTypes` resolved."""

    ref: ObjectRef
    model: "Model"
    selector: Selector
    isolates_ingress: bool = True
    isolates_egress: bool = False
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()

    def selects(self, labels: Labels) -> bool:
        """Whether it applies to pods with these labels; the empty selector takes every pod."""
        return self.selector.matches(labels)


class Network(Struct, eq=False, kw_only=True):
    """A Docker network."""

    ref: ObjectRef
    driver: str = "bridge"
    scope: str = "local"
    internal: bool = False
    encrypted: bool = False
    external: bool = False

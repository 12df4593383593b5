"""What runs: a controller and the pods or tasks it keeps, or a single container."""

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import (
    Amount,
    Autoscaler,
    Node,
    amount_of,
)
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.network import NetworkPolicy, PublishedPort, Service
from pytest_containerpolicy.model.placement import Placement, Spread
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Labels
from pytest_containerpolicy.model.volume import Claim, Volume
from pytest_containerpolicy.targets.inventory import Platform

if TYPE_CHECKING:
    from pytest_containerpolicy.model.model import Model

Order = Literal["start-first", "stop-first", "manual"]


class Rollout(Struct, frozen=True, kw_only=True):
    """How a new version replaces the old one; counts of copies, times in seconds.

    `strategy` is the platform's own word. `amounts` are Kubernetes' maxUnavailable and maxSurge
    as declared, for counts of copies other than the declared one. `failure_action`,
    `max_failure_ratio` (of the updated copies) and `rollback` exist on Swarm, `progress_deadline`
    on Kubernetes. `is_declared` tells whether somebody wrote it or the platform's default applies.
    """

    strategy: str
    order: Order
    max_unavailable: int
    max_surge: int
    amounts: tuple[Amount, Amount] | None = None
    settle: float = 0
    progress_deadline: float | None = None
    failure_action: str = ""
    max_failure_ratio: float = 0
    monitor: float | None = None
    rollback_configured: bool = False
    rollback: "Rollout | None" = None
    is_declared: bool = False
    path: str = ""

    def resolved(self, copies: int) -> tuple[int, int]:
        """Its `max_unavailable` and `max_surge` when there are so many copies.

        Unavailable rounds down, surge up; where both come to 0, one copy may be unavailable:
        https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#max-unavailable
        """
        if self.amounts is None:
            return self.max_unavailable, self.max_surge
        unavailable = amount_of(self.amounts[0], copies, round_up=False)
        surge = amount_of(self.amounts[1], copies, round_up=True)
        return min(copies, unavailable or (0 if surge else 1)), surge


class ClaimRetention(Struct, frozen=True):
    """What a StatefulSet does with its claims: `Retain` or `Delete`."""

    when_deleted: str = "Retain"
    when_scaled: str = "Retain"


class Workload(Struct, eq=False, kw_only=True):
    """A Deployment, StatefulSet, ..., a Compose or Swarm service, or a plain container.

    `replicas` is what is declared (the API's default where nothing is), or None where the nodes
    decide (`one_per_node`) and are not known. `pod_path` leads from the object to the pod's spec;
    it is empty where the object itself is what runs. `health_awaited`: another Compose service
    starts only when this one is healthy. `depends_on` are the services that a Compose service waits
    for, and the conditions: `service_started`, `service_healthy` and
    `service_completed_successfully`. Times in seconds.

    `labels` are the template's; `pod_labels` are the sets that its pods really carry, to which
    controllers and the program itself add. `shares_network_of` names a container beyond this
    target whose network it shares: what reaches that one, and how, is not known here.
    `restart_attempts` is how often an engine's `on-failure` restarts it at most, 0 for ever.
    `shared_ports` are the ports of the host that lead to a container of this target whose network
    it shares: which of the two answers on them is up to the programs.
    """

    ref: ObjectRef
    model: "Model"
    platform: Platform
    labels: Labels
    pod_path: str = ""
    replicas: int | None = 1
    replicas_declared: bool = True
    one_per_node: bool = False
    runs_to_completion: bool = False
    controlled: bool = True
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    rollout: Rollout | None = None
    grace_period: float = 30
    grace_period_path: str = ""
    restart: str = "always"
    restart_attempts: int = 0
    placement: Placement = Placement()
    spread: tuple[Spread, ...] = ()
    pod_labels: tuple[Labels, ...] = ()
    pod_addresses: tuple[str, ...] = ()
    host_network: bool = False
    default_bridge: bool = False
    shares_network_of: str = ""
    networks: tuple[str, ...] = ()
    published_ports: tuple[PublishedPort, ...] = ()
    shared_ports: tuple[PublishedPort, ...] = ()
    health_awaited: bool = False
    depends_on: tuple[tuple[str, str], ...] = ()
    fixed_name: str = ""
    service_name: str = ""
    claim_retention: ClaimRetention | None = None
    priority_class: str = ""
    overhead_memory: int = 0
    overhead_cpu: float = 0

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def namespace(self) -> str:
        return self.ref.namespace

    @property
    def kind(self) -> str:
        return self.ref.kind

    @property
    def label_sets(self) -> tuple[Labels, ...]:
        """The template's labels and those that its pods really carry."""
        return (self.labels, *self.pod_labels)

    @property
    def running_containers(self) -> tuple[Container, ...]:
        """The containers that run side by side for the pod's life: mains and native sidecars."""
        return tuple(c for c in self.containers if c.role in ("main", "sidecar"))

    @property
    def main_containers(self) -> tuple[Container, ...]:
        return tuple(c for c in self.containers if c.role == "main")

    @property
    def requests(self) -> dict[str, float]:
        """What one copy reserves on a node: `memory` in bytes, `cpu` in cores; only what is set.

        Init containers run one after the other, beside the sidecars started before them:
        https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
        """
        amounts = {
            "memory": self._effective("memory_request") + self.overhead_memory,
            "cpu": self._effective("cpu_request") + self.overhead_cpu,
        }
        return {name: amount for name, amount in amounts.items() if amount}

    @property
    def quota_usage(self) -> dict[str, float]:
        """What one pod counts in a ResourceQuota, by the quota's own names.

        https://kubernetes.io/docs/concepts/policy/resource-quotas/
        """
        requests = {f"requests.{name}": amount for name, amount in self.requests.items()}
        limits = {
            "limits.memory": self._effective("memory_limit"),
            "limits.cpu": self._effective("cpu_limit"),
        }
        counted = self.requests | requests | {"pods": 1, "count/pods": 1}
        return counted | {name: amount for name, amount in limits.items() if amount}

    def _effective(self, attribute: str) -> float:
        sidecars = peak = 0.0
        for container in self.containers:
            amount = self._amount(container, attribute)
            if container.role == "sidecar":
                sidecars += amount
            elif container.role == "init":
                peak = max(peak, sidecars + amount)
        mains = sum(self._amount(container, attribute) for container in self.main_containers)
        return max(peak, sidecars + mains)

    @staticmethod
    def _amount(container: Container, attribute: str) -> float:
        amount: float | None = getattr(container, attribute)
        if amount is None:
            container.require_limit_ranges()
        return amount or 0

    @property
    def written_volumes(self) -> tuple[Volume, ...]:
        """Its volumes that at least one container may write to, in the order of declaration."""
        written = {
            mount.volume for c in self.containers for mount in c.mounts if not mount.read_only
        }
        return tuple(volume for volume in dict.fromkeys(self.volumes) if volume in written)

    @property
    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler that owns its replicas. Raises `CannotLook` if none could be read."""
        return self.model.autoscaler_of(self)

    @property
    def fewest_replicas(self) -> int | None:
        """The fewest copies while it runs: the autoscaler's minimum, else `replicas`.

        What somebody scaled to 0 its autoscaler leaves alone:
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation
        """
        autoscaler = self.autoscaler
        if autoscaler is None or self.replicas == 0:
            return self.replicas
        return max(1, autoscaler.min_replicas)

    @property
    def most_replicas(self) -> int | None:
        """The most copies while it runs: the autoscaler's maximum, else `replicas`."""
        autoscaler = self.autoscaler
        return autoscaler.max_replicas if autoscaler and self.replicas != 0 else self.replicas

    @property
    def services(self) -> tuple[Service, ...]:
        """The services of its namespace that select any of its pods. Raises `CannotLook`."""
        return self.model.selecting_pods_of(Service, self)

    @property
    def network_policies(self) -> tuple[NetworkPolicy, ...]:
        """The policies of its namespace that select its pods. Raises `CannotLook`."""
        return self.model.selecting(NetworkPolicy, self)

    @property
    def is_served(self) -> bool:
        """Whether clients reach it through a service or a published port.

        Ports in the host's own network do not count: the API server writes a host port beside
        each of them, be it meant for clients or not.
        """
        return (bool(self.published_ports) and not self.host_network) or bool(self.services)

    @property
    def serving_containers(self) -> tuple[Container, ...]:
        """The running containers that declare a port which one of its services targets.

        None where nobody declares it: a container's ports are informational. Raises `CannotLook`.
        """
        targets = {port.target for service in self.services for port in service.ports}
        return tuple(
            container
            for container in self.running_containers
            if any(port.number in targets or port.name in targets for port in container.ports)
        )

    @property
    def eligible_nodes(self) -> tuple[Node, ...]:
        """The nodes that its placement and their taints allow now. Raises `CannotLook`."""
        return tuple(node for node in self.model.nodes if node.admits(self.placement))

    @property
    def suitable_nodes(self) -> tuple[Node, ...]:
        """The nodes that its placement and their taints allow at some time. Raises `CannotLook`."""
        return tuple(node for node in self.model.nodes if node.suits(self.placement))

    @property
    def keeps_to_one_node(self) -> bool:
        """Whether all its copies, old and new, run on one and the same node.

        Its placement says so, a volume that can't leave a node does, or no other node suits it.
        Files know no nodes. Raises `CannotLook` if nodes, claims or their volumes were not read.
        """
        if self.placement.only_node or any(claim.only_node for _, claim in self.claims):
            return True
        self.model.require(Node)
        return sum(node.suits(self.placement) for node in self.model.all(Node)) == 1

    @property
    def claims(self) -> tuple[tuple[Volume, Claim], ...]:
        """Its volumes that are claims, each with the claim (or the template of it).

        Raises `CannotLook` if a claim is not among what was read: its modes would be a guess.
        """
        return tuple(
            (volume, self._claim(volume)) for volume in self.volumes if volume.lifetime == "claim"
        )

    def _claim(self, volume: Volume) -> Claim:
        if volume.claim_template is not None:
            return volume.claim_template
        claim = self.model.get(Claim, volume.claim_name, self.namespace)
        if claim is None:
            raise CannotLook(
                f"claim {self.namespace}/{volume.claim_name} of {self.ref}"
                f" is not in {self.model.target}"
            )
        return claim

    def __repr__(self) -> str:
        return f"<{self.ref}>"

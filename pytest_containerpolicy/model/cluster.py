"""What surrounds workloads: budgets, autoscalers, quotas, nodes and namespaces."""

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from pytest_containerpolicy.model.placement import Placement, Taint
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Labels, Selector

if TYPE_CHECKING:
    from pytest_containerpolicy.model.model import Model
    from pytest_containerpolicy.model.workload import Workload

Amount = int | str
SYSTEM_NAMESPACE = "kube-system"
_BLOCKING_EFFECTS = ("NoSchedule", "NoExecute")
# The node controller sets and removes these: not-ready, unschedulable, disk-pressure, ...
# https://kubernetes.io/docs/reference/labels-annotations-taints/
_PASSING_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


def amount_of(value: Amount, total: int, *, round_up: bool) -> int:
    """A count or a percentage of `total`, rounded as the API does for that field."""
    if isinstance(value, int):
        return value
    text = value.strip()
    if not text.endswith("%"):
        return int(text)
    share = float(text[:-1]) * total / 100
    # The API server computes in integers; floats must not turn 3.0000001 into 4.
    return math.ceil(round(share, 6)) if round_up else math.floor(round(share, 6))


class DisruptionBudget(Struct, eq=False, kw_only=True):
    """A PodDisruptionBudget. `selector` None selects nothing, an empty one every pod."""

    ref: ObjectRef
    model: "Model"
    selector: Selector | None = None
    min_available: Amount | None = None
    max_unavailable: Amount | None = None
    unhealthy_pod_eviction: str = "IfHealthyBudget"
    disruptions_allowed: int | None = None

    def selects(self, labels: Labels) -> bool:
        return self.selector is not None and self.selector.matches(labels)

    @property
    def workloads(self) -> "tuple[Workload, ...]":
        """The workloads whose pods it selects. Raises `CannotLook` if some were not read."""
        return self.model.selected_by(self)

    @property
    def follows_scale(self) -> bool:
        """Whether its total is the scale of the pods' controllers, not the number of pods.

        A pod whose controller has no scale (DaemonSet, Job) then stops every eviction.
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
        """
        return self.max_unavailable is not None or isinstance(self.min_available, str)

    def allowed_disruptions(self, pods: int, scale: int) -> int:
        """How many of `pods`, all of them healthy, may be evicted at once.

        `scale` is what their controllers keep. Both fields round percentages up:
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/
        """
        total = scale if self.follows_scale else pods
        # With neither field, or no pod that counts, the controller allows nothing at all.
        if total == 0 or (self.max_unavailable is None and self.min_available is None):
            return 0
        return max(0, pods - self._must_stay(total))

    def _must_stay(self, total: int) -> int:
        if self.max_unavailable is not None:
            return max(0, total - amount_of(self.max_unavailable, total, round_up=True))
        return amount_of(self.min_available or 0, total, round_up=True)


class Autoscaler(Struct, eq=False, kw_only=True):
    """What owns a workload's replicas.

    `resource_metrics` are those on utilisation, which is measured against requests: the resource,
    and the container that is measured alone, or "" for all of the pod's.
    """

    ref: ObjectRef
    model: "Model"
    target_kind: str
    target_name: str
    min_replicas: int = 1
    max_replicas: int = 1
    resource_metrics: tuple[tuple[str, str], ...] = ()

    @property
    def workload(self) -> "Workload | None":
        """What it scales; None if there is no such workload. Raises `CannotLook`."""
        return self.model.target_of(self)


class Quota(Struct, eq=False, kw_only=True):
    """A ResourceQuota: hard limits by its own names (`requests.cpu`, `pods`), in base units.

    `used` is None where only files are known. A quota with `scopes` counts some pods only.
    """

    ref: ObjectRef
    hard: dict[str, float]
    used: dict[str, float] | None = None
    scopes: tuple[str, ...] = ()


class LimitRange(Struct, eq=False, kw_only=True):
    """Defaults that a namespace gives containers which declare none, in base units."""

    ref: ObjectRef
    default_limits: dict[str, float]
    default_requests: dict[str, float]


class Node(Struct, eq=False, kw_only=True):
    """A machine of a cluster or Swarm. Allocatable memory in bytes, CPU in cores.

    `allocatable` is all that Kubernetes lets pods request there, by its own names, in base units.
    A Swarm node's labels hold what constraints may ask for, by the constraints' own keys
    (`node.role`, `node.labels.zone`), values in lower case. `reachability` is its managers'.
    """

    ref: ObjectRef
    labels: Labels
    ready: bool = True
    schedulable: bool = True
    taints: tuple[Taint, ...] = ()
    memory: int = 0
    cpu: float = 0
    pods: int | None = None
    allocatable: dict[str, float] = {}
    version: str = ""
    is_manager: bool = False
    is_leader: bool = False
    reachability: str = ""

    @property
    def name(self) -> str:
        return self.ref.name

    def admits(self, placement: Placement) -> bool:
        """Whether a workload with this placement may be scheduled here now."""
        return (
            self.ready
            and self.schedulable
            and self.allowed_by(placement)
            and self.repelling_taint(placement) is None
        )

    def repelling_taint(self, placement: Placement) -> Taint | None:
        """The first taint that keeps a workload with this placement off."""
        return next((t for t in self.taints if not self._tolerated(t, placement)), None)

    def suits(self, placement: Placement) -> bool:
        """Whether a workload with this placement may be scheduled here at some time.

        What passes does not count: not ready, cordoned. A Swarm's drained manager stays out, as
        draining is how managers are kept free of work.
        """
        return (
            self.allowed_by(placement)
            and (self.schedulable or not self.is_manager)
            and all(
                self._tolerated(taint, placement)
                for taint in self.taints
                if not taint.key.startswith(_PASSING_TAINTS)
            )
        )

    def allowed_by(self, placement: Placement) -> bool:
        """Whether a placement allows this node, its taints aside."""
        if placement.node_name:
            return placement.node_name == self.name
        if not all(requirement.matches(self.labels) for requirement in placement.required):
            return False
        return not placement.terms or any(
            term.matches(self.name, self.labels) for term in placement.terms
        )

    @staticmethod
    def _tolerated(taint: Taint, placement: Placement) -> bool:
        return taint.effect not in _BLOCKING_EFFECTS or any(
            toleration.tolerates(taint) for toleration in placement.tolerations
        )


class Namespace(Struct, eq=False, kw_only=True):
    """A namespace and its labels (network policies select by them)."""

    ref: ObjectRef
    labels: Labels


class Engine(Struct, eq=False, kw_only=True):
    """A Docker daemon, from `/info` and `/version`."""

    ref: ObjectRef
    version: str = ""
    api_version: str = ""
    cgroup_version: str = ""
    logging_driver: str = ""
    live_restore: bool = False
    storage_driver: str = ""
    swarm_state: str = "inactive"


class Swarm(Struct, eq=False, kw_only=True):
    """The settings of a Swarm. `certificate_expiry` of its nodes in seconds."""

    ref: ObjectRef
    autolock: bool = False
    certificate_expiry: float = 0

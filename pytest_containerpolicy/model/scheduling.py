"""Running pods as the scheduler sees them: what each needs, and beside whom it may run."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct

from pytest_containerpolicy.model.placement import Placement, Spread
from pytest_containerpolicy.model.selectors import Labels, Selector

HostPort = tuple[str, str, int]
_ANYWHERE = ("", "0.0.0.0", "::")


class Companions(Struct, frozen=True):
    """The pods that a required affinity or anti-affinity is about.

    `namespaces` None means all of them. Without a selector it is about none.
    """

    topology_key: str
    selector: Selector | None
    namespaces: frozenset[str] | None

    def includes(self, pod: "Pod") -> bool:
        """Whether it is about this pod."""
        if self.selector is None:
            return False
        own = self.namespaces is None or pod.namespace in self.namespaces
        return own and self.selector.matches(pod.labels)


class Pod(Struct, eq=False, kw_only=True):
    """One pod. Requests and limits in base units by resource name; `pods: 1` is requested too.

    `controller` is the kind and name of what makes it again, if anything does. Ports of the host
    are (protocol, address, number). `scratch` names its emptyDir volumes on disk, `host_paths`
    those of the node's own directories. `stays`: a DaemonSet's or a static pod, which a drain
    leaves alone. `unknown` says what of its needs can't be told from the pod.
    """

    namespace: str
    name: str
    uid: str = ""
    node: str = ""
    labels: Labels
    requests: Mapping[str, float]
    limits: Mapping[str, float] = {}
    placement: Placement = Placement()
    ports: frozenset[HostPort] = frozenset()
    claims: tuple[str, ...] = ()
    spread: tuple[Spread, ...] = ()
    apart: tuple[Companions, ...] = ()
    together: tuple[Companions, ...] = ()
    controller: tuple[str, str] | None = None
    priority: int = 0
    priority_class: str = ""
    has_deadline: bool = False
    started: str = ""
    preempts: bool = True
    scratch: tuple[str, ...] = ()
    host_paths: tuple[str, ...] = ()
    safe_to_evict: str = ""
    safe_volumes: tuple[str, ...] = ()
    stays: bool = False
    ended: bool = False
    leaving: bool = False
    unknown: str = ""

    @property
    def ref(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def can_be_evicted(self) -> bool:
        """Whether a drain of its node would evict it."""
        return not (self.stays or self.ended or self.leaving)

    def clashes_with(self, taken: AbstractSet[HostPort]) -> HostPort | None:
        """The port of the host that it wants and that is taken, if any."""
        for protocol, address, number in self.ports:
            for other in taken:
                if (protocol, number) == (other[0], other[2]) and (
                    address == other[1] or address in _ANYWHERE or other[1] in _ANYWHERE
                ):
                    return protocol, address, number
        return None

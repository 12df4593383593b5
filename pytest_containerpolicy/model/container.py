"""One container of a workload, as declared."""

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import LimitRange

if TYPE_CHECKING:
    from pytest_containerpolicy.model.volume import Volume
    from pytest_containerpolicy.model.workload import Workload

Role = Literal["main", "init", "sidecar", "ephemeral"]


class Probe(Struct, frozen=True, kw_only=True):
    """A question asked again and again of a container; all times in seconds.

    Kubernetes' readiness, liveness and startup probes and Docker's health check.
    `start_period` is Docker's: failures before it has passed do not count.
    """

    handler: Literal["exec", "http", "tcp", "grpc"]
    port: int | str | None = None
    http_path: str = ""
    initial_delay: float = 0
    start_period: float = 0
    period: float = 10
    timeout: float = 1
    failure_threshold: int = 3
    success_threshold: int = 1

    @property
    def patience(self) -> float:
        """Seconds from the start until a container that never answers has failed for good."""
        return max(self.initial_delay, self.start_period) + self.period * self.failure_threshold


class Mount(Struct, frozen=True, kw_only=True):
    """Where a volume appears in a container."""

    destination: str
    volume: "Volume"
    read_only: bool = False
    sub_path: str = ""
    propagation: str = ""


class ContainerPort(Struct, frozen=True, kw_only=True):
    """A port that a container says it listens on (informational on every platform)."""

    number: int
    name: str = ""
    protocol: str = "TCP"


class PreStop(Struct, frozen=True):
    """What runs before a container is told to stop; `seconds` is None when not known beforehand."""

    handler: Literal["exec", "http", "sleep"]
    seconds: float | None = None


class Container(Struct, eq=False, kw_only=True):
    """A container as its workload declares it.

    Memory in bytes, CPU in cores; `None` is "not set", which means unlimited for limits.
    `path` leads from the declaring object to this container. `image_digest` is the digest that
    runs, empty where only the reference is known; `image_gap` says why the image's own health
    check and volumes are not known, where they count. `swap_limit` is memory and swap together, as
    Docker counts it: -1 without bound, None for Docker's default of twice the memory limit.
    """

    name: str
    path: str
    workload: "Workload"
    role: Role = "main"
    image: str = ""
    image_digest: str = ""
    image_gap: str = ""

    memory_limit: int | None = None
    memory_request: int | None = None
    cpu_limit: float | None = None
    cpu_request: float | None = None
    pids_limit: int | None = None
    swap_limit: int | None = None
    writable_layer_limit: int | None = None
    log_driver: str = ""
    log_limit: int | None = None

    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None
    health: Probe | None = None
    health_disabled: bool = False

    stop_signal: str = ""
    pre_stop: PreStop | None = None

    mounts: tuple[Mount, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    privileged: bool = False
    read_only_root: bool = False
    user: str = ""

    @property
    def model(self) -> "Model":
        return self.workload.model

    @property
    def gate(self) -> Probe | None:
        """What tells the platform that a new copy may take over: readiness, start-up or health.

        A container is not ready before its startup probe has succeeded, whatever else it has:
        https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#types-of-probe
        Raises `CannotLook` if the image may have a health check of its own (`image_gap`).
        """
        probe = self.readiness or self.startup or self.health
        if probe is None and self.image_gap and not self.health_disabled:
            raise CannotLook(self.image_gap)
        return probe

    def require_limit_ranges(self) -> None:
        """Raise `CannotLook` unless all was read that may give it limits and requests.

        What admission has put into a running pod is in it already.
        """
        workload = self.workload
        is_admitted = workload.kind == "Pod" and self.model.is_live
        if workload.platform == "kubernetes" and not is_admitted:
            self.model.require(LimitRange, workload.namespace)

    def mount_of(self, directory: str) -> Mount | None:
        """The mount that holds a directory: the deepest one at or above it."""
        holding = [mount for mount in self.mounts if _is_within(directory, mount.destination)]
        return max(holding, key=lambda mount: len(mount.destination), default=None)

    def __repr__(self) -> str:
        return f"<Container {self.name} of {self.workload.ref}>"


def _is_within(directory: str, parent: str) -> bool:
    parent = parent.rstrip("/")
    return directory.rstrip("/") == parent or directory.startswith(parent + "/")


if TYPE_CHECKING:
    from pytest_containerpolicy.model.model import Model

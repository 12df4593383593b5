"""Docker engines, Compose projects and Swarms in a test's hands."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.docker_connection import Endpoint, connect
from pytest_containerpolicy.targets.uri import Target, Timeouts, suggestion

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

_LOG_LINES = 40


class DockerEnvironment:
    """What an engine, a Compose project and a Swarm have in common: a daemon and workloads."""

    noun = "container"

    def __init__(self, target: Target, endpoint: Endpoint, timeouts: Timeouts) -> None:
        self.target = target
        self.timeouts = timeouts
        self._endpoint = endpoint

    @cached_property
    def client(self) -> "DockerClient":
        """The Docker SDK's client for this daemon. Raises `Unreachable`."""
        import docker

        client = docker.DockerClient.__new__(docker.DockerClient)
        client.api = connect(self._endpoint, self.timeouts)
        return client

    def read_model(self) -> Model:
        """Read the environment now. Raises `Unreachable`."""
        return build_model(take_inventory(self.target, self.timeouts))

    def covers(self, ref: ObjectRef) -> bool:
        return True

    def workload(self, name: str) -> "LiveDockerWorkload":
        """One container or service. Raises `UsageError` that lists what there is without it."""
        found = self.read_model().all(Workload)
        for workload in found:
            if workload.name == name:
                return LiveDockerWorkload(self, workload)
        known = [workload.name for workload in found]
        raise UsageError(f"{self.target.id}: no {self.noun} {name}{suggestion(name, known)}")

    def __repr__(self) -> str:
        return f"<{self.target.id}>"


class DockerEngine(DockerEnvironment):
    """One Docker daemon."""

    def container(self, name: str) -> "LiveDockerWorkload":
        """One plain container. Raises `UsageError` that lists what there is without it."""
        return self.workload(name)


class ComposeProject(DockerEnvironment):
    """A running Compose project."""

    noun = "service"

    def service(self, name: str) -> "LiveDockerWorkload":
        """One service. Raises `UsageError` that lists the project's services without it."""
        return self.workload(name)


class SwarmCluster(DockerEnvironment):
    """A Swarm, seen from one of its managers."""

    noun = "service"

    def service(self, name: str) -> "LiveDockerWorkload":
        """One service. Raises `UsageError` that lists the Swarm's services without it."""
        return self.workload(name)


class LiveDockerWorkload:
    """One container or service; `declared` is its model."""

    def __init__(self, environment: DockerEnvironment, declared: Workload) -> None:
        self.environment = environment
        self.declared = declared

    def read_model(self) -> Model:
        return self.environment.read_model()

    def covers(self, ref: ObjectRef) -> bool:
        return ref == self.declared.ref

    def __repr__(self) -> str:
        return f"<{self.declared.ref}>"


def container_evidence(container: "Container") -> Iterator[tuple[str, str]]:
    """The state and the last log lines of a container."""
    state: dict[str, Any] = container.attrs["State"]
    status = f"{state['Status']}, exit code {state['ExitCode']}"
    if state.get("OOMKilled"):
        status += ", killed for want of memory"
    yield f"state of {container.name}", status
    yield (
        f"log of {container.name}",
        container.logs(tail=_LOG_LINES).decode(errors="replace"),
    )

"""A Docker engine as a target: `engine://[CONTEXT]`, `engine+unix:///PATH`, `engine+tcp:`, ..."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_containerpolicy.targets.docker_connection import (
    Endpoint,
    connect,
    endpoint_of,
    endpoint_uri,
)
from pytest_containerpolicy.targets.docker_documents import Container
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts, workloads_of

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.docker_reading import Documents


class EngineTarget(Target):
    """One Docker daemon, judged by its plain containers.

    Containers of Compose projects, Swarm services and Kubernetes pods are read but judged
    elsewhere (with `compose://PROJECT`, ...); stopped containers that the daemon would not start
    again are not judged either. The inventory's notes count them all.
    """

    platform = "docker"
    is_live = True
    scope_example = "engine://?workload=web"

    def __init__(self, uri: str, endpoint: Endpoint, workloads: tuple[str, ...] = ()) -> None:
        self.uri = uri
        self.endpoint = endpoint
        self.workloads = workloads
        self.id = f"engine:{endpoint.name}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "EngineTarget":
        return cls(uri.text, endpoint_of(uri), workloads_of(uri))

    @property
    def durable_uri(self) -> str:
        return endpoint_uri(self.endpoint)

    def read(self, timeouts: Timeouts) -> Inventory:
        from pytest_containerpolicy.targets.docker_reading import read_engine_documents

        with connect(self.endpoint, timeouts) as client:
            documents = read_engine_documents(client)
        return Inventory(
            Header(
                target=self.id,
                platform="docker",
                version=_version(documents),
                complete=not documents.unreadable,
                notes=(self.endpoint.note, *not_judged(documents.by_kind["containers"])),
                unreadable=tuple(documents.unreadable),
            ),
            documents.by_kind,
        )


def not_judged(containers: Iterable[Container]) -> list[str]:
    """One line for each group of containers that an engine target leaves to others."""
    groups = Counter(_left_out(container) for container in containers)
    return [
        f"not judged here: {number} container{'' if number == 1 else 's'} {reason}"
        for reason, number in sorted(groups.items())
        if reason
    ]


def _left_out(container: Container) -> str:
    """Why a container is not judged, and what judges it; empty if it is."""
    labels = container.labels
    if labels.project:
        return f"of Compose project {labels.project}: give compose://{labels.project}"
    if labels.swarm_service:
        return "of Swarm services: give swarm://"
    if labels.pod:
        return "of Kubernetes pods: give k8s://"
    return "" if container.is_kept else "stopped for good"


def _version(documents: "Documents") -> str:
    info = documents.by_kind["info"]
    return info[0].server_version if info else ""

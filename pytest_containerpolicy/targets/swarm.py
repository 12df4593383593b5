"""A Docker Swarm as a target, read from a manager: `swarm://[CONTEXT]`, `swarm+tcp://HOST:PORT`."""

from typing import TYPE_CHECKING

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.docker_connection import (
    Endpoint,
    connect,
    endpoint_of,
    endpoint_uri,
)
from pytest_containerpolicy.targets.docker_documents import Image, Info, Network
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.swarm_documents import Node, Service, Swarm
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts, workloads_of

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.docker_reading import Reader

_ACTIVE = "active"


class SwarmTarget(Target):
    """One Swarm, judged by its services; only a manager knows them."""

    platform = "swarm"
    is_live = True
    scope_example = "swarm://?workload=web"

    def __init__(self, uri: str, endpoint: Endpoint, workloads: tuple[str, ...] = ()) -> None:
        self.uri = uri
        self.endpoint = endpoint
        self.workloads = workloads
        self.id = f"swarm:{endpoint.name}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "SwarmTarget":
        return cls(uri.text, endpoint_of(uri), workloads_of(uri))

    @property
    def durable_uri(self) -> str:
        return endpoint_uri(self.endpoint)

    def read(self, timeouts: Timeouts) -> Inventory:
        from pytest_containerpolicy.targets.docker_reading import Reader, read_info

        with connect(self.endpoint, timeouts) as client:
            reader = Reader(client)
            info = read_info(reader)
            if not info:
                raise Unreachable(f"{self.endpoint.note}: {reader.documents.unreadable[0]}")
            self._require_manager(info[0])
            _read_swarm(reader)
        documents = reader.documents
        documents.by_kind["info"] = info
        return Inventory(
            Header(
                target=self.id,
                platform="swarm",
                version=info[0].server_version,
                complete=not documents.unreadable,
                notes=(self.endpoint.note,),
                unreadable=tuple(documents.unreadable),
            ),
            documents.by_kind,
        )

    def _require_manager(self, info: Info) -> None:
        swarm = info.swarm
        if swarm is None or swarm.local_node_state == "inactive":
            raise Unreachable(
                f"{self.endpoint.note} is not part of a Swarm: name a manager, or judge it with engine://"
            )
        if swarm.local_node_state != _ACTIVE:
            raise Unreachable(
                f"{self.endpoint.note}: its part of the Swarm is {swarm.local_node_state}"
                f"{_remedy(swarm.local_node_state)}"
            )
        if not swarm.control_available:
            managers = ", ".join(manager.addr for manager in swarm.remote_managers or ())
            raise Unreachable(
                f"{self.endpoint.note} is a worker, and only a manager knows the services:"
                f" name one of {managers or 'the managers'}"
            )


def _remedy(state: str) -> str:
    return ": run `docker swarm unlock` on it" if state == "locked" else ""


def _read_swarm(reader: "Reader") -> None:
    reader.read(
        {
            "services": lambda: reader.get("services", "/services", list[Service]),
            "nodes": lambda: reader.get("nodes", "/nodes", list[Node]),
            "networks": lambda: reader.get("networks", "/networks", list[Network]),
            "swarm": lambda: _one(reader.get("swarm", "/swarm", Swarm)),
        }
    )
    by_kind = reader.documents.by_kind
    services = by_kind["services"]
    by_kind["networks"] += _unlisted_networks(reader, services, by_kind["networks"])
    specs = [service.spec.task_template.container_spec for service in services]
    # Those on other nodes only are not missed: the model knows what it can't say without them.
    references = sorted({spec.image for spec in specs if spec})
    by_kind["images"] = reader.get_each(
        "images", [f"/images/{name}/json" for name in references], Image
    )


def _one(document: Swarm | None) -> list[Swarm]:
    return [document] if document else []


def _unlisted_networks(
    reader: "Reader", services: list[Service], listed: list[Network]
) -> list[Network]:
    """The node's own networks (`host`): the Swarm has ids for them, but does not list those."""
    known = {name for network in listed for name in (network.id, network.name)}
    attached = {
        attachment.target
        for service in services
        for attachment in service.spec.task_template.networks or service.spec.networks or ()
    }
    paths = [f"/networks/{target}" for target in sorted(attached - known)]
    return reader.get_each("networks", paths, Network)

"""A Compose project that runs: `compose://PROJECT[?context=NAME|host=unix:///PATH]`.

What belongs to a project is told by the labels that Compose gives its containers, volumes and
networks; nothing but the daemon's API is needed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from pytest_containerpolicy.errors import TargetError, Unreachable
from pytest_containerpolicy.targets.docker_connection import (
    Endpoint,
    connect,
    endpoint_of,
    endpoint_uri,
    named_endpoint,
)
from pytest_containerpolicy.targets.docker_documents import Container, Labels
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.uri import (
    Target,
    TargetUri,
    Timeouts,
    split_uri,
    suggestion,
    workloads_of,
)

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.docker_client import EngineClient
    from pytest_containerpolicy.targets.docker_reading import Documents

_KEYS = ("context", "host", "cert_path", "workload")
_PROJECT = "com.docker.compose.project"


class _Row(msgspec.Struct, rename="pascal"):
    labels: Labels | None = None


class RunningProjectTarget(Target):
    """The containers, volumes and networks of one project on one daemon."""

    platform = "compose"
    is_live = True

    def __init__(
        self,
        uri: str,
        project: str,
        endpoint: Endpoint,
        place: str,
        workloads: tuple[str, ...] = (),
    ) -> None:
        self.uri = uri
        self.workloads = workloads
        self.project = project
        self.endpoint = endpoint
        self.id = f"compose://{project}{place}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "RunningProjectTarget":
        uri.allow(_KEYS)
        if not uri.authority or uri.path.strip("/"):
            raise TargetError(f"{uri.text}: write compose://PROJECT, or compose:PATH for files")
        endpoint = _endpoint(uri)
        named = uri.value("context") or uri.value("host")
        place = f"@{endpoint.name}" if named else ""
        return cls(uri.text, uri.authority, endpoint, place, workloads_of(uri))

    @property
    def names_scope(self) -> bool:
        return True

    @property
    def durable_uri(self) -> str:
        # What is undone on a daemon needs no project to be there any more.
        return endpoint_uri(self.endpoint)

    def read(self, timeouts: Timeouts) -> Inventory:
        from pytest_containerpolicy.targets.docker_reading import read_engine_documents

        started, taken_at = monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        with connect(self.endpoint, timeouts) as client:
            documents = read_engine_documents(client, [f"{_PROJECT}={self.project}"])
            self._require_project(client, documents)
            _add_external(client, documents)
        info = documents.by_kind["info"]
        return Inventory(
            Header(
                target=self.id,
                platform="compose",
                version=info[0].server_version if info else "",
                taken_at=taken_at,
                seconds=round(monotonic() - started, 3),
                complete=not documents.unreadable,
                notes=(self.endpoint.note, *_notes(documents.by_kind["containers"])),
                unreadable=tuple(documents.unreadable),
            ),
            documents.by_kind,
        )

    def _require_project(self, client: "EngineClient", documents: "Documents") -> None:
        if documents.by_kind["containers"] or documents.unreadable:
            return
        hint = suggestion(self.project, _projects(client))
        raise Unreachable(f"{self.uri}: no container of project {self.project!r}{hint}")


def _endpoint(uri: TargetUri) -> Endpoint:
    host, context = uri.value("host"), uri.value("context")
    if host and context:
        raise TargetError(f"{uri.text}: give host or context, not both")
    if not host:
        if uri.value("cert_path"):
            raise TargetError(f"{uri.text}: cert_path goes with host=tcp://HOST:PORT")
        return named_endpoint(context or "", uri.text)
    certificates = tuple(pair for pair in uri.query if pair[0] == "cert_path")
    try:
        parts = split_uri(f"engine+{host}")
    except TargetError:
        raise TargetError(
            f"{uri.text}: host {host!r} is not unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST"
        ) from None
    return endpoint_of(replace(parts, text=uri.text, query=certificates))


def _projects(client: "EngineClient") -> list[str]:
    """The projects that have containers on a daemon."""
    filters = msgspec.json.encode({"label": [_PROJECT]}).decode()
    answer = client.fetch("/containers/json", {"all": 1, "filters": filters})
    rows = msgspec.json.decode(answer, type=list[_Row])
    return sorted({row.labels.project for row in rows if row.labels and row.labels.project})


def _add_external(client: "EngineClient", documents: "Documents") -> None:
    """Read the volumes and networks that the project uses but did not make."""
    from pytest_containerpolicy.targets.docker_documents import Network, Volume
    from pytest_containerpolicy.targets.docker_reading import Reader

    reader, by_kind = Reader(client, documents), documents.by_kind
    volumes, networks = _used(by_kind["containers"])
    known = {
        kind: {document.name for document in by_kind[kind]} for kind in ("volumes", "networks")
    }
    by_kind["volumes"] += reader.get_each(
        "volumes", [f"/volumes/{name}" for name in volumes if name not in known["volumes"]], Volume
    )
    by_kind["networks"] += reader.get_each(
        "networks",
        [f"/networks/{name}" for name in networks if name not in known["networks"]],
        Network,
    )


def _used(containers: Iterable[Container]) -> tuple[list[str], list[str]]:
    volumes: dict[str, None] = {}
    networks: dict[str, None] = {}
    for container in containers:
        volumes |= {mount.name: None for mount in container.mounts or () if mount.type == "volume"}
        settings = container.network_settings
        networks |= dict.fromkeys((settings.networks if settings else None) or ())
    return list(volumes), list(networks)


def _notes(containers: Iterable[Container]) -> list[str]:
    left_out = [c for c in containers if c.is_one_off or not c.is_kept]
    if not left_out:
        return []
    names = ", ".join(sorted(container.name.removeprefix("/") for container in left_out))
    return [f"not judged, as they ran once or are stopped: {names}"]

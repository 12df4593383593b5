"""Reading a Docker daemon: every kind in parallel, each container and image inspected once."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from pytest_containerpolicy.targets.decoders import decoder
from pytest_containerpolicy.targets.docker_client import EngineClient, NoAnswer, Refused
from pytest_containerpolicy.targets.docker_documents import (
    Container,
    ContainerSummary,
    Image,
    Info,
    Network,
    Volume,
    VolumeList,
)
from pytest_containerpolicy.targets.inventory import Unreadable

Answer = TypeVar("Answer")
_NOT_FOUND = 404
_FORBIDDEN = (401, 403)


class Documents(Struct):
    """What was read, by kind, and what could not be."""

    by_kind: dict[str, list[Any]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)


class Reader:
    """Reads from one client into `documents`; what fails becomes an `Unreadable` of its kind."""

    def __init__(self, client: EngineClient, documents: Documents | None = None) -> None:
        self.client = client
        self.documents = documents or Documents()

    def get(
        self,
        kind: str,
        path: str,
        answer: type[Answer],
        params: Mapping[str, Any] | None = None,
        *,
        may_be_gone: bool = False,
    ) -> Answer | None:
        """One decoded answer; None when it could not be read, or is gone where that may be."""
        try:
            found: Answer = decoder(answer).decode(self.client.fetch(path, params))
            return found
        except Refused as error:
            if error.status != _NOT_FOUND or not may_be_gone:
                self._miss(kind, path, str(error), error.status in _FORBIDDEN)
        except (NoAnswer, OSError) as error:
            self._miss(kind, path, " ".join(str(error).split()))
        except msgspec.DecodeError as error:
            self._miss(kind, path, f"an answer that is not understood: {error}")
        return None

    def get_each(self, kind: str, paths: Iterable[str], answer: type[Answer]) -> list[Answer]:
        """The answers to many paths, in their order; those that are gone are left out."""
        with ThreadPoolExecutor(self.client.connections) as pool:
            found = pool.map(lambda path: self.get(kind, path, answer, may_be_gone=True), paths)
            return [document for document in found if document is not None]

    def read(self, kinds: Mapping[str, Callable[[], list[Any] | None]]) -> None:
        """Read several kinds at once; one that could not be read has no documents."""
        with ThreadPoolExecutor(self.client.connections) as pool:
            answers = pool.map(lambda read: read(), kinds.values())
            for kind, found in zip(kinds, answers, strict=True):
                self.documents.by_kind[kind] = found or []

    def _miss(self, kind: str, path: str, reason: str, forbidden: bool = False) -> None:
        needs = f"the right to GET {path}" if forbidden else ""
        self.documents.unreadable.append(Unreadable(kind, f"GET {path}: {reason}", needs=needs))


def read_engine_documents(client: EngineClient, labels: Iterable[str] = ()) -> Documents:
    """Containers, their images, volumes, networks and info of a daemon.

    `labels` (`com.docker.compose.project=shop`) narrow containers, volumes and networks to those
    that have them all. Kinds are those of `docker_documents.DOCUMENT_TYPES`.
    """
    reader, filters = Reader(client), _filters(labels)
    by_kind = reader.documents.by_kind
    reader.read(
        {
            "containers": lambda: reader.get(
                "containers", "/containers/json", list[ContainerSummary], {"all": 1, **filters}
            ),
            "volumes": lambda: _volumes(reader, filters),
            "networks": lambda: reader.get("networks", "/networks", list[Network], filters),
            "info": lambda: read_info(reader),
        }
    )
    paths = [f"/containers/{summary.id}/json" for summary in by_kind["containers"]]
    by_kind["containers"] = reader.get_each("containers", paths, Container)
    used = dict.fromkeys(container.image for container in by_kind["containers"])
    by_kind["images"] = reader.get_each("images", [f"/images/{i}/json" for i in used if i], Image)
    return reader.documents


def read_info(reader: Reader) -> list[Info]:
    """What the daemon says of itself, with the API version agreed on."""
    info = reader.get("info", "/info", Info)
    if info is None:
        return []
    info.api_version = reader.client.api_version
    return [info]


def _volumes(reader: Reader, filters: Mapping[str, str]) -> list[Volume] | None:
    answer = reader.get("volumes", "/volumes", VolumeList, filters)
    return answer.volumes if answer else None


def _filters(labels: Iterable[str]) -> dict[str, str]:
    wanted = list(labels)
    return {"filters": msgspec.json.encode({"label": wanted}).decode()} if wanted else {}

"""Anonymous volumes of a Compose service, given back to its containers.

`up` hands the anonymous volumes of a container on to the one that replaces it; after `down` or
`rm` they are still there, but nothing leads to them any more. A container that never starts and
holds them makes `up` hand them on again.
https://docs.docker.com/reference/compose-file/services/#volumes
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.compose_cli import ComposeCli, ComposeProject
from pytest_containerpolicy.experiments.docker_instances import is_ready
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.model.engine_containers import is_generated

_NUMBER = "com.docker.compose.container-number"


class Holder(Struct, frozen=True, kw_only=True):
    """A container as it was: what Compose knows it by, and its anonymous volumes by destination."""

    name: str
    image: str
    labels: dict[str, str]
    volumes: dict[str, str]

    @property
    def number(self) -> str:
        return self.labels[_NUMBER]


def holder_of(document: Document) -> Holder:
    """What it takes to give a container's successor the same anonymous volumes."""
    mounts = document.get("Mounts") or ()
    return Holder(
        name=document["Name"].removeprefix("/"),
        image=document["Image"],
        labels=document["Config"]["Labels"],
        volumes={m["Destination"]: m["Name"] for m in mounts if is_generated(m.get("Name", ""))},
    )


def number_of(document: Document) -> int:
    """The number that Compose gave a container of a service."""
    return int(document["Config"]["Labels"][_NUMBER])


def service_labels(project: str, service: str) -> list[str]:
    """The labels that only a service's own containers have."""
    pairs = {"project": project, "service": service, "oneoff": "False"}
    return [f"com.docker.compose.{key}={value}" for key, value in pairs.items()]


def containers_with(lab: DockerLab, labels: Sequence[str]) -> list[Document]:
    """The containers with all of these labels, running or not, by number."""
    with daemon_errors("list of containers"):
        rows = lab.client.api.containers(all=True, filters={"label": list(labels)})
        found = [document for row in rows if (document := lab.inspect(row["Id"]))]
    return sorted(found, key=number_of)


@undo
def bring_back(
    lab: DockerLab, project: dict[str, Any], service: str, holders: list[Any], seconds: float
) -> None:
    """Have a service run in as many containers as before, with the anonymous volumes they had.

    Volumes that took their place meanwhile are left alone.
    """
    wanted = msgspec.convert(holders, list[Holder])
    compose = ComposeCli(lab, msgspec.convert(project, ComposeProject))
    labels = service_labels(compose.project.name, service)
    found = containers_with(lab, labels)
    if not _hold(found, wanted):
        _require_volumes(lab, wanted)
        compose.run("rm", "--stop", "--force", service, seconds=seconds)
        for holder in wanted:
            _create(lab, holder)
        compose.up(service, len(wanted), "--force-recreate", seconds=seconds)
    elif len(found) != len(wanted) or not all(map(_runs, found)):
        # What holds the volumes may be a container of ours that was never meant to start.
        compose.up(service, len(wanted), "--force-recreate", seconds=seconds)
    what = f"service {service} of project {compose.project.name} to be as it was"
    lab.wait_for(lambda: _is_back(containers_with(lab, labels), wanted), seconds, what)


def _runs(document: Document) -> bool:
    return bool(document["State"]["Status"] == "running")


def _is_back(found: Sequence[Document], wanted: Sequence[Holder]) -> bool:
    return len(found) == len(wanted) and all(map(is_ready, found)) and _hold(found, wanted)


def _hold(found: Iterable[Document], wanted: Iterable[Holder]) -> bool:
    """Whether the anonymous volumes are where they were."""
    volumes = {holder.number: holder.volumes for holder in map(holder_of, found)}
    return all(volumes.get(one.number) == one.volumes for one in wanted if one.volumes)


def _require_volumes(lab: DockerLab, wanted: Iterable[Holder]) -> None:
    """Raise `CannotLook` if a volume is gone: an empty one would be made in its place."""
    from docker.errors import NotFound

    for name in (name for holder in wanted for name in holder.volumes.values()):
        with daemon_errors(f"volume {name}"):
            try:
                lab.client.api.inspect_volume(name)
            except NotFound:
                raise CannotLook(f"anonymous volume {name} is gone") from None


def _create(lab: DockerLab, holder: Holder) -> None:
    api = lab.client.api
    binds = [f"{volume}:{destination}" for destination, volume in holder.volumes.items()]
    with daemon_errors(f"creation of {holder.name}"):
        api.create_container(
            holder.image,
            name=holder.name,
            labels=holder.labels,
            host_config=api.create_host_config(binds=binds, network_mode="none"),
        )


def remove_volumes(lab: DockerLab, names: Iterable[str]) -> None:
    """Remove volumes that came with containers which are gone again."""
    from docker.errors import NotFound

    for name in names:
        with daemon_errors(f"removal of volume {name}"):
            try:
                lab.client.api.remove_volume(name)
            except NotFound:
                continue

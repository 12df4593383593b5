"""Markers in the containers of a Docker engine: hands that reach them, and their removal."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from pytest_containerpolicy.checks.host_paths import is_under
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.experiments.markers import Hand
from pytest_containerpolicy.experiments.survival_places import Place
from pytest_containerpolicy.targets.kubernetes_exec import Output

_UNLINK = "import os, sys\nos.path.lexists(sys.argv[1]) and os.unlink(sys.argv[1])"


class Spot(Struct, frozen=True, kw_only=True):
    """Where a marker is: in a folder of a volume or of a bound directory; else `kind` is empty."""

    path: str
    folder: str = ""
    kind: Literal["", "bind", "volume"] = ""
    source: str = ""


def hand_of(lab: DockerLab, container: str) -> Hand:
    """What reaches into a container: its shell, else a container that sees its processes."""

    def run(argv: Sequence[str]) -> Output:
        return lab.execute(container, argv)

    def run_beside(argv: Sequence[str]) -> Output:
        # https://man7.org/linux/man-pages/man2/ptrace.2.html (ptrace access mode checking)
        options = {"pid_mode": f"container:{container}", "cap_add": ["SYS_PTRACE"]}
        with lab.prober("none", **options) as prober:
            return lab.execute(prober, argv)

    return Hand(run_beside, "python") if run(["sh", "-c", ":"]).code else Hand(run)


def spots_of(document: Document, places: Iterable[Place]) -> list[dict[str, Any]]:
    """What `remove_container_markers` needs to find the markers of a container's places again."""
    return [msgspec.to_builtins(_spot(document, place.path, place.folder)) for place in places]


def _spot(document: Document, path: str, folder: str) -> Spot:
    above = [m for m in document.get("Mounts") or () if is_under(path, (m["Destination"],))]
    mount = max(above, key=lambda mount: len(mount["Destination"]), default={"Type": ""})
    match mount["Type"]:
        case "volume":
            return Spot(path=path, folder=folder, kind="volume", source=mount["Name"])
        case "bind":
            return Spot(path=path, folder=folder, kind="bind", source=mount["Source"])
    return Spot(path=path)


@undo
def remove_container_markers(
    lab: DockerLab, labels: list[str], name: str, spots: list[Any]
) -> None:
    """Remove a marker from what is mounted in containers with these labels, or was."""
    with daemon_errors("list of containers"):
        rows = lab.client.api.containers(filters={"label": labels})
        found = [document for row in rows if (document := lab.inspect(row["Id"]))]
    for spot in msgspec.convert(spots, list[Spot]):
        holding = [one for one in found if _spot(one, spot.path, spot.folder) == spot]
        for document in holding:
            hand_of(lab, document["Id"]).remove(spot.path, name)
        if not holding and spot.kind:
            _remove_beside(lab, spot, name)


def _remove_beside(lab: DockerLab, spot: Spot, name: str) -> None:
    """Remove a marker from a volume or directory that no container of the workload mounts now."""
    from docker.errors import NotFound
    from docker.types import Mount

    if spot.kind == "volume":
        with daemon_errors(f"volume {spot.source}"):
            try:
                lab.client.api.inspect_volume(spot.source)
            except NotFound:
                return
    mount = Mount("/left", spot.source, type=spot.kind or "bind")
    with lab.prober("none", mounts=[mount]) as prober:
        output = lab.execute(prober, ["python3", "-c", _UNLINK, f"/left/{spot.folder}/{name}"])
    if output.code:
        raise CannotLook(f"{spot.source}/{name} can't be removed: {output.err.strip()}")

"""One container of a workload on a Docker engine: at rest before an experiment and after it."""

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import undo
from pytest_containerpolicy.model.workload import Workload

_BACK_SECONDS = 120.0
_MODES = ("NetworkMode", "PidMode", "IpcMode")


@contextmanager
def steady(lab: DockerLab, workload: Workload) -> Iterator[Document]:
    """One running container of a workload; after the block, and come what may, it runs again.

    Raises `CannotLook` if it is not well, or if others would not survive its end.
    """
    container = max(lab.containers(workload), key=lambda one: str(one["Name"]), default=None)
    if container is None:
        raise CannotLook(f"{workload.ref}: none of its containers runs on this daemon")
    require_well(lab, container)
    identity, name = container["Id"], container["Name"].removeprefix("/")
    with lab.undoing(container_runs, f"container {name} may not run", container=identity):
        yield container


def require_well(lab: DockerLab, container: Document) -> None:
    """Raise `CannotLook` unless a container is well and may be stopped and started."""
    name = container["Name"].removeprefix("/")
    if not is_ready(container):
        raise CannotLook(f"container {name} is {state_of(container)}: nothing was touched")
    if container["HostConfig"].get("AutoRemove"):
        raise CannotLook(f"container {name} was run with --rm: once stopped it is gone for good")
    if guests := guests_of(lab, container):
        raise CannotLook(
            f"container {name} lends its network or processes to {', '.join(guests)}, which would"
            " lose them for good: nothing was touched"
        )


def is_ready(container: Document) -> bool:
    """Whether it runs and, where it has a health check, is healthy."""
    state = container["State"]
    return (
        bool(state["Running"])
        and health_of(container) in ("", "healthy")
        and not any(state.get(key) for key in ("Paused", "Restarting"))
    )


def health_of(container: Document) -> str:
    """`starting`, `healthy` or `unhealthy`; empty without a health check."""
    status = str((container["State"].get("Health") or {}).get("Status", ""))
    return "" if status == "none" else status


def state_of(container: Document) -> str:
    """Its state in words: `running, unhealthy`."""
    words = (str(container["State"]["Status"]), health_of(container))
    return ", ".join(word for word in words if word)


@undo
def container_runs(lab: DockerLab, container: str) -> None:
    """Start a container if it does not run, and wait until it is well; one that is gone is fine."""

    def is_back() -> bool:
        found = lab.inspect(container)
        if found is None or is_ready(found):
            return True
        if found["State"]["Status"] in ("exited", "created"):
            lab.client.api.start(container)
        return False

    with daemon_errors(f"start of container {container}"):
        lab.wait_for(is_back, _BACK_SECONDS, f"container {container[:12]} to be well again")


def guests_of(lab: DockerLab, container: Document) -> list[str]:
    """The names of the containers that use its network, processes or shared memory."""
    names = {container["Id"], container["Name"].removeprefix("/")}
    lent = {f"container:{name}" for name in names}
    with daemon_errors("containers"):
        rows = lab.client.api.containers(all=True)
    found = [lab.inspect(row["Id"]) for row in rows]
    return [
        document["Name"].removeprefix("/")
        for document in found
        if document and lent & {document["HostConfig"].get(mode) for mode in _MODES}
    ]

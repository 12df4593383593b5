"""A Swarm node that takes no new tasks for a while, and keeps or loses those that it has.

https://docs.docker.com/engine/swarm/manage-nodes/#change-node-availability
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo


@contextmanager
def paused(lab: DockerLab, node: str) -> Iterator[None]:
    """The node takes no new tasks in the block; one that is not active anyway stays as it is.

    `node` is its id. Raises `CannotLook` if it can't be changed.
    """
    if inspect_node(lab, node)["Spec"]["Availability"] != "active":
        yield
        return
    with _unavailable(lab, node, "pause"):
        yield


@contextmanager
def drained(lab: DockerLab, node: str) -> Iterator[None]:
    """The node loses its tasks and takes none in the block. `node` is its id.

    Raises `CannotLook` if it is not active, or can't be changed.
    """
    with _unavailable(lab, node, "drain"):
        yield


@contextmanager
def _unavailable(lab: DockerLab, node: str, availability: str) -> Iterator[None]:
    document = inspect_node(lab, node)
    spec, name = document["Spec"], document["Description"]["Hostname"]
    if spec["Availability"] != "active":
        raise CannotLook(f"node {name} is set to {spec['Availability']}: nothing was touched")
    labels = {**(spec.get("Labels") or {}), RUN_LABEL: lab.run}
    arguments = {"node": node, "run": lab.run, "availability": availability}
    with lab.undoing(activate, f"node {name} is set to {availability}", **arguments):
        _update(lab, document, {**spec, "Availability": availability, "Labels": labels})
        yield


@undo
def activate(lab: DockerLab, node: str, run: str, availability: str) -> None:
    """Let the node take tasks again if it was this run that changed it.

    What somebody else set it to meanwhile stays; a node that left the Swarm is left alone.
    """
    document = _find_node(lab, node)
    spec = document["Spec"] if document else {}
    labels = dict(spec.get("Labels") or {})
    if document is None or labels.pop(RUN_LABEL, "") != run:
        return
    back = "active" if spec["Availability"] == availability else spec["Availability"]
    _update(lab, document, {**spec, "Availability": back, "Labels": labels})


def inspect_node(lab: DockerLab, node: str) -> Document:
    """A node of the Swarm by id. Raises `CannotLook`, also if there is none."""
    document = _find_node(lab, node)
    if document is None:
        raise CannotLook(f"node {node} is gone")
    return document


def _find_node(lab: DockerLab, node: str) -> Document | None:
    from docker.errors import NotFound

    with daemon_errors(f"node {node}"):
        api: Any = lab.client.api
        try:
            document: Document = api.inspect_node(node)
        except NotFound:
            return None
    return document


def _update(lab: DockerLab, document: Document, spec: Document) -> None:
    with daemon_errors(f"update of node {document['ID']}"):
        api: Any = lab.client.api
        api.update_node(document["ID"], document["Version"]["Index"], spec)

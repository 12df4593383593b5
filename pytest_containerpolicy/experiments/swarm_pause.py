"""A Swarm node that takes no new tasks for a while, and keeps those that it has.

https://docs.docker.com/engine/swarm/manage-nodes/#change-node-availability
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo


@contextmanager
def paused(lab: DockerLab, node: str) -> Iterator[None]:
    """The node takes no new tasks in the block; one that is not active anyway stays as it is.

    `node` is its id. Raises `CannotLook` if it can't be changed.
    """
    document = inspect_node(lab, node)
    spec = document["Spec"]
    if spec["Availability"] != "active":
        yield
        return
    labels = {**(spec.get("Labels") or {}), RUN_LABEL: lab.run}
    what = f"node {document['Description']['Hostname']} is paused"
    with lab.undoing(activate, what, node=node, run=lab.run):
        _update(lab, document, {**spec, "Availability": "pause", "Labels": labels})
        yield


@undo
def activate(lab: DockerLab, node: str, run: str) -> None:
    """Let the node take tasks again if it was this run that paused it."""
    document = inspect_node(lab, node)
    spec = document["Spec"]
    labels = dict(spec.get("Labels") or {})
    if labels.pop(RUN_LABEL, "") != run:
        return
    back = "active" if spec["Availability"] == "pause" else spec["Availability"]
    _update(lab, document, {**spec, "Availability": back, "Labels": labels})


def inspect_node(lab: DockerLab, node: str) -> Document:
    """A node of the Swarm by id."""
    with daemon_errors(f"node {node}"):
        api: Any = lab.client.api
        document: Document = api.inspect_node(node)
    return document


def _update(lab: DockerLab, document: Document, spec: Document) -> None:
    with daemon_errors(f"update of node {document['ID']}"):
        api: Any = lab.client.api
        api.update_node(document["ID"], document["Version"]["Index"], spec)

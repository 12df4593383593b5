"""A node that takes no new pods for a while.

https://kubernetes.io/docs/concepts/architecture/nodes/#manual-node-administration
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import RUN_LABEL, undo

_ANNOTATION = f"/metadata/annotations/{RUN_LABEL.replace('/', '~1')}"


@contextmanager
def cordoned(lab: KubernetesLab, node: str, *, alone: bool = False) -> Iterator[None]:
    """The node takes no new pods in the block; one that somebody else cordoned stays as it is.

    Raises `Refused` without the right to patch nodes, `CannotLook` if there is no such node or,
    with `alone`, if somebody else cordoned it: another run, or for a reason that is not ours.
    """
    path = f"/api/v1/nodes/{node}"
    document = lab.find(path)
    if document is None:
        raise CannotLook(f"there is no node {node} any more")
    metadata = document["metadata"]
    holder = metadata.get("annotations", {}).get(RUN_LABEL, "")
    if alone and (holder or document["spec"].get("unschedulable")):
        by = f"run {holder}" if holder else "somebody else"
        raise CannotLook(f"node {node} is cordoned by {by}: nothing was touched")
    if document["spec"].get("unschedulable"):
        yield
        return
    # Of two runs at once only one may have it.
    version = {"op": "test", "path": "/metadata/resourceVersion"}
    change = [
        *([version | {"value": metadata["resourceVersion"]}] if alone else []),
        {"op": "add", "path": _ANNOTATION, "value": lab.run},
        {"op": "add", "path": "/spec/unschedulable", "value": True},
    ]
    with lab.undoing(uncordon, f"node {node} is cordoned", node=node, run=lab.run):
        lab.patch(path, change, "json")
        yield


@undo
def uncordon(lab: KubernetesLab, node: str, run: str) -> None:
    """Let the node take pods again if it was this run that cordoned it."""
    path = f"/api/v1/nodes/{node}"
    document = lab.find(path)
    if document is None or document["metadata"].get("annotations", {}).get(RUN_LABEL) != run:
        return
    change = [{"op": "test", "path": _ANNOTATION, "value": run}]
    if document["spec"].get("unschedulable"):
        change.append({"op": "remove", "path": "/spec/unschedulable"})
    lab.patch(path, [*change, {"op": "remove", "path": _ANNOTATION}], "json")

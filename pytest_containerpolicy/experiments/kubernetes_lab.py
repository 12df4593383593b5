"""A Kubernetes cluster as a laboratory: requests, pods, programs in them, probers, leases."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.lab import (
    PROTECTED_LABEL,
    RUN_LABEL,
    Away,
    Lab,
    LabOptions,
    undo,
)
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.kubernetes_connection import Connection
from pytest_containerpolicy.targets.kubernetes_exec import Output, PodProcess, execute
from pytest_containerpolicy.targets.kubernetes_failures import (
    FORBIDDEN,
    NOT_FOUND,
    RequestFailed,
)
from pytest_containerpolicy.targets.uri import Timeouts

Document = dict[str, Any]
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "pytest-containerpolicy"
CONFLICT = 409
_PLURALS = {
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "ReplicaSet": "replicasets",
}
_PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_TOO_MANY = 429
_SERVER_ERROR = 500
_ENDED = ("Succeeded", "Failed")
_REMOVAL_SECONDS = 60.0


class Refused(CannotLook):
    """The API server refused a request.

    `status` is HTTP's, `message` the server's own words, `causes` its reasons by their kind.
    """

    def __init__(
        self, text: str, status: int, message: str, causes: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(text)
        self.status = status
        self.message = message
        self.causes = causes


class NotNow(Refused, Away):
    """The API server did not answer (status 0), or is overloaded or broken for the moment."""


class KubernetesLab(Lab):
    """One cluster. Paths are the API's: `/api/v1/namespaces/shop/pods`."""

    target: KubernetesTarget

    def __init__(
        self,
        target: KubernetesTarget,
        timeouts: Timeouts,
        options: LabOptions,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(target, timeouts, options, journal)

    @cached_property
    def connection(self) -> Connection:
        """The connection to the API server; threads may share it."""
        return self.target.connect(self.timeouts)

    @cached_property
    def identity(self) -> str:
        """The uid of the namespace kube-system: https://github.com/kubernetes/kubernetes/issues/77487"""
        return str(self.get(f"/api/v1/namespaces/{SYSTEM_NAMESPACE}")["metadata"]["uid"])

    def close(self) -> None:
        super().close()
        self.connection.close()

    # Requests. Each raises `Refused`.

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Document:
        """One document."""
        return self._request("GET", path, query=query)

    def find(self, path: str) -> Document | None:
        """One document, or None where there is none."""
        try:
            return self.get(path)
        except Refused as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise

    def items(self, path: str, selector: Mapping[str, str] | None = None) -> list[Document]:
        """The documents of a list, those with these labels if a selector is given."""
        text = ",".join(f"{key}={value}" for key, value in (selector or {}).items())
        answer = self.get(path, {"labelSelector": text} if text else None)
        items: list[Document] = answer["items"]
        return items

    def create(self, path: str, document: Document, *, dry_run: bool = False) -> Document:
        """Create one document; `dry_run` has it admitted, but not kept."""
        query = {"dryRun": "All"} if dry_run else None
        return self._request("POST", path, document, query=query)

    def patch(
        self, path: str, change: Any, kind: str = "merge", *, dry_run: bool = False
    ) -> Document:
        """Patch one document; `kind` is merge, strategic or json."""
        query = {"dryRun": "All"} if dry_run else None
        return self._request("PATCH", path, change, content_type=_PATCH_TYPES[kind], query=query)

    def delete(self, path: str, *, uid: str = "", grace: int | None = None) -> None:
        """Delete one document (only the one with this uid); one that is gone is fine."""
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options |= {"preconditions": {"uid": uid}} if uid else {}
        options |= {"gracePeriodSeconds": grace} if grace is not None else {}
        try:
            self._request("DELETE", path, options)
        except Refused as refusal:
            if refusal.status != NOT_FOUND:
                raise

    def _request(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str | int] | None = None,
    ) -> Document:
        body = None if content is None else msgspec.json.encode(content)
        with refusals(f"{method} {path}"):
            answer = self.connection.send(
                method, path, body, content_type=content_type, query=query
            )
            return _decoded(answer)

    # Pods and programs in them.

    def pods(self, workload: Workload) -> list[Document]:
        """The pods of a workload, of any revision: those it controls, not others with like labels.

        Those that have ended or are about to are among them: `is_alive` tells.
        """
        path = f"/api/v1/namespaces/{workload.namespace}/pods"
        if workload.kind == "Pod":
            pod = self.find(f"{path}/{workload.name}")
            return [pod] if pod else []
        found = self.items(path, self.of_any_revision(workload).labels)
        return [pod for pod in found if controls(workload, pod)]

    def of_any_revision(self, workload: Workload) -> Workload:
        """The workload, but with those labels only that its pods of every revision have.

        Pods of an older template may lack the present one's; what the selector wants stays.
        """
        if workload.kind not in _PLURALS:
            return workload
        document = self.find(workload_path(workload))
        if document is None:
            return workload
        # What its other expressions leave out is no pod of the workload's either.
        return replace(workload, labels=document["spec"]["selector"].get("matchLabels") or {})

    def execute(
        self,
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str = "",
        stdin: bytes = b"",
        seconds: float = 30,
    ) -> Output:
        """Run a program in a container and wait for its end. Raises `Refused`."""
        with refusals(f"exec in pod {namespace}/{pod}"):
            return execute(
                self.connection,
                namespace,
                pod,
                argv,
                container=container,
                stdin=stdin,
                seconds=seconds,
            )

    def start(
        self, namespace: str, pod: str, argv: Sequence[str], *, container: str = ""
    ) -> PodProcess:
        """Start a program in a container, to talk to it line by line. Raises `Refused`."""
        with refusals(f"exec in pod {namespace}/{pod}"):
            return PodProcess(
                self.connection, namespace, pod, argv, container=container, stdin=True
            )

    # What a run creates, and removes again.

    @contextmanager
    def created(
        self, path: str, document: Document, grace: int | None = None
    ) -> Iterator[Document]:
        """A document that is there as long as the block lasts, labelled with the run.

        `path` is that of its collection; it needs a fixed `metadata.name`.
        """
        metadata = document["metadata"]
        metadata.setdefault("labels", {}).update({MANAGED_BY: MANAGER, RUN_LABEL: self.run})
        own = f"{path}/{quote(metadata['name'])}"
        what = f"{document['kind']} {metadata['name']} ({path}) is left"
        with self.undoing(remove, what, path=own, run=self.run, grace=grace) as entry:
            try:
                made = self.create(path, document)
            except Refused as refusal:
                if 400 <= refusal.status < 500:
                    self.journal.done(entry)
                raise
            yield made

    @contextmanager
    def claim(self, workload: Workload) -> Iterator[None]:
        from pytest_containerpolicy.experiments.kubernetes_lease import hold

        self.require_scope(workload)
        self._require_unprotected(workload)
        with hold(self, workload):
            yield

    def _require_unprotected(self, workload: Workload) -> None:
        namespace = workload.namespace
        labels = self.get(f"/api/v1/namespaces/{namespace}")["metadata"].get("labels", {})
        if namespace == SYSTEM_NAMESPACE or labels.get(PROTECTED_LABEL) == "false":
            reason = (
                "is never disrupted"
                if namespace == SYSTEM_NAMESPACE
                else f"is labelled {PROTECTED_LABEL}=false"
            )
            raise CannotLook(f"{workload.ref}: namespace {namespace} {reason}")


@undo
def remove(lab: KubernetesLab, path: str, run: str, grace: int | None = None) -> None:
    """Delete what a run created, and only that; wait until it is gone."""

    def is_gone() -> bool:
        document = lab.find(path)
        if document is None or document["metadata"].get("labels", {}).get(RUN_LABEL) != run:
            return True
        if "deletionTimestamp" not in document["metadata"]:
            lab.delete(path, uid=document["metadata"]["uid"], grace=grace)
        return False

    lab.wait_for(is_gone, _REMOVAL_SECONDS, f"{path} to be removed")


def workload_path(workload: Workload) -> str:
    """The API's path of a Deployment, StatefulSet, DaemonSet or ReplicaSet.

    Raises `CannotLook` for other kinds.
    """
    plural = _PLURALS.get(workload.kind)
    if plural is None:
        raise CannotLook(f"{workload.ref}: a {workload.kind} has no rollout that can be measured")
    return f"/apis/apps/v1/namespaces/{workload.namespace}/{plural}/{workload.name}"


def pod_path(pod: Document) -> str:
    """The API's path of a pod."""
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def is_ready(pod: Document) -> bool:
    """Whether a pod is ready and not on its way out."""
    conditions = pod["status"].get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def is_alive(pod: Document) -> bool:
    """Whether a pod neither has ended, as one that was evicted has, nor is on its way out."""
    return pod["status"].get("phase") not in _ENDED and "deletionTimestamp" not in pod["metadata"]


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn a failed request into `Refused`, which says what was asked and which right it needs."""
    try:
        yield
    except RequestFailed as failure:
        message = failure.message or failure.reason
        needs = f"; needs the right to {what}" if failure.status == FORBIDDEN else ""
        text = f"{what}: {message}{needs}"
        passes = failure.status in (0, _TOO_MANY) or failure.status >= _SERVER_ERROR
        kind = NotNow if passes else Refused
        raise kind(text, failure.status, message, failure.causes) from None


def controls(workload: Workload, pod: Document) -> bool:
    """Whether a workload is a pod's controller, directly or through a ReplicaSet of its own."""
    for owner in pod["metadata"].get("ownerReferences") or ():
        if not owner.get("controller"):
            continue
        name = workload.name
        if workload.kind == "Deployment":
            digest = pod["metadata"].get("labels", {}).get("pod-template-hash", "")
            return (owner["kind"], owner["name"]) == ("ReplicaSet", f"{name}-{digest}")
        return (owner["kind"], owner["name"]) == (workload.kind, name)
    return False


def _decoded(answer: bytes) -> Document:
    try:
        document: Document = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        raise RequestFailed(
            "the answer is no JSON document: something else answers in place of the API server"
        ) from None
    return document

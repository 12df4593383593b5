"""A Lease by which one run holds a workload, renewed as long as it does.

All times in it are the API server's: clocks of the machines that run us may be ahead or behind.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime, timedelta

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.background import repeated
from pytest_containerpolicy.experiments.kubernetes_lab import (
    CONFLICT,
    Document,
    KubernetesLab,
    Refused,
)
from pytest_containerpolicy.model.workload import Workload

# A lease of a run that died elsewhere, with its journal out of reach, must end by itself.
_SECONDS = 1800
_RENEWALS = 3


@contextmanager
def hold(lab: KubernetesLab, workload: Workload) -> Iterator[None]:
    """Hold a workload by its lease. Raises `CannotLook` if another run does."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{workload.namespace}/leases"
    name = f"containerpolicy-{workload.kind.lower()}-{workload.name}"
    with ExitStack() as held:
        try:
            made = held.enter_context(lab.created(path, _lease(name, lab, path)))
        except Refused as refusal:
            if refusal.status != CONFLICT:
                raise
            _remove_expired(lab, path, name, workload)
            made = held.enter_context(lab.created(path, _lease(name, lab, path)))
        held.enter_context(_renewed(lab, path, made, workload))
        yield


def _lease(name: str, lab: KubernetesLab, path: str) -> Document:
    now = _micro_time(_server_time(lab, path))
    spec = {
        "holderIdentity": lab.run,
        "leaseDurationSeconds": _SECONDS,
        "acquireTime": now,
        "renewTime": now,
    }
    return {**_KIND, "metadata": {"name": name}, "spec": spec}


_KIND = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}


def _server_time(lab: KubernetesLab, path: str) -> datetime:
    """The API server's time, in whole seconds: it stamps even what it is asked not to keep."""
    document = {**_KIND, "metadata": {"generateName": "containerpolicy-"}}
    stamped = lab.create(path, document, dry_run=True)
    return datetime.fromisoformat(stamped["metadata"]["creationTimestamp"])


def _micro_time(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _remove_expired(lab: KubernetesLab, path: str, name: str, workload: Workload) -> None:
    """Remove the lease that is in the way. Raises `CannotLook` if it still holds."""
    lease = lab.find(f"{path}/{name}")
    if lease is None:
        return
    spec = lease["spec"]
    taken = datetime.fromisoformat(spec["acquireTime"])
    renewed = datetime.fromisoformat(spec.get("renewTime") or spec["acquireTime"])
    if renewed + timedelta(seconds=spec["leaseDurationSeconds"]) > _server_time(lab, path):
        raise CannotLook(
            f"{workload.ref} is being disrupted by run {spec['holderIdentity']} since"
            f" {taken:%H:%M:%S} UTC: wait for its end, or run"
            " `containerpolicy restore` where it ran"
        )
    lab.delete(f"{path}/{name}", uid=lease["metadata"]["uid"])


def _renewed(
    lab: KubernetesLab, path: str, lease: Document, workload: Workload
) -> AbstractContextManager[None]:
    """Renew a lease in the background as long as the block lasts."""

    def renew() -> None:
        try:
            _renew(lab, path, lease)
        except CannotLook as gap:
            lab.say(f"{workload.ref} may be taken by another run: {gap}")

    return repeated(renew, _SECONDS / _RENEWALS)


def _renew(lab: KubernetesLab, path: str, lease: Document) -> None:
    """Raises `Refused`, too if it is not the lease any more that this run has taken."""
    metadata = lease["metadata"]
    now = _micro_time(_server_time(lab, path))
    change = {"metadata": {"uid": metadata["uid"]}, "spec": {"renewTime": now}}
    lab.patch(f"{path}/{metadata['name']}", change)

"""A rollout on Kubernetes as `kubectl rollout restart` starts it, followed to its end.

https://kubernetes.io/docs/reference/kubectl/generated/kubectl_rollout/kubectl_rollout_restart/
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from pytest_containerpolicy.experiments.headway import Headway
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_reasons import deadline_exceeded, reasons_of
from pytest_containerpolicy.experiments.kubernetes_revisions import (
    patience_of,
    progress_of,
    require_steady,
    require_unchanged,
    revised,
)
from pytest_containerpolicy.experiments.kubernetes_rights import require_right
from pytest_containerpolicy.experiments.kubernetes_watch import Life, PodWatch
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.model.workload import Workload

RESTARTED_AT = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
_POLL = 0.2


def require_restartable(lab: KubernetesLab, workload: Workload) -> None:
    """Raise `CannotLook` unless a rollout can start now, and be taken back."""
    require_steady(lab, workload)
    require_right(lab, "patch", f"{workload.kind.lower()}s", workload.namespace, "apps")
    if workload.kind == "StatefulSet":
        # It does not go back before its stuck pods are deleted.
        require_right(lab, "delete", "pods", workload.namespace)


def restart(
    lab: KubernetesLab, workload: Workload, mark: Callable[[str], None], deadline: float
) -> Replacement:
    """Replace all pods and wait until the last new one is available and the last old one gone.

    It ends, not completed, when nothing moves for `deadline` seconds (0: the workload's own
    progress deadline, or 600), beyond the grace period once only old pods are left, when each pod
    could have taken that long, or when the controller gives up; the old revision then comes back.
    Raises `CannotLook` if somebody else interferes.
    """
    document = require_steady(lab, workload)
    patience = deadline or patience_of(document)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with PodWatch(lab, lab.of_any_revision(workload)) as watch:
        old = watch.active
        begun = time.monotonic()
        with revised(lab, document, RESTARTED_AT, now, keep=True) as made:
            mark("restart")
            document = _followed(lab, workload, made, watch, old, patience)
            replacement = _replacement(lab, document, watch, old, time.monotonic() - begun)
            mark("complete" if replacement.completed else "gave up")
        return replacement


def _followed(
    lab: KubernetesLab,
    workload: Workload,
    made: Document,
    watch: PodWatch,
    old: Collection[str],
    patience: float,
) -> Document:
    """The workload once its rollout has come to its end, or stood still for too long."""
    seen, grace = "", max(0.0, workload.grace_period)
    headway = Headway((patience + grace) * (len(old) + 1))
    while True:
        document = require_unchanged(lab, workload, made)
        watch.require_sight()
        progress, left = progress_of(document), len(_left(watch, old))
        state = f"{progress}, {left} old ones are not gone yet"
        if state != seen:
            seen = state
            lab.say(f"rollout of {workload.ref}: {state}")
        if _is_over(document, watch, old) or deadline_exceeded(document):
            return document
        reached = progress.updated, len(old) - left, progress.available
        if headway.stands_still(reached, patience + (grace if progress.is_complete else 0)):
            return document
        time.sleep(_POLL)


def _is_over(document: Document, watch: PodWatch, old: Collection[str]) -> bool:
    """Whether all is new: a Deployment's status does not count the old pods that still stop."""
    return progress_of(document).is_complete and not _left(watch, old)


def _left(watch: PodWatch, old: Collection[str]) -> list[Life]:
    return [life for life in watch.lives if life.uid in old and life.gone is None]


def _replacement(
    lab: KubernetesLab,
    document: Document,
    watch: PodWatch,
    old: Collection[str],
    seconds: float,
) -> Replacement:
    completed = _is_over(document, watch, old)
    replaced = [life for life in watch.lives if life.uid in old]
    return Replacement(
        seconds=seconds,
        copies=sum(life.gone is not None for life in replaced),
        completed=completed,
        stops=tuple(life.stop for life in replaced if life.stop),
        fewest_ready=watch.fewest_ready,
        without_ready=watch.seconds_without_ready(),
        reasons=() if completed else reasons_of(lab, document, watch.lives, old),
    )

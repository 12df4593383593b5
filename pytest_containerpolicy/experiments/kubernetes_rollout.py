"""A rollout on Kubernetes as `kubectl rollout restart` starts it, followed to its end.

https://kubernetes.io/docs/reference/kubectl/generated/kubectl_rollout/kubectl_rollout_restart/
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_reasons import deadline_exceeded, reasons_of
from pytest_containerpolicy.experiments.kubernetes_revisions import (
    patience_of,
    progress_of,
    require_steady,
    require_unchanged,
    revised,
)
from pytest_containerpolicy.experiments.kubernetes_watch import PodWatch
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.model.workload import Workload

RESTARTED_AT = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
_POLL = 0.2


def require_restartable(lab: KubernetesLab, workload: Workload) -> None:
    """Raise `CannotLook` unless a rollout can start now."""
    require_steady(lab, workload)


def restart(
    lab: KubernetesLab, workload: Workload, mark: Callable[[str], None], deadline: float
) -> Replacement:
    """Replace all pods and wait until the last new one is available and the last old one gone.

    It ends, not completed, when nothing moves for `deadline` seconds (0: the workload's own
    progress deadline, or 600) or the controller gives up; the old revision then comes back.
    Raises `CannotLook` if somebody else interferes.
    """
    document = require_steady(lab, workload)
    patience = deadline or patience_of(document)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with PodWatch(lab, workload) as watch:
        old = {life.uid for life in watch.lives}
        with revised(lab, document, RESTARTED_AT, now, keep=True, seconds=patience) as made:
            mark("restart")
            followed = _follow(lab, workload, made, watch, old, patience)
            mark("complete" if followed.completed else "gave up")
        return followed


def _follow(
    lab: KubernetesLab,
    workload: Workload,
    made: Document,
    watch: PodWatch,
    old: Collection[str],
    patience: float,
) -> Replacement:
    begun = moved = time.monotonic()
    seen = ""
    while True:
        document = require_unchanged(lab, workload, made)
        watch.require_sight()
        progress, now = progress_of(document), time.monotonic()
        remaining = [life for life in watch.lives if life.uid in old and life.gone is None]
        state = f"{progress}, {len(remaining)} old not gone yet"
        if state != seen:
            seen, moved = state, now
            lab.say(f"rollout of {workload.ref}: {state}")
        stuck = now - moved > patience or deadline_exceeded(document)
        if stuck or (progress.is_complete and not remaining):
            break
        time.sleep(_POLL)
    reasons = () if progress.is_complete else reasons_of(lab, document, watch.lives, old)
    return Replacement(
        seconds=now - begun,
        copies=sum(life.gone is not None for life in watch.lives if life.uid in old),
        completed=progress.is_complete,
        stops=tuple(life.stop for life in watch.lives if life.uid in old and life.stop),
        fewest_ready=watch.fewest_ready,
        without_ready=watch.seconds_without_ready(),
        reasons=reasons,
    )

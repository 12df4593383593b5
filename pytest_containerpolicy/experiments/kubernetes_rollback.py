"""A revision that can't ever run, tried on Kubernetes and taken back.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#failed-deployment
"""

import time
from collections.abc import Callable, Collection

from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, is_alive
from pytest_containerpolicy.experiments.kubernetes_reasons import pod_reasons, refusals_of
from pytest_containerpolicy.experiments.kubernetes_revisions import (
    require_steady,
    require_unchanged,
    revised,
    revision_of,
)
from pytest_containerpolicy.experiments.kubernetes_rollout import require_restartable
from pytest_containerpolicy.experiments.kubernetes_watch import Life, PodWatch
from pytest_containerpolicy.experiments.replacement import BadRevision
from pytest_containerpolicy.model.workload import Workload

# No registry can have that name: https://www.rfc-editor.org/rfc/rfc2606#section-2
IMAGE = "containerpolicy.invalid/never:{}"
_STUCK_SECONDS = 120.0
_POLL = 0.2


# Whatever is rolled out may have to be taken back: a restart needs no fewer rights.
require_rehearsable = require_restartable


def rehearse(
    lab: KubernetesLab, workload: Workload, mark: Callable[[str], None], seconds: float
) -> BadRevision:
    """Roll out an image that does not exist, leave it so for `seconds`, and take it back.

    Raises `CannotLook` if somebody else interferes, or if the new revision does not even begin.
    """
    document = require_steady(lab, workload)
    index, pod_spec = _first_main(workload, document), document["spec"]["template"]["spec"]
    pointer, image = f"/spec/template/spec/containers/{index}/image", IMAGE.format(lab.run)
    with PodWatch(lab, lab.of_any_revision(workload)) as watch:
        before, old = watch.ready, watch.active
        with revised(lab, document, pointer, image, keep=False) as made:
            mark(f"image of {pod_spec['containers'][index]['name']} does not exist")
            stuck = _wait_until_stuck(lab, workload, made, watch, old)
            mark("stuck")
            lab.say(f"bad revision of {workload.ref} is stuck, watched for {seconds:g} s: {stuck}")
            _hold(lab, workload, made, watch, seconds)
            fewest, replaced = watch.fewest_ready, [life for life in watch.lives if life.uid in old]
            mark("taken back")
        mark("as before")
        return BadRevision(
            before=before,
            fewest_ready=fewest,
            stuck=stuck,
            without_ready=watch.seconds_without_ready(),
            stops=tuple(life.stop for life in replaced if life.stop),
        )


def _first_main(workload: Workload, document: Document) -> int:
    name = workload.main_containers[0].name
    containers = document["spec"]["template"]["spec"]["containers"]
    return [container["name"] for container in containers].index(name)


def _wait_until_stuck(
    lab: KubernetesLab,
    workload: Workload,
    made: Document,
    watch: PodWatch,
    old: Collection[str],
) -> str:
    """Why the new revision does not come up, once that shows."""
    former = {revision_of(life.pod) for life in watch.lives if life.uid in old}

    def reason() -> str:
        document = require_unchanged(lab, workload, made)
        watch.require_sight()
        # What was evicted long ago may be of an even older revision.
        present = [life for life in watch.lives if life.gone is None and is_alive(life.pod)]
        broken = [life for life in present if revision_of(life.pod) not in former]
        return next(iter([*_reasons(broken), *refusals_of(document)]), "")

    return lab.wait_for(reason, _STUCK_SECONDS, f"a pod of {workload.ref} that can't run")


def _reasons(lives: list[Life]) -> list[str]:
    return [reason for life in lives for reason in pod_reasons(life.pod)]


def _hold(
    lab: KubernetesLab, workload: Workload, made: Document, watch: PodWatch, seconds: float
) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        require_unchanged(lab, workload, made)
        watch.require_sight()
        time.sleep(_POLL)

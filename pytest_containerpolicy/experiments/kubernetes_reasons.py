"""Why a rollout stands still, in the platform's own words."""

from collections.abc import Collection, Iterator, Sequence

from pytest_containerpolicy.experiments.kubernetes_lab import (
    Document,
    KubernetesLab,
    Refused,
    is_ready,
)
from pytest_containerpolicy.experiments.kubernetes_watch import Life
from pytest_containerpolicy.targets.kubernetes_failures import one_line

_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
_MOST = 3


def deadline_exceeded(document: Document) -> bool:
    """Whether the controller has given a Deployment's current rollout up."""
    status = document.get("status", {})
    if status.get("observedGeneration", 0) < document["metadata"]["generation"]:
        return False
    return any(c.get("reason") == _DEADLINE_EXCEEDED for c in status.get("conditions") or ())


def reasons_of(
    lab: KubernetesLab, document: Document, lives: Sequence[Life], old: Collection[str]
) -> tuple[str, ...]:
    """What keeps a rollout from its end, the nearest cause first, each cause once."""
    pods = [life.pod for life in lives if life.gone is None and life.uid not in old]
    stuck = [
        pod for pod in pods if not is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
    ]
    found = [*refusals_of(document), *(reason for pod in stuck for reason in pod_reasons(pod))]
    if not found:
        found = [text for about in (*stuck, document) for text in warnings_of(lab, about)]
    if not found:
        found = [f"pod {pod['metadata']['name']}: running, but not ready" for pod in stuck]
    staying = [life for life in lives if life.uid in old and life.told and life.gone is None]
    found += [f"pod {life.name}: told to stop, but still there" for life in staying]
    if deadline_exceeded(document):
        seconds = document["spec"].get("progressDeadlineSeconds", 600)
        found.append(f"progress deadline exceeded ({seconds} s)")
    return tuple(dict.fromkeys(found))[:_MOST]


def refusals_of(document: Document) -> Iterator[str]:
    """Why a controller may not create pods: a quota, an admission policy."""
    for condition in document.get("status", {}).get("conditions") or ():
        if (condition["type"], condition["status"]) == ("ReplicaFailure", "True"):
            yield one_line(condition.get("message") or condition.get("reason", ""))


def pod_reasons(pod: Document) -> Iterator[str]:
    """Why a pod does not run: no place, no image, a crash."""
    name, status = pod["metadata"]["name"], pod["status"]
    for condition in status.get("conditions") or ():
        if (condition["type"], condition["status"]) == ("PodScheduled", "False"):
            message = condition.get("message", "")
            yield one_line(f"pod {name}: {condition.get('reason', '')}: {message}")
    statuses = (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    )
    for container in statuses:
        last = container.get("lastState", {}).get("terminated") or container["state"].get(
            "terminated"
        )
        waiting = container["state"].get("waiting", {})
        reason = waiting.get("reason", "")
        if (
            last
            and not container.get("ready")
            and (last["exitCode"] or reason == "CrashLoopBackOff")
        ):
            count = container.get("restartCount", 0)
            yield (
                f"pod {name}: container {container['name']} ended with exit code"
                f" {last['exitCode']} ({last.get('reason', 'Error')}), restarts {count}"
            )
        elif reason not in ("", "ContainerCreating", "PodInitializing"):
            yield one_line(f"pod {name}: {reason}: {waiting.get('message', '')}")


def warnings_of(lab: KubernetesLab, about: Document) -> Iterator[str]:
    """The last warning about an object, if one may read it."""
    metadata = about["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/events"
    wanted = f"involvedObject.uid={metadata['uid']},type=Warning"
    try:
        events = lab.get(path, {"fieldSelector": wanted})["items"]
    except Refused:
        return
    events.sort(
        key=lambda event: event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
    )
    if events:
        last = events[-1]
        yield one_line(
            f"{last['involvedObject']['kind'].lower()} {metadata['name']}: {last['message']}"
        )

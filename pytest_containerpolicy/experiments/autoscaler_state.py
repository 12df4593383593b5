"""What a HorizontalPodAutoscaler says of itself.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale-walkthrough/#appendix-horizontal-pod-autoscaler-status-conditions
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.targets.kubernetes_failures import one_line

_PAUSE_SECONDS = 2.0
_SCALING_DISABLED = "ScalingDisabled"
_OF_PODS = ("FailedGetResourceMetric", "FailedGetContainerResourceMetric", "FailedGetPodsMetric")
_NO_REQUEST = "missing request"


class Problem(Struct, frozen=True):
    """What keeps an autoscaler from its work. `may_pass`: so it is while pods are young, too."""

    text: str
    wanted: str
    path: str = ""
    may_pass: bool = False


class AutoscalerState(Struct, frozen=True, kw_only=True):
    """Its conditions and metrics at one moment. `replicas` is what its target has.

    `is_disabled`: somebody scaled the target to 0, and the autoscaler leaves it alone.
    """

    replicas: int
    metrics: tuple[str, ...]
    problems: tuple[Problem, ...]
    is_disabled: bool = False

    def __str__(self) -> str:
        if self.is_disabled:
            return "switched off: its target is scaled to 0"
        said = "; ".join(problem.text for problem in self.problems) or "it works"
        return f"{said} ({', '.join(self.metrics) or 'no metrics'})"


def settled_state(lab: KubernetesLab, autoscaler: Autoscaler, patience: float) -> AutoscalerState:
    """The state now; where a problem is younger than `patience` seconds, once it is that old.

    The first metrics of a new pod take about a minute. Raises `CannotLook` if the autoscaler is
    gone.
    """
    given_up, told = time.monotonic() + patience, False
    while True:
        document = _read(lab, autoscaler)
        state = state_of(document)
        is_over = time.monotonic() > given_up or _is_old(document, patience)
        if is_over or not any(problem.may_pass for problem in state.problems):
            return state
        if not told:
            lab.say(f"{autoscaler.ref}: waiting for its first metrics")
            told = True
        time.sleep(_PAUSE_SECONDS)


def _read(lab: KubernetesLab, autoscaler: Autoscaler) -> Document:
    ref = autoscaler.ref
    path = f"/apis/autoscaling/v2/namespaces/{ref.namespace}/horizontalpodautoscalers/{ref.name}"
    document = lab.find(path)
    if document is None:
        raise CannotLook(f"{ref} is gone since it was read")
    return document


def state_of(document: Document) -> AutoscalerState:
    """What an autoscaler says of itself."""
    status = document.get("status", {})
    active = _condition(document, "ScalingActive")
    disabled = active.get("reason") == _SCALING_DISABLED
    return AutoscalerState(
        replicas=status.get("currentReplicas", 0),
        metrics=tuple(_metrics(status)),
        problems=() if disabled else tuple(_problems(document)),
        is_disabled=disabled,
    )


def _problems(document: Document) -> Iterator[Problem]:
    able, active = _condition(document, "AbleToScale"), _condition(document, "ScalingActive")
    if not able and not active:
        wanted = "a controller manager that runs it"
        yield Problem("no controller has looked at it", wanted, may_pass=True)
    elif able.get("status") == "False":
        text = _said("AbleToScale", able)
        yield Problem(text, "a target that it can scale", "spec.scaleTargetRef")
    elif active.get("status") == "False":
        text = _said("ScalingActive", active)
        wanted, may_pass = "metrics from which a number of pods follows", _of_pods(active)
        yield Problem(text, wanted, "spec.metrics", may_pass)
    else:
        yield from _silent_metrics(document)
    limited = _condition(document, "ScalingLimited")
    if limited.get("status") == "True" and limited["reason"] == "TooManyReplicas":
        most = document["spec"]["maxReplicas"]
        yield Problem(
            f"it wants more pods than its maxReplicas of {most}",
            "a maximum above what the load asks for",
            "spec.maxReplicas",
        )


def _of_pods(condition: Document) -> bool:
    """Whether metrics of the pods themselves are missing: those of new pods take a minute."""
    return condition["reason"] in _OF_PODS and _NO_REQUEST not in condition["message"]


def _said(kind: str, condition: Document) -> str:
    message = condition["message"].removeprefix("the HPA was unable to compute the replica count: ")
    return one_line(f"{kind} is False: {condition['reason']}: {message}")


def _silent_metrics(document: Document) -> Iterator[Problem]:
    """The metrics without a value: with one of them silent it scales up, but never down."""
    current = document.get("status", {}).get("currentMetrics") or ()
    for index, metric in enumerate(document["spec"].get("metrics") or ()):
        if index < len(current) and not current[index].get("type"):
            text = f"metric {_name(metric)} has no value"
            may_pass = metric["type"] in ("Resource", "ContainerResource", "Pods")
            yield Problem(text, "a value for each metric", f"spec.metrics[{index}]", may_pass)


def _metrics(status: Document) -> Iterator[str]:
    for metric in status.get("currentMetrics") or ():
        value = _source(metric).get("current", {})
        if "averageUtilization" in value:
            yield f"{_name(metric)} {value['averageUtilization']} %"
        elif value:
            yield f"{_name(metric)} {value.get('averageValue') or value.get('value')}"


def _name(metric: Document) -> str:
    source = _source(metric)
    return str(source.get("name") or source.get("metric", {}).get("name", "?"))


def _source(metric: Document) -> Document:
    kind = metric.get("type", "")
    found: Document = metric.get(kind[:1].lower() + kind[1:], {})
    return found


def _condition(document: Document, kind: str) -> Document:
    conditions = document.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {})


def _is_old(document: Document, patience: float) -> bool:
    """Whether it has been there, working or not, for so long."""
    conditions = (_condition(document, kind) for kind in ("AbleToScale", "ScalingActive"))
    times = [condition["lastTransitionTime"] for condition in conditions if condition]
    youngest = max([*times, document["metadata"]["creationTimestamp"]])
    age = datetime.now(UTC) - datetime.fromisoformat(youngest)
    return age.total_seconds() > patience

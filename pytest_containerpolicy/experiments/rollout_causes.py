"""Why clients noticed a rollout: what was seen of it, held against what is declared."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.measurement_text import wrapped
from pytest_containerpolicy.experiments.replacement import BadRevision, Replacement, Stop
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

Seen = Replacement | BadRevision
# Until every node knows that a pod is gone; a preStop hook of that length bridges it.
_BRIDGE_SECONDS = 5.0
_NOBODY_THERE = ("refused", "timeout", "unreachable", "reset", "closed")
_INDENT = "  "


class Cause(Struct, frozen=True):
    """One cause, what mends it, and the field where that is written."""

    text: str
    fix: str
    path: str


def report(
    title: str, measurement: Measurement, facts: Iterable[str], causes: Iterable[Cause]
) -> str:
    """A result for people: what was measured, what else was seen, why, and what mends it."""
    texts = [*facts, *(text for cause in causes for text in (cause.text, f"fix  {cause.fix}"))]
    lines = [
        *str(measurement).splitlines(),
        *(line for text in texts for line in wrapped(text)),
    ]
    return "\n".join([title, *(f"{_INDENT}{line}" for line in lines)])


class _Words(Struct, frozen=True):
    copies: str
    gate: str
    delay: str


_WORDS = {
    "kubernetes": _Words("pods", "readiness probe", "lifecycle: {preStop: {sleep: {seconds: 5}}}"),
    "swarm": _Words("tasks", "health check", "serve on for some seconds after SIGTERM"),
    "compose": _Words("containers", "health check", "serve on for some seconds after SIGTERM"),
}


def causes_of(workload: Workload, replacement: Seen, measurement: Measurement) -> tuple[Cause, ...]:
    """The likely causes of the failures, the strongest first; none where none failed."""
    if not measurement.failed:
        return ()
    return tuple(_causes(workload, replacement, measurement))


def _causes(workload: Workload, replacement: Seen, measurement: Measurement) -> Iterator[Cause]:
    words = _WORDS[workload.platform]
    lost = any(name in _NOBODY_THERE for name in measurement.failures)
    told = any(name.isdigit() for name in measurement.failures)
    if replacement.without_ready:
        yield _all_away(workload, replacement, words)
    ungated = [c for c in _serving(workload) if not _has_gate(c)]
    if ungated and (told or lost):
        yield Cause(
            f"no {words.gate}: requests reach {words.copies} that can't answer yet",
            f"give container {ungated[0].name} a {words.gate}",
            field_path(ungated[0], "gate"),
        )
    if lost and replacement.stops and not replacement.without_ready:
        yield _gone_too_early(workload, replacement.stops, words)
    if told and not ungated and not lost:
        yield Cause(
            f"{words.copies} answer with {_statuses(measurement)} while they count as ready",
            f"let the {words.gate} succeed only when requests can be answered, and answer them"
            " until the process ends",
            field_path(next(iter(_serving(workload))), "gate"),
        )


def _all_away(workload: Workload, replacement: Seen, words: _Words) -> Cause:
    rollout, seconds = workload.rollout, replacement.without_ready
    strategy = rollout.strategy if rollout else "the rollout"
    away = f"no {words.copies[:-1]} was ready for {seconds:.1f} s"
    if strategy == "Recreate":
        return Cause(
            f"Recreate stops all {words.copies} before it starts new ones: {away}",
            "strategy: {type: RollingUpdate}",
            field_path(workload, "rollout.strategy"),
        )
    if (workload.replicas or 0) == 1:
        return Cause(
            f"its only {words.copies[:-1]} stops before the next one serves: {away}",
            "run two replicas, or start the new one first",
            field_path(workload, "replicas"),
        )
    return Cause(
        f"{strategy} lets all {words.copies} be away at once: {away}",
        "let fewer be unavailable at once",
        field_path(workload, "rollout.max_unavailable"),
    )


def _gone_too_early(workload: Workload, stops: tuple[Stop, ...], words: _Words) -> Cause:
    container = next(iter(_serving(workload)))
    stop = min(stops, key=lambda stop: stop.seconds)
    if workload.platform != "kubernetes":
        text = f"{words.copies} end while requests still come to them ({stop})"
        return Cause(text, words.delay, field_path(container, "stop_signal"))
    if stop.killed:
        how = f"killed at the end of a grace period that is too short ({stop})"
    elif container.pre_stop:
        how = f"the preStop hook and the process are over too soon ({stop})"
    elif stop.seconds < _BRIDGE_SECONDS:
        how = f"no preStop, the process exits on SIGTERM ({stop})"
    else:
        how = f"no preStop, the process takes no more connections after SIGTERM ({stop})"
    return Cause(
        f"pods were gone before the endpoints knew: {how}",
        words.delay,
        field_path(container, "pre_stop"),
    )


def _serving(workload: Workload) -> tuple[Container, ...]:
    """The containers that answer, by the ports they declare; all mains where none declares it."""
    if workload.platform != "kubernetes":
        return workload.main_containers
    return workload.serving_containers or workload.main_containers


def _has_gate(container: Container) -> bool:
    try:
        return container.gate is not None
    except CannotLook:
        return True  # the image may have one: do not blame the lack of it


def _statuses(measurement: Measurement) -> str:
    return ", ".join(name for name in measurement.failures if name.isdigit())

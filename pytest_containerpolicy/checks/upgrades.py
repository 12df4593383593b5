"""Checks of what makes an upgrade unnoticed: a gate for new copies, and more than one of them."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.checks.upgrades_rollout import (
    copies_text,
    must_stop_first,
    recreates,
)
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.network import Service
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

_IMAGE_UNSEEN = "a health check built into the image does not show here"


def answers_clients(container: Container) -> bool:
    """Whether clients' requests reach this container."""
    return container in _answering(container.workload)


def _answering(workload: Workload) -> tuple[Container, ...]:
    """The containers that answer, by the ports they declare.

    Where none declares the port, nobody can say which of them it is: one gate holds back the
    whole copy, so the first container that has one speaks for all.
    """
    if workload.runs_to_completion or not (workload.is_served or workload.health_awaited):
        return ()
    mains = workload.main_containers
    gated = tuple(container for container in mains if container.gate)
    return workload.serving_containers or gated[:1] or mains[:1]


@check(applies=answers_clients)
def gate_set(container: Container) -> Iterator[Violation]:
    """Something tells the platform that a new copy may take over from an old one."""
    if container.gate is not None:
        return
    platform = container.workload.platform
    word = "readiness probe" if platform == "kubernetes" else "health check"
    unseen = platform == "compose" and not (container.model.is_live or container.health_disabled)
    declared = " declared" if unseen else ""
    yield Violation(
        found="health check disabled" if container.health_disabled else f"no {word}{declared}",
        wanted=f"a {word}",
        path=field_path(container, "gate"),
        why=_IMAGE_UNSEEN if unseen else "",
    )


def scales_out(workload: Workload) -> bool:
    """Whether clients reach it and nothing stands in the way of a second copy."""
    return (
        _is_replicated(workload)
        and workload.kind != "StatefulSet"
        and not recreates(workload.rollout)
        # Several copies show that nothing stands in the way of them.
        and ((workload.fewest_replicas or 0) > 1 or not must_stop_first(workload))
    )


def is_served_stateful_set(workload: Workload) -> bool:
    """Whether it is a StatefulSet that clients reach."""
    return (
        _is_replicated(workload) and workload.kind == "StatefulSet" and workload.autoscaler is None
    )


def chooses_replicas(workload: Workload) -> bool:
    """Whether nothing stands in the way of a second copy, and no autoscaler decides about it."""
    return scales_out(workload) and workload.autoscaler is None


def scales_what_is_served(autoscaler: Autoscaler) -> bool:
    """Whether what it scales answers clients, and nothing stands in the way of a second copy.

    A StatefulSet that is scaled up and down can have one.
    """
    workload = autoscaler.workload
    if workload is None or not _is_replicated(workload):
        return False
    return workload.kind == "StatefulSet" or scales_out(workload)


@check(applies=chooses_replicas)
def replicas_enough(workload: Workload, at_least: int = 2) -> Iterator[Violation]:
    """At least `at_least` copies are declared."""
    yield from _too_few(workload, at_least)


@check(applies=is_served_stateful_set)
def stateful_replicas_enough(workload: Workload, at_least: int = 2) -> Iterator[Violation]:
    """At least `at_least` copies of a StatefulSet are declared."""
    yield from _too_few(workload, at_least)


@check(applies=scales_what_is_served)
def autoscaler_minimum_enough(autoscaler: Autoscaler, at_least: int = 2) -> Iterator[Violation]:
    """The autoscaler keeps at least `at_least` copies at the quietest time."""
    if autoscaler.min_replicas < at_least:
        yield Violation(
            found=f"a minimum of {copies_text(autoscaler.min_replicas)}",
            wanted=f"at least {at_least}",
            path="spec.minReplicas",
        )


def _too_few(workload: Workload, at_least: int) -> Iterator[Violation]:
    count = workload.replicas or 0
    if count < at_least:
        yield Violation(
            found=copies_text(count),
            wanted=f"at least {at_least}",
            path=field_path(workload, "replicas"),
        )


def leads_to_what_stays(service: Service) -> bool:
    """Whether it selects pods that do not come to an end."""
    return any(not workload.runs_to_completion for workload in service.workloads)


@check(applies=leads_to_what_stays)
def leads_only_to_ready_pods(service: Service) -> Iterator[Violation]:
    """A service does not lead to pods that say they are not ready.

    The headless one by which a StatefulSet's pods find each other has to, before they are.
    """
    governs = any(workload.service_name == service.ref.name for workload in service.workloads)
    if service.publish_not_ready and not (service.headless and governs):
        yield Violation(
            found="publishNotReadyAddresses true",
            wanted="false",
            path="spec.publishNotReadyAddresses",
        )


def is_kept_up(workload: Workload) -> bool:
    """Whether clients count on its being there; a pod that they reach is not meant to end."""
    ends = workload.runs_to_completion and workload.kind != "Pod"
    return workload.is_served and not ends and workload.replicas != 0


@check(applies=is_kept_up)
def restarts_by_itself(workload: Workload) -> Iterator[Violation]:
    """What serves comes back when its host or its daemon has been restarted.

    https://docs.docker.com/engine/containers/start-containers-automatically/
    """
    path = field_path(workload, "restart")
    # Swarm also replaces a task that failed with its node; an engine leaves it at that.
    if workload.platform == "kubernetes":
        if workload.restart == "no":
            yield Violation(found="restartPolicy Never", wanted="Always", path=path)
    elif workload.platform == "swarm":
        if workload.restart == "no":
            yield Violation(found="restart condition none", wanted="any or on-failure", path=path)
    elif workload.restart not in ("always", "unless-stopped"):
        yield Violation(
            found=f"restart policy {workload.restart}", wanted="always or unless-stopped", path=path
        )


def _is_replicated(workload: Workload) -> bool:
    """Whether somebody chose how many copies there are of what clients reach."""
    return (
        workload.is_served
        # Pods that nobody controls, or a controller of its own kind, come one by one.
        and workload.kind != "Pod"
        and not workload.one_per_node
        and not workload.runs_to_completion
        and workload.fewest_replicas != 0
    )

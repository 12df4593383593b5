"""Checks of rollouts: how many copies are left meanwhile, and what a failure leads to."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_seconds
from pytest_containerpolicy.model.workload import Rollout, Workload


def is_rolled_out(workload: Workload) -> bool:
    """Whether a new version replaces its copies by itself, and there are any."""
    return (
        workload.rollout is not None
        and workload.rollout.order != "manual"
        and not workload.runs_to_completion
        and workload.fewest_replicas not in (0, None)
    )


def keeps_serving(workload: Workload) -> bool:
    """Whether clients reach it and a rollout could leave them a copy."""
    if not (is_rolled_out(workload) and workload.is_served):
        return False
    return _leaves_a_copy(workload.rollout, workload) or not must_stop_first(workload)


@check(applies=keeps_serving)
def rollout_keeps_capacity(workload: Workload) -> Iterator[Violation]:
    """At no moment of a rollout are all copies away, with the fewest copies there may be."""
    rollout, copies = workload.rollout, workload.fewest_replicas or 0
    if rollout is not None and not _leaves_a_copy(rollout, workload):
        field = "strategy" if recreates(rollout) else "max_unavailable"
        yield Violation(
            found=f"{rollout.strategy} takes {copies_text(copies)} away at once",
            wanted="a copy left at every moment",
            path=field_path(workload, f"rollout.{field}"),
        )


@check(applies=is_rolled_out)
def failed_update_rolls_back(workload: Workload) -> Iterator[Violation]:
    """A failing update goes back by itself, and the way back leaves a copy as the update does."""
    rollout = workload.rollout
    if rollout is None:
        return
    if rollout.failure_action != "rollback":
        yield Violation(
            found=f"failure action {rollout.failure_action}",
            wanted="rollback",
            path=field_path(workload, "rollout.failure_action"),
        )
    if rollout.max_failure_ratio >= 1:
        yield Violation(
            found=f"max failure ratio {rollout.max_failure_ratio:g}, which no update exceeds",
            wanted="less than 1",
            path=f"{rollout.path}.MaxFailureRatio",
        )
    back = rollout.rollback
    if _leaves_a_copy(rollout, workload) and not _leaves_a_copy(back, workload):
        yield Violation(
            found=f"a rollback takes {copies_text(workload.fewest_replicas or 0)} away at once",
            wanted="a copy left at every moment, as in the update",
            path=field_path(workload, "rollout.rollback_configured"),
        )


def is_watched(workload: Workload) -> bool:
    """Whether its update is watched for some time, and its copies by a health check."""
    rollout = workload.rollout
    if not is_rolled_out(workload) or rollout is None or rollout.monitor is None:
        return False
    return any(container.gate for container in workload.main_containers)


@check(applies=is_watched)
def monitor_outlasts_health_check(workload: Workload) -> Iterator[Violation]:
    """An update is watched until a copy that was healthy once can have become unhealthy.

    Swarm takes a copy for started when it is healthy first, so the start period is over by then:
    https://github.com/moby/swarmkit/blob/master/manager/orchestrator/update/updater.go
    """
    monitor = workload.rollout.monitor if workload.rollout else None
    for container in workload.main_containers:
        health = container.gate
        if health is None or monitor is None:
            continue
        needed = health.period * health.failure_threshold
        if monitor < needed:
            yield Violation(
                found=f"monitor {human_seconds(monitor)}",
                wanted=f"at least {human_seconds(needed)}, {health.failure_threshold} health checks"
                f" {human_seconds(health.period)} apart",
                path=field_path(workload, "rollout.monitor"),
            )


def may_start_slowly(workload: Workload) -> bool:
    """Whether a rollout has a deadline and a container whose start is given a time."""
    return _has_deadline(workload) and any(c.startup for c in workload.running_containers)


@check(applies=may_start_slowly)
def deadline_covers_start(workload: Workload) -> Iterator[Violation]:
    """A rollout is not called failed while a new copy is still within its time to start."""
    rollout = workload.rollout
    for container in workload.running_containers:
        if rollout is None or rollout.progress_deadline is None or container.startup is None:
            continue
        needed = container.startup.patience + rollout.settle
        if rollout.progress_deadline < needed:
            yield Violation(
                found=f"progress deadline {human_seconds(rollout.progress_deadline)}",
                wanted=f"at least {human_seconds(needed)}, as container {container.name} may need"
                " to start",
                path=field_path(workload, "rollout.progress_deadline"),
            )


def _has_deadline(workload: Workload) -> bool:
    rollout = workload.rollout
    return rollout is not None and rollout.progress_deadline is not None


def _leaves_a_copy(rollout: Rollout | None, workload: Workload) -> bool:
    """Whether clients have a copy at every moment, with the fewest copies there may be."""
    copies = workload.fewest_replicas or 0
    return rollout is None or (not recreates(rollout) and rollout.resolved(copies)[0] < copies)


def recreates(rollout: Rollout | None) -> bool:
    """Whether all old copies stop before the first new one starts, on purpose."""
    return rollout is not None and rollout.strategy == "Recreate"


def must_stop_first(workload: Workload) -> bool:
    """Whether a new copy can only start once an old one has stopped.

    So it is for the one copy of a StatefulSet or on the only node, for the one that keeps its data
    in a volume of its node, and for any that share a claim which one node mounts at a time.
    """
    local = any(v.kind == "volume" and v.lifetime == "node" for v in workload.volumes)
    bound = workload.kind == "StatefulSet" or workload.one_per_node or local
    if workload.fewest_replicas == 1 and bound:
        return True
    return any(claim.on_one_node and not claim.is_template for _, claim in workload.claims)


def copies_text(count: int) -> str:
    """A count of copies for people: `1 replica`, `3 replicas`."""
    return f"{count} replica" if count == 1 else f"{count} replicas"

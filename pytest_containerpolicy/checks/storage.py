"""Checks of what pods share: whether all that run at once can have it."""

from collections.abc import Iterator, Sequence

from pytest_containerpolicy.checks.host_paths import is_under, real_path
from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_seconds
from pytest_containerpolicy.model.volume import (
    READ_WRITE_ONCE,
    READ_WRITE_ONCE_POD,
    Claim,
)
from pytest_containerpolicy.model.workload import Rollout, Workload


def has_rolling_claims(workload: Workload) -> bool:
    """Whether it mounts claims and replaces its pods by itself."""
    return workload.rollout is not None and any(v.lifetime == "claim" for v in workload.volumes)


@check(applies=has_rolling_claims)
def claims_can_reattach(workload: Workload) -> Iterator[Violation]:
    """No new pod waits for a claim that the pod it replaces still holds."""
    rollout = workload.rollout
    if rollout is None or not _overlaps(workload, rollout):
        return
    for _, claim in workload.claims:
        if _must_be_released(workload, claim):
            yield Violation(
                found=f"{rollout.strategy} starts {_pods(rollout.max_surge, 'new ')} first;"
                f" claim {claim.ref.name} is {_mode(claim)}",
                wanted="the old pod stops before the new one starts,"
                f" or a claim that two {_holders(claim)} can mount",
                path=field_path(workload, "rollout.max_surge"),
                why=_why_it_hangs(workload, claim),
            )


def _overlaps(workload: Workload, rollout: Rollout) -> bool:
    """Whether a new pod starts while an old one surely still runs."""
    if not rollout.max_surge:
        return False
    copies = workload.fewest_replicas if rollout.max_unavailable else None
    return copies is None or rollout.max_unavailable < copies


def _must_be_released(workload: Workload, claim: Claim) -> bool:
    """Whether a new pod may have to wait until every old pod let go of the claim."""
    if claim.for_one_pod:
        return True
    # A node's daemon is replaced on its node, where the claim already is.
    return claim.on_one_node and not workload.one_per_node and not workload.keeps_to_one_node


def _why_it_hangs(workload: Workload, claim: Claim) -> str:
    deadline = workload.rollout.progress_deadline if workload.rollout else None
    report = f", counts as failed after {human_seconds(deadline)}" if deadline else ""
    start = (
        f"the new pod can't have {claim.ref.name} while the old one runs"
        if claim.for_one_pod
        else f"the new pod may land on another node, where {claim.ref.name} can't attach"
        " while the old one runs"
    )
    return f"{start}: the rollout hangs{report}, and {workload.name} stays on the old version"


def may_share_storage(workload: Workload) -> bool:
    """Whether its copies mount claims or, on Swarm, what every node has its own of."""
    lifetime = "claim" if workload.platform == "kubernetes" else "node"
    return any(volume.lifetime == lifetime for volume in workload.volumes)


@check(applies=may_share_storage)
def claims_fit_replicas(
    workload: Workload, global_services: bool = False, shared_paths: Sequence[str] = ()
) -> Iterator[Violation]:
    """Copies that may run on several nodes do not share what only one node has.

    `global_services`: judge Swarm's global services too, each of whose tasks often keeps its
    node's own data on purpose. `shared_paths`: paths of the hosts that all nodes mount from one
    file server.
    """
    if workload.platform == "kubernetes":
        yield from _claims_too_small(workload)
    elif global_services or not workload.one_per_node:
        yield from _split_volumes(workload, shared_paths)


def _claims_too_small(workload: Workload) -> Iterator[Violation]:
    for volume, claim in workload.claims:
        if claim.is_template or not claim.on_one_node:
            continue
        copies = _several_copies(workload, "pod")
        if copies and (_one_at_a_time(workload, claim) or not workload.keeps_to_one_node):
            yield Violation(
                found=f"{copies} share claim {claim.ref.name}, which is {_mode(claim)}",
                wanted=f"one pod, or a claim that several {_holders(claim)} can mount",
                path=volume.path,
                why=f"only one {_holders(claim)[:-1]} can have {claim.ref.name}:"
                f" the pods {'beside it' if claim.for_one_pod else 'elsewhere'} never start",
            )


def _one_at_a_time(workload: Workload, claim: Claim) -> bool:
    # One pod per node on the only node is one pod.
    return claim.for_one_pod and not (workload.one_per_node and workload.keeps_to_one_node)


def _split_volumes(workload: Workload, shared_paths: Sequence[str]) -> Iterator[Violation]:
    for volume in workload.written_volumes:
        if volume.lifetime != "node" or is_under(real_path(volume.host_path), shared_paths):
            continue
        copies = _several_copies(workload, "task")
        if copies and not workload.keeps_to_one_node:
            yield Violation(
                found=f"{copies} write to {volume.kind} {volume.name}, of which each node has its"
                " own",
                wanted="tasks on one node, or a volume that every node mounts from one server",
                path=volume.path,
                why="what a request finds depends on the node of the task that it reaches",
            )


def _several_copies(workload: Workload, copy: str) -> str:
    """How many copies may run at once, in words; empty for one."""
    if workload.one_per_node:
        return f"{copy}s on every node"
    most = workload.most_replicas or 0
    if most < 2:
        return ""
    autoscaler = workload.autoscaler
    return f"up to {most} {copy}s ({autoscaler.ref})" if autoscaler else f"{most} {copy}s"


def _mode(claim: Claim) -> str:
    return READ_WRITE_ONCE_POD if claim.for_one_pod else READ_WRITE_ONCE


def _holders(claim: Claim) -> str:
    return "pods" if claim.for_one_pod else "nodes"


def _pods(count: int, adjective: str = "") -> str:
    return f"{count} {adjective}pod{'' if count == 1 else 's'}"

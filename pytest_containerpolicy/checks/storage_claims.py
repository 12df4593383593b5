"""Checks of claims themselves: whether they are there, and whether they keep their data."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.cluster import Autoscaler
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.volume import Claim
from pytest_containerpolicy.model.workload import ClaimRetention, Workload


def has_claim_templates(workload: Workload) -> bool:
    """Whether it makes a claim for each of its pods."""
    return any(_templates(workload))


def _templates(workload: Workload) -> Iterator[tuple[str, Claim]]:
    for volume in workload.volumes:
        # A generic ephemeral volume has a template too, and goes with its pod by design.
        if volume.claim_template is not None and volume.lifetime == "claim":
            yield volume.name, volume.claim_template


@check(applies=has_claim_templates)
def scale_down_keeps_data(workload: Workload) -> Iterator[Violation]:
    """Neither scaling down nor deleting a StatefulSet destroys its volumes."""
    retention = workload.claim_retention or ClaimRetention()
    events = {"whenScaled": retention.when_scaled, "whenDeleted": retention.when_deleted}
    for event in (event for event, policy in events.items() if policy == "Delete"):
        scaler = _known_autoscaler(workload) if event == "whenScaled" else None
        under = f" under {scaler.ref}" if scaler else ""
        for name, template in _templates(workload):
            if destroyer := _destroyed_by(workload, name, template):
                yield Violation(
                    found=f"{event} Delete{under} for claims {name},"
                    f" and {destroyer} has reclaimPolicy Delete",
                    wanted=f"{event} Retain, or a storage class with reclaimPolicy Retain",
                    path=f"{field_path(workload, 'claim_retention')}.{event}",
                    why=_why_destroyed(workload, event, scaler),
                )


def _destroyed_by(workload: Workload, name: str, template: Claim) -> str:
    """What destroys the data of a template's claims when they go; empty if nothing does."""
    volumes = [claim.persistent_volume for claim in _claims_from(workload, name)]
    bound = [volume for volume in volumes if volume is not None]
    if bound:
        return next((str(v.ref) for v in bound if v.reclaim_policy == "Delete"), "")
    storage_class = template.storage_class
    if storage_class is None:
        wanted = template.storage_class_name
        raise CannotLook(
            f"{f'storage class {wanted}' if wanted else 'the default storage class'}, for claims"
            f" {name} of {workload.ref}, is not in {workload.model.target}: its reclaimPolicy is"
            " not known"
        )
    return str(storage_class.ref) if storage_class.reclaim_policy == "Delete" else ""


def _claims_from(workload: Workload, template: str) -> list[Claim]:
    """The claims that were made from a template: its name, the workload's and an ordinal."""
    prefix = f"{template}-{workload.name}-"
    return [
        claim
        for claim in workload.model.within(Claim, workload.namespace)
        if claim.ref.name.startswith(prefix) and claim.ref.name[len(prefix) :].isdigit()
    ]


def _why_destroyed(workload: Workload, event: str, scaler: Autoscaler | None) -> str:
    if event == "whenDeleted":
        return f"deleting {workload.name}, even to create it anew, destroys all its data"
    if scaler is None:
        return "every pod that is scaled away takes its data with it, for good"
    return (
        f"{scaler.ref} scales between {scaler.min_replicas} and {scaler.max_replicas} on its own:"
        " each step down destroys a pod's data"
    )


def _known_autoscaler(workload: Workload) -> Autoscaler | None:
    # It only makes a finding worse; not being able to read it must not hide the finding.
    unread = workload.model.gaps(Autoscaler, workload.namespace)
    return None if unread else workload.autoscaler


def has_observed_claims(workload: Workload) -> bool:
    """Whether it is meant to run, and the cluster has said something of its claims."""
    claims = list(_standing_claims(workload)) if workload.replicas != 0 else []
    return any(workload.model.is_live or (claim and claim.phase) for _, _, claim in claims)


@check(applies=has_observed_claims)
def claims_are_bound(workload: Workload) -> Iterator[Violation]:
    """Every claim that a workload mounts is there, and bound to a volume."""
    for path, name, claim in _standing_claims(workload):
        if claim is None or claim.phase in ("Pending", "Lost"):
            state = f"is {claim.phase}" if claim else "does not exist"
            yield Violation(
                found=f"claim {name} {state}",
                wanted="a claim that is bound to a volume",
                path=path,
                why=f"no new pod of {workload.name} can start",
            )


def _standing_claims(workload: Workload) -> Iterator[tuple[str, str, Claim | None]]:
    """Its claims, each with the path of its volume and its name; None where there is none.

    Those of templates are made when they are needed: only what is there counts.
    """
    for volume in workload.volumes:
        if volume.claim_name:
            claim = workload.model.get(Claim, volume.claim_name, workload.namespace)
            yield volume.path, volume.claim_name, claim
    for name, template in _templates(workload):
        for claim in _claims_from(workload, name):
            yield template.path, claim.ref.name, claim

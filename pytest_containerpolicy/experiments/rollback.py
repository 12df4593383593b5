"""A bad revision rehearsed: do the old copies go on serving, and is all well once it is undone?"""

import time
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_rollback, swarm_revision
from pytest_containerpolicy.experiments.availability import Budget
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.replacement import BadRevision
from pytest_containerpolicy.experiments.rollout import can_be_rolled_out
from pytest_containerpolicy.experiments.rollout_causes import Cause, causes_of, report
from pytest_containerpolicy.experiments.vantage import SETTLE, traffic_from, viewpoint_of
from pytest_containerpolicy.experiments.viewpoint import Choice, caveats_of
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

# Each has `require_rehearsable` and `rehearse`, which tries a bad revision and takes it back.
_PLATFORMS: dict[str, Any] = {"kubernetes": kubernetes_rollback, "swarm": swarm_revision}
_NOTHING = Budget()


class Rehearsal(Struct, frozen=True, kw_only=True, eq=False):
    """What a bad revision was like, for the platform (`revision`) and for clients (`measurement`).

    `guaranteed` is how many copies the rollout's own settings promise to keep.
    """

    workload: str
    guaranteed: int
    revision: BadRevision
    measurement: Measurement
    causes: tuple[Cause, ...] = ()

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return self.measurement.failed

    @property
    def kept_promise(self) -> bool:
        """Whether as many copies stayed ready as the rollout's settings promise."""
        return self.revision.fewest_ready >= self.guaranteed

    def __bool__(self) -> bool:
        return self.kept_promise and not self.failed and not self.revision.lasting

    def __str__(self) -> str:
        revision = self.revision
        title = (
            f"bad revision of {self.workload}, taken back: {revision.fewest_ready} of"
            f" {revision.before} stayed ready"
        )
        facts = filter(None, [revision.stuck, revision.lasting])
        return report(title, self.measurement, facts, self.causes)

    def __repr__(self) -> str:
        return str(self)


def rehearse_rollback(
    workload: Workload,
    lab: Lab,
    *,
    seconds: float = 15,
    rate: float = 50,
    url: str = "",
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
    budget: Budget = _NOTHING,
) -> Rehearsal:
    """Roll out what never starts under traffic, and take it back.

    It is left so for `seconds` after it got stuck. Raises `CannotLook` if it could not be carried
    out, or if it does not show whether clients notice more than `budget`.
    """
    platform = _PLATFORMS.get(lab.platform)
    if platform is None:
        raise CannotLook(f"{workload.ref}: a bad revision can't be rehearsed on {lab.platform}")
    with lab.claim(workload):
        platform.require_rehearsable(lab, workload)
        with (
            viewpoint_of(workload, lab, url=url, vantage=vantage) as viewpoint,
            traffic_from(viewpoint, workload, lab, rate=rate, path=path) as traffic,
        ):
            revision = platform.rehearse(lab, workload, traffic.mark, seconds)
            time.sleep(settle)
            measurement = traffic.stop()
        caveats = caveats_of(viewpoint, workload, traffic.plan.url, path)
    rehearsal = Rehearsal(
        workload=str(workload.ref),
        guaranteed=_guaranteed(workload, revision),
        revision=revision,
        measurement=measurement,
        causes=causes_of(workload, revision, measurement),
    )
    lab.record(rehearsal)
    if rehearsal.kept_promise and not revision.lasting:
        caveats.require_conclusive(measurement, budget)
    return rehearsal


def _guaranteed(workload: Workload, revision: BadRevision) -> int:
    rollout = workload.rollout
    return max(0, revision.before - rollout.resolved(revision.before)[0]) if rollout else 0


@experiment("disrupt", "rolls out a broken revision and takes it back", applies=can_be_rolled_out)
def bad_revision_is_harmless(
    workload: Workload,
    lab: Lab,
    failed: int = 0,
    longest_gap_ms: float | None = None,
    seconds: float = 15,
    rate: float = 50,
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
) -> Iterator[Violation]:
    """While a revision never gets ready, and until it is undone, the old copies go on serving."""
    budget = Budget(failed, longest_gap_ms)
    rehearsal = rehearse_rollback(
        workload,
        lab,
        seconds=seconds,
        rate=rate,
        vantage=vantage,
        path=path,
        settle=settle,
        budget=budget,
    )
    revision = rehearsal.revision
    if revision.lasting:
        yield Violation(
            found=revision.lasting,
            wanted="an update that takes a bad revision back by itself",
            path=field_path(workload, "rollout.failure_action"),
            why="what it took away is lost until somebody acts",
        )
    elif not rehearsal.kept_promise:
        yield Violation(
            found=f"{revision.fewest_ready} of {revision.before} ready while the bad one was tried",
            wanted=f"at least {rehearsal.guaranteed}, as its rollout's settings promise",
            path=field_path(workload, "rollout"),
        )
    place = rehearsal.causes[0].path if rehearsal.causes else field_path(workload, "rollout")
    why = "; ".join(cause.text for cause in rehearsal.causes)
    yield from budget.violations(rehearsal.measurement, place, why)

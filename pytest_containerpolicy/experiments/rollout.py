"""A rollout under traffic: does anybody notice it, and does it come to its end?"""

import time
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.checks.upgrades_rollout import is_rolled_out
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import compose_rollout, kubernetes_rollout, swarm_rollout
from pytest_containerpolicy.experiments.availability import Budget
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.replacement import Replacement, Stop
from pytest_containerpolicy.experiments.rollout_causes import Cause, causes_of, report
from pytest_containerpolicy.experiments.vantage import SETTLE, traffic_from, viewpoint_of
from pytest_containerpolicy.experiments.viewpoint import Choice, caveats_of
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

# Each has `require_restartable` and `restart`, which starts a rollout and follows it to its end.
_PLATFORMS: dict[str, Any] = {
    "kubernetes": kubernetes_rollout,
    "swarm": swarm_rollout,
    "compose": compose_rollout,
}
_NOTHING = Budget()


class Rollout(Struct, frozen=True, kw_only=True, eq=False):
    """What a rollout was like, for the platform (`replacement`) and for clients (`measurement`)."""

    workload: str
    replacement: Replacement
    measurement: Measurement
    causes: tuple[Cause, ...] = ()

    @property
    def seconds(self) -> float:
        """From the restart until the last new copy was ready and the last old one gone."""
        return self.replacement.seconds

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return self.measurement.failed

    @property
    def longest_gap_ms(self) -> float:
        """For how long nobody was served at a stretch."""
        return self.measurement.longest_gap_ms

    @property
    def completed(self) -> bool:
        """Whether all copies were replaced and are ready."""
        return self.replacement.completed

    @property
    def stops(self) -> tuple[Stop, ...]:
        """How the old copies stopped."""
        return self.replacement.stops

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not completed."""
        return self.replacement.reasons

    def __bool__(self) -> bool:
        return self.completed and not self.failed

    def __str__(self) -> str:
        title = f"rollout of {self.workload}: {self.replacement}"
        facts = [self.replacement.stops_text, *self.reasons]
        return report(title, self.measurement, facts, self.causes)

    def __repr__(self) -> str:
        return str(self)


def measure_rollout(
    workload: Workload,
    lab: Lab,
    *,
    rate: float = 50,
    url: str = "",
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
    deadline: float = 0,
    method: compose_rollout.Method = "recreate",
    budget: Budget = _NOTHING,
) -> Rollout:
    """Restart a workload's rollout under traffic, `rate` requests per second, and see what happens.

    It counts as stuck, and is taken back, when nothing moves for `deadline` seconds (0: as the
    workload or its platform has it). Traffic goes on for `settle` seconds after its end, as the
    last to hear of it is no copy but a client. `method` is for Compose, where nothing else says how
    a service is updated. Raises `CannotLook` if it could not be carried out,
    or if it does not show whether clients notice more than `budget`.
    """
    platform = _PLATFORMS.get(lab.platform)
    if platform is None:
        raise CannotLook(f"{workload.ref}: nothing rolls out a container of {lab.platform}")
    how = {"method": method} if lab.platform == "compose" else {}
    with lab.claim(workload):
        platform.require_restartable(lab, workload, **how)
        with (
            viewpoint_of(workload, lab, url=url, vantage=vantage) as viewpoint,
            traffic_from(viewpoint, workload, lab, rate=rate, path=path) as traffic,
        ):
            replacement = platform.restart(lab, workload, traffic.mark, deadline, **how)
            time.sleep(settle)
            measurement = traffic.stop()
        caveats = caveats_of(viewpoint, workload, traffic.plan.url, path)
    rollout = Rollout(
        workload=str(workload.ref),
        replacement=replacement,
        measurement=measurement,
        causes=causes_of(workload, replacement, measurement),
    )
    lab.record(rollout)
    if replacement.completed:
        caveats.require_conclusive(measurement, budget)
    return rollout


def can_be_rolled_out(workload: Workload, lab: Lab | None = None) -> bool:
    """Whether its rollout can be measured: it is rolled out, and there is where to ask it."""
    served = workload.is_served or is_asked_by_name(workload) or bool(lab and lab.url_of(workload))
    return is_rolled_out(workload) and served


def is_asked_by_name(workload: Workload) -> bool:
    """Whether others in a network of Docker's reach it by its name, at a port that it declares."""
    ports = (port for container in workload.main_containers for port in container.ports)
    in_network = workload.platform in ("compose", "swarm") and bool(workload.networks)
    return in_network and any(port.protocol == "TCP" for port in ports)


@experiment("disrupt", "restarts its rollout under traffic", applies=can_be_rolled_out)
def no_downtime(
    workload: Workload,
    lab: Lab,
    failed: int = 0,
    longest_gap_ms: float | None = None,
    rate: float = 50,
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
    deadline: float = 0,
    method: compose_rollout.Method = "recreate",
) -> Iterator[Violation]:
    """A rollout comes to its end, and clients notice no more of it than the budget allows."""
    budget = Budget(failed, longest_gap_ms)
    rollout = measure_rollout(
        workload,
        lab,
        rate=rate,
        vantage=vantage,
        path=path,
        settle=settle,
        deadline=deadline,
        method=method,
        budget=budget,
    )
    if not rollout.completed:
        yield Violation(
            found=f"the rollout hung after {rollout.seconds:.0f} s, with"
            f" {rollout.replacement.copies} replaced",
            wanted="all replaced",
            path=field_path(workload, "rollout"),
            why="; ".join(rollout.reasons),
        )
    place = rollout.causes[0].path if rollout.causes else field_path(workload, "rollout")
    why = "; ".join(cause.text for cause in rollout.causes)
    yield from budget.violations(rollout.measurement, place, why)

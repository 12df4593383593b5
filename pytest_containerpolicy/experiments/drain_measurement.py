"""A node drained under traffic: does it come to its end, and do clients notice?"""

import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.checks.upgrades_eviction import is_evictable
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_drain, swarm_drain
from pytest_containerpolicy.experiments.availability import Budget
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.drain import help_for
from pytest_containerpolicy.experiments.drain_placement import Stranded
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.replacement import Replacement
from pytest_containerpolicy.experiments.rollout import can_be_rolled_out
from pytest_containerpolicy.experiments.rollout_causes import Cause, causes_of
from pytest_containerpolicy.experiments.vantage import SETTLE, traffic_from, viewpoint_of
from pytest_containerpolicy.experiments.viewpoint import Choice, caveats_of
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.workload import Workload

_INDENT = "  "
_NOTHING = Budget()
Act = Callable[[Callable[[str], None]], Replacement]


class Drain(Struct, frozen=True, kw_only=True, eq=False):
    """What a drain was like, for the platform (`replacement`) and for clients (`measurement`).

    Both are None where it was `foretold` that pods find no other place: then nothing was touched.
    """

    workload: str
    node: str
    replacement: Replacement | None = None
    measurement: Measurement | None = None
    causes: tuple[Cause, ...] = ()
    foretold: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return self.measurement.failed if self.measurement else 0

    @property
    def completed(self) -> bool:
        """Whether all pods left the node and those that replace them are ready."""
        return self.replacement is not None and self.replacement.completed

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not completed."""
        return self.replacement.reasons if self.replacement else self.foretold

    def __bool__(self) -> bool:
        return self.completed and not self.failed

    def __str__(self) -> str:
        measured = str(self.measurement).splitlines() if self.measurement else []
        lines = [*measured, *self.reasons]
        for cause in self.causes:
            lines += [cause.text, f"fix  {cause.fix}"]
        rest = textwrap.indent("\n".join(lines), _INDENT)
        how = self.replacement or "not carried out"
        return f"drain of {self.node} under {self.workload}: {how}\n{rest}"

    def __repr__(self) -> str:
        return str(self)


def measure_drain(
    workload: Workload,
    lab: Lab,
    *,
    node: str = "",
    rate: float = 50,
    url: str = "",
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
    patience: float = 120,
    ready_within: float = 300,
    budget: Budget = _NOTHING,
) -> Drain:
    """Drain a workload's pods from a node under traffic, `rate` requests per second.

    It is the node with most of them unless `node` names one, and it takes pods again at the end.
    On Kubernetes no other pods are evicted; a Swarm has no such choice. It ends when evictions are
    refused for `patience` seconds, or those that replace the pods are not ready `ready_within`
    seconds later. Raises `CannotLook` if it could not be carried out, or if it does not show
    whether clients notice more than `budget`.
    """
    with lab.claim(workload):
        name, act = _prepared(lab, workload, node, patience, ready_within)
        if isinstance(act, Drain):
            lab.record(act)
            return act
        with (
            viewpoint_of(workload, lab, url=url, vantage=vantage) as viewpoint,
            traffic_from(viewpoint, workload, lab, rate=rate, path=path) as traffic,
        ):
            replacement = act(traffic.mark)
            time.sleep(settle)
            measurement = traffic.stop()
        caveats = caveats_of(viewpoint, workload, traffic.plan.url, path)
    drain = Drain(
        workload=str(workload.ref),
        node=name,
        replacement=replacement,
        measurement=measurement,
        causes=tuple(_causes(workload, name, replacement, measurement)),
    )
    lab.record(drain)
    if replacement.completed:
        caveats.require_conclusive(measurement, budget)
    return drain


def _prepared(
    lab: Lab, workload: Workload, node: str, patience: float, ready_within: float
) -> tuple[str, Act | Drain]:
    """The node's name and what drains it; a `Drain` where its end is known beforehand."""
    if lab.platform == "swarm":
        return _on_swarm(cast(DockerLab, lab), workload, node, patience)
    if not isinstance(lab, KubernetesLab):
        raise CannotLook(f"{workload.ref}: {lab.platform} has no nodes to drain")
    plan = kubernetes_drain.plan_drain(lab, workload, node)
    if reasons := hindrances(plan.stranded, lab):
        return plan.node, _foretold(workload, plan.node, *reasons)
    return plan.node, lambda mark: kubernetes_drain.drain(
        lab, workload, plan, mark, patience, ready_within
    )


def hindrances(stranded: Sequence[Stranded], lab: Lab) -> list[str]:
    """Why pods can't leave a node for good.

    Raises `CannotLook` if all of them wait for a node that may yet be added: a drain would show
    how soon that comes, but may as well leave them Pending.
    """
    helps = [help_for(one, lab) for one in stranded]
    lasting = [one for one, help_text in zip(stranded, helps, strict=True) if not help_text]
    if stranded and not lasting:
        raise CannotLook(f"nothing was touched: {'; '.join(dict.fromkeys(helps))}")
    return [f"no other node takes pod {one.pod.name}: {one}" for one in lasting]


def _on_swarm(
    lab: DockerLab, workload: Workload, node: str, patience: float
) -> tuple[str, Act | Drain]:
    plan = swarm_drain.plan_drain(lab, workload, node)
    if plan.stranded:
        return plan.node, _foretold(workload, plan.node, plan.stranded)
    return plan.node, lambda mark: swarm_drain.drain(lab, workload, plan, mark, patience)


def _foretold(workload: Workload, node: str, *reasons: str) -> Drain:
    return Drain(workload=str(workload.ref), node=node, foretold=reasons)


def _causes(
    workload: Workload, node: str, replacement: Replacement, measurement: Measurement
) -> Iterator[Cause]:
    """The likely causes of the failures, the strongest first."""
    if measurement.failed and replacement.without_ready:
        guard = " and a PodDisruptionBudget" if workload.platform == "kubernetes" else ""
        yield Cause(
            f"nothing was ready for {replacement.without_ready:.1f} s: all was on {node}",
            f"two replicas on different nodes{guard}",
            field_path(workload, "replicas"),
        )
    yield from causes_of(workload, replace(replacement, without_ready=0), measurement)


def can_be_drained_under_traffic(workload: Workload, lab: Lab | None = None) -> bool:
    """Whether a drain evicts its pods, something replaces them, and there is where to ask it."""
    return is_evictable(workload) and can_be_rolled_out(workload, lab)


@experiment(
    "disrupt", "drains the node with most of its pods", applies=can_be_drained_under_traffic
)
def drain_without_downtime(
    workload: Workload,
    lab: Lab,
    failed: int = 0,
    longest_gap_ms: float | None = None,
    node: str = "",
    rate: float = 50,
    vantage: Choice = "auto",
    path: str = "",
    settle: float = SETTLE,
    patience: float = 120,
    ready_within: float = 300,
) -> Iterator[Violation]:
    """A drain of its node comes to its end, and clients notice no more than the budget allows."""
    budget = Budget(failed, longest_gap_ms)
    drain = measure_drain(
        workload,
        lab,
        node=node,
        rate=rate,
        vantage=vantage,
        path=path,
        settle=settle,
        patience=patience,
        ready_within=ready_within,
        budget=budget,
    )
    if not drain.completed:
        yield _not_completed(drain)
    if drain.measurement:
        place = drain.causes[0].path if drain.causes else ""
        why = "; ".join(cause.text for cause in drain.causes)
        yield from budget.violations(drain.measurement, place, why)


def _not_completed(drain: Drain) -> Violation:
    how = drain.replacement
    after = (
        f"stood still after {how.seconds:.0f} s, with {how.copies} of its pods gone"
        if how
        else "was not begun, as its end is known"
    )
    return Violation(
        found=f"the drain of {drain.node} {after}: {drain.reasons[0] if drain.reasons else '?'}",
        wanted="all its pods let go, and ready on other nodes",
        why="; ".join(drain.reasons[1:]),
    )

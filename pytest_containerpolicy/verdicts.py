"""The verdict of one policy on one target."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Literal

from msgspec import Struct

from pytest_containerpolicy.checks.registry import Finding, Judgement
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.policies import Policy
from pytest_containerpolicy.waivers import Waiver

Verdict = Literal["passed", "failed", "not applicable", "not evaluated"]


class Result(Struct, frozen=True, kw_only=True):
    """A verdict and all that led to it.

    `judged` counts the objects that were looked at, `gaps` says what could not be,
    `expired` are the waivers that no longer hold for a finding, `figures` what was measured.
    `assumed` is what a pass rests on, as no configuration shows it.
    """

    policy: Policy
    target: str
    platform: str
    verdict: Verdict
    judged: int = 0
    findings: tuple[Finding, ...] = ()
    waived: tuple[tuple[Finding, Waiver], ...] = ()
    expired: tuple[tuple[Finding, Waiver], ...] = ()
    gaps: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    assumed: str = ""


def evaluate(
    policy: Policy,
    model: Model,
    waivers: Sequence[Waiver] = (),
    *,
    covers: Callable[[ObjectRef], bool] | None = None,
    lab: Lab | None = None,
    assuming: bool = True,
    today: date | None = None,
) -> Result:
    """Judge a model, or the objects of it that `covers` admits, by a policy.

    A policy that names an experiment is carried out in `lab`. What passes on an assumption only
    is not evaluated unless `assuming`.

    What was found wrong outweighs what could not be looked at; what could not be looked at
    outweighs a pass; and a pass needs at least one object that was judged.
    """
    if model.platform not in policy.data.platforms:
        return Result(
            policy=policy,
            target=model.target,
            platform=model.platform,
            verdict="not applicable",
        )
    judgement, figures = _judge(policy, model, covers, lab)
    findings, waived, expired = _waive(
        policy, model.target, judgement.findings, waivers, today or date.today()
    )
    clean = judgement.judged - len({finding.subject for finding in judgement.findings})
    assumed = "" if findings or clean <= 0 else policy.assumption_on(model.platform)
    if assumed and not assuming:
        judgement.gaps.append(assumed)
    verdict = _verdict(bool(findings), bool(judgement.gaps), judgement.judged)
    return Result(
        policy=policy,
        target=model.target,
        platform=model.platform,
        verdict=verdict,
        judged=judgement.judged,
        findings=tuple(findings),
        waived=tuple(waived),
        expired=tuple(expired),
        gaps=tuple(judgement.gaps),
        figures=figures,
        assumed=assumed if verdict == "passed" else "",
    )


def _judge(
    policy: Policy,
    model: Model,
    covers: Callable[[ObjectRef], bool] | None,
    lab: Lab | None,
) -> tuple[Judgement, tuple[str, ...]]:
    check = policy.check
    if not isinstance(check, Experiment):
        return check.judge(model, policy.params, covers), ()
    if lab is None:
        gap = f"needs a live target and --cp-level={check.level}"
        return Judgement(gaps=[gap]), ()
    earlier = len(lab.figures)
    judgement = check.using(lab).judge(model, policy.params, covers)
    return judgement, tuple(lab.figures[earlier:])


def _verdict(found: bool, missed: bool, judged: int) -> Verdict:
    if found:
        return "failed"
    if missed:
        return "not evaluated"
    return "passed" if judged else "not applicable"


_Waived = list[tuple[Finding, Waiver]]


def _waive(
    policy: Policy, target: str, found: Sequence[Finding], waivers: Sequence[Waiver], today: date
) -> tuple[list[Finding], _Waived, _Waived]:
    findings: list[Finding] = []
    waived: _Waived = []
    expired: _Waived = []
    for finding in found:
        covering = [
            w for w in waivers if policy.data.waivable and w.covers(policy, target, finding)
        ]
        holding = next((w for w in covering if not w.is_expired(today)), None)
        if holding is not None:
            waived.append((finding, holding))
            continue
        findings.append(finding)
        expired.extend((finding, waiver) for waiver in covering[:1])
    return findings, waived, expired

"""Judging what a test holds: `assert_policies(cluster.namespace("shop"), "upgrades")`."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec.structs import replace

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.policies import (
    Policy,
    builtin_pack,
    load_pack,
    matches,
    select,
)
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.reports.text import describe
from pytest_containerpolicy.targets.uri import Timeouts, parse_target, suggestion
from pytest_containerpolicy.verdicts import Result, evaluate
from pytest_containerpolicy.vocabulary import Profile

_WRONG = ("failed", "not evaluated")


@runtime_checkable
class Judgeable(Protocol):
    """Whatever can be read and judged: an environment, or some objects of one."""

    def read_model(self) -> Model:
        """Read it now."""

    def covers(self, ref: ObjectRef) -> bool:
        """Whether findings on this object are asked for."""


def check_policy(
    policy_id: str,
    subject: "Judgeable | Model | str",
    *,
    profile: Profile = "baseline",
    **params: Any,
) -> Result:
    """The verdict of one policy on an environment, an object of one, a model or a target URI.

    `params` override the policy's own. Raises `UsageError` for an unknown policy or param, and
    `Unreachable` if the environment can't be read.
    """
    policies = load_pack(builtin_pack(), profile, experiments=False)
    policy = next((policy for policy in policies if matches(policy, policy_id)), None)
    if policy is None or policy.challenge == policy_id:
        known = [policy.id for policy in policies]
        raise UsageError(f"no policy {policy_id!r}{suggestion(policy_id, known)}")
    policy.check.convert(params)
    changed = replace(policy, settings=policy.settings | params)
    return _evaluate([changed], subject, profile)[0]


def assert_policies(
    subject: "Judgeable | Model | str", *selected: str, profile: Profile = "baseline"
) -> list[Result]:
    """Assert that policies (all, or those that globs or challenges select) hold for a subject.

    Experiments are not among them: those have fixtures of their own. What could not be looked at
    fails the assertion too. Returns the results, so that a test can
    ask more of them. Raises `AssertionError` whose message holds every finding.
    """
    __tracebackhide__ = True
    pack = load_pack(builtin_pack(), profile, experiments=False)
    chosen = select(pack, selected=selected, profile=profile)
    policies = [policy for policy in chosen if not policy.is_experiment]
    results = _evaluate(policies, subject, profile)
    wrong = [describe(result) for result in results if result.verdict in _WRONG]
    if wrong:
        raise AssertionError("\n\n".join(wrong))
    if all(result.verdict == "not applicable" for result in results):
        raise AssertionError(
            f"nothing in {subject} for {', '.join(selected) or 'any policy'} to judge"
        )
    return results


def _evaluate(
    policies: Sequence[Policy], subject: "Judgeable | Model | str", profile: Profile
) -> list[Result]:
    covers = None
    if isinstance(subject, str):
        model = build_model(take_inventory(parse_target(subject), Timeouts()))
    elif isinstance(subject, Model):
        model = subject
    else:
        model, covers = subject.read_model(), subject.covers
    assuming = profile != "audit"
    return [evaluate(policy, model, covers=covers, assuming=assuming) for policy in policies]

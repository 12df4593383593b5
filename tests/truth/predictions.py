"""What the declared policies say of a case from its file alone, before anything is deployed."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pytest_containerpolicy.examples import Example, read_example
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.policies import POLICY_FILE, Policy, builtin_pack, load_policy
from pytest_containerpolicy.verdicts import evaluate
from tests.truth.cases import Case, Question

Prediction = Literal["ok", "fault", "unknown", "silent"]

# The declared policies that speak of what each question asks.
POLICIES: dict[Question, tuple[str, ...]] = {
    "rollout": (
        "upgrades/readiness-gate",
        "upgrades/rollout-keeps-capacity",
        "upgrades/drains-before-exit",
        "upgrades/deadline-covers-start",
        "upgrades/spread-satisfiable",
        "upgrades/grace-covers-prestop",
        "upgrades/stops-gracefully",
        "storage/claims-can-reattach",
        "networking/fixed-ports-block-copies",
        "resources/quota-leaves-room-for-surge",
        "resources/fits-a-node",
    ),
    "rollback": ("upgrades/rollout-keeps-capacity", "upgrades/failed-update-rolls-back"),
    "graceful-stop": ("upgrades/stops-gracefully", "upgrades/grace-covers-prestop"),
    "crash": ("upgrades/restarts-after-reboot",),
    "drain": (
        "upgrades/budget-allows-eviction",
        "upgrades/budget-computable",
        "upgrades/one-budget-per-pod",
        "upgrades/spread-satisfiable",
        "storage/data-follows-workload",
    ),
    "start-order": (),
    "data": (
        "storage/data-outlives-container",
        "storage/no-anonymous-volumes",
        "storage/data-follows-workload",
        "storage/scale-down-keeps-data",
    ),
    "written": ("storage/data-outlives-container",),
    "limits": ("resources/memory-limit",),
    "services": (
        "networking/service-ports-match",
        "networking/services-have-backends",
    ),
    "reachability": ("networking/policies-select-pods", "networking/egress-allows-dns"),
    "ports": ("networking/no-all-interfaces",),
    "isolation": (),
}


@cache
def _policy(name: str) -> Policy:
    pack = builtin_pack()
    return load_policy(pack.folder / name / POLICY_FILE, pack.name, "strict")


def verdicts(case: Case, question: Question) -> dict[str, str]:
    """The verdict of each policy that speaks of a question, but those with nothing to judge."""
    inventory = read_example(Example(case.file, "passed", case.platform, (), ()))
    model = build_model(inventory)
    found: dict[str, str] = {}
    for name in POLICIES[question]:
        policy = _policy(name)
        if case.platform in policy.data.platforms:
            result = evaluate(policy, model)
            if result.verdict != "not applicable":
                found[name] = result.verdict
    return found


def predicted(case: Case, question: Question) -> Prediction:
    """What follows from the verdicts: one failure is a fault, one gap makes it unknown."""
    found = set(verdicts(case, question).values())
    if "failed" in found:
        return "fault"
    if "not evaluated" in found:
        return "unknown"
    return "ok" if found else "silent"

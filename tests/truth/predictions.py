"""What the declared policies say of a case from its file alone, before anything is deployed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from pytest_containerpolicy.examples import Example, read_example
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.policies import POLICY_FILE, Policy, builtin_pack, load_policy
from pytest_containerpolicy.targets.inventory import Platform
from pytest_containerpolicy.verdicts import evaluate
from tests.truth.cases import Case, Question

Prediction = Literal["ok", "fault", "unknown", "silent"]

Params = dict[str, object]

# The testbed's own image of a program that keeps data; users tell of theirs in the same way.
IMAGES: Params = {"images": {"testbed/stateful": "/data"}}

# The declared policies that speak of what each question asks, with what only a user can know.
POLICIES: dict[Question, dict[str, Params]] = {
    "rollout": {
        "upgrades/readiness-gate": {},
        "upgrades/services-await-readiness": {},
        "upgrades/rollout-keeps-capacity": {},
        "upgrades/enough-stateful-replicas": {},
        "upgrades/compose-recreates": {},
        "upgrades/drains-before-exit": {},
        "upgrades/deadline-covers-start": {},
        "upgrades/spread-satisfiable": {},
        "upgrades/stops-gracefully": {},
        "storage/claims-can-reattach": {},
        "networking/fixed-ports-block-copies": {},
        "resources/quota-leaves-room-for-surge": {},
        "resources/fits-a-node": {},
    },
    "rollback": {
        "upgrades/rollout-keeps-capacity": {},
        "upgrades/failed-update-rolls-back": {},
    },
    "graceful-stop": {
        "upgrades/stops-gracefully": {},
        "upgrades/grace-covers-prestop": {},
    },
    "crash": {"upgrades/restarts-after-reboot": {}},
    "drain": {
        "upgrades/budget-allows-eviction": {},
        "upgrades/budget-computable": {},
        "upgrades/one-budget-per-pod": {},
        "upgrades/has-controller": {},
        "upgrades/not-pinned-to-a-node": {},
        "upgrades/spread-satisfiable": {},
    },
    "start-order": {"upgrades/waits-for-healthy": {}},
    "data": {
        "storage/data-outlives-container": IMAGES,
        "storage/no-anonymous-volumes": {},
        "storage/data-follows-workload": {},
        "storage/scale-down-keeps-data": {},
    },
    "written": {"storage/data-outlives-container": IMAGES},
    "limits": {"resources/memory-limit": {}},
    "services": {
        # By number a port may be right though nobody declares it.
        "networking/service-ports-match": {"numbers": False},
        "networking/services-have-backends": {},
    },
    "reachability": {
        "networking/policies-select-pods": {},
        "networking/egress-allows-dns": {},
    },
    "ports": {"networking/no-all-interfaces": {}},
    "isolation": {},
}


def predicted(case: Case, question: Question, *, assuming: bool = True) -> Prediction:
    """What follows from the verdicts: one failure is a fault, one gap makes it unknown.

    Unless `assuming`, as in the profile audit, a pass that rests on what no file shows is a gap.
    """
    found = set(verdicts(case, question, assuming=assuming).values())
    if "failed" in found:
        return "fault"
    if "not evaluated" in found:
        return "unknown"
    return "ok" if found else "silent"


def verdicts(case: Case, question: Question, *, assuming: bool = True) -> dict[str, str]:
    """The verdict of each policy that speaks of a question, but those with nothing to judge."""
    model = _model(case.file, case.platform)
    found: dict[str, str] = {}
    for name, params in POLICIES[question].items():
        result = evaluate(_with(_policy(name), params), model, assuming=assuming)
        if result.verdict != "not applicable":
            found[name] = result.verdict
    return found


@cache
def _model(file: Path, platform: Platform) -> Model:
    return build_model(read_example(Example(file, "passed", platform, (), ())))


@cache
def _policy(name: str) -> Policy:
    pack = builtin_pack()
    return load_policy(pack.folder / name / POLICY_FILE, pack.name, "audit")


def _with(policy: Policy, params: Params) -> Policy:
    return replace(policy, settings=policy.settings | params)

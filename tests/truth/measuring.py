"""What experiments find out about a deployed case, by the policies that users run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.policies import POLICY_FILE, Policy, builtin_pack, load_policy
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.verdicts import Result, evaluate
from tests.truth.cases import Case, Question
from tests.truth.deployments import Beds, deployed
from tests.truth.predictions import IMAGES, Params

PROBER_IMAGE = "testbed/python:1"
RATE = 50
_LONGEST = 300
_TRAFFIC: Params = {"rate": RATE, "settle": 1.5}

# The policies whose experiments answer each question, the gentlest questions first.
POLICIES: dict[Question, dict[str, Params]] = {
    "written": {"storage/state-in-volumes": {}},
    "limits": {
        "resources/limits-in-force": {"required": ["memory"]},
        "resources/no-oom-kills": {},
        "resources/not-throttled": {"enough": 50},
    },
    "services": {"networking/services-answer": {}, "networking/ports-reachable": {}},
    "reachability": {
        "networking/policies-enforced": {},
        "networking/isolated-names-resolve": {},
    },
    "ports": {"networking/ports-reachable": {"beyond_host": False}},
    "isolation": {"networking/networks-isolated": {}},
    "drain": {"upgrades/nodes-can-be-drained": {}},
    "data": {
        "storage/data-survives": {**IMAGES, "move": True, "leave_behind": True, "deadline": 60}
    },
    "graceful-stop": {"upgrades/stops-in-time": {}},
    "start-order": {"upgrades/start-order-holds": {}},
    "rollout": {"upgrades/rollout-without-downtime": _TRAFFIC},
    "rollback": {"upgrades/bad-revision-is-harmless": {**_TRAFFIC, "seconds": 4}},
    "crash": {"upgrades/recovers-from-crash": {"within": 15, "stays": 6}},
}
# Swarm sets no deadline for a task to start.
_OF_SWARM: dict[Question, Params] = {"rollout": {"deadline": 15}}
_WORKLOADS = ("Deployment", "StatefulSet", "Pod", "service", "container")


class Answer(Struct, frozen=True):
    """What was measured for a question, and the words of it: what was found, or not looked at."""

    outcome: Literal["ok", "fault", "unknown"]
    text: str


def measure(case: Case, beds: Beds) -> dict[Question, Answer]:
    """Deploy a case and answer its questions. Raises `TestbedError` if it can't be deployed."""
    with deployed(case, beds) as uri:
        time.sleep(case.header.warm_up)
        asked = [question for question in POLICIES if question in case.header.expect]
        return {question: _answer(case, question, uri) for question in asked}


def _answer(case: Case, question: Question, uri: str) -> Answer:
    results = [_judged(case, policy, uri) for policy in _policies(case, question)]
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return Answer("fault", _text(_findings(results)))
    if "not evaluated" in verdicts or "passed" not in verdicts:
        gaps = [gap for result in results for gap in result.gaps]
        return Answer("unknown", _text(gaps) or "nothing to judge")
    # Notes come first, the measurement last.
    return Answer("ok", _text(figure for result in results for figure in result.figures[-1:]))


def _policies(case: Case, question: Question) -> Iterator[Policy]:
    pack = builtin_pack()
    for name, params in POLICIES[question].items():
        policy = load_policy(pack.folder / name / POLICY_FILE, pack.name)
        if case.platform in policy.data.platforms:
            own = _OF_SWARM.get(question, {}) if case.platform == "swarm" else {}
            yield replace(policy, settings=policy.settings | params | own)


def _judged(case: Case, policy: Policy, uri: str) -> Result:
    target, timeouts = parse_target(uri), Timeouts()
    model = build_model(take_inventory(target, timeouts))
    options = LabOptions(level="disrupt", prober_image=PROBER_IMAGE)
    with closing(open_lab(target, timeouts, options)) as lab:
        return evaluate(policy, model, covers=lambda ref: _is_asked(case, ref), lab=lab)


def _is_asked(case: Case, ref: ObjectRef) -> bool:
    """Whether an object is the one that the case is about, or no workload at all."""
    if ref.kind not in _WORKLOADS:
        return True
    return case.subject in (f"{ref.kind}/{ref.name}", ref.name)


def _findings(results: Iterable[Result]) -> Iterator[str]:
    for result in results:
        for finding in result.findings:
            yield f"{finding.violation.found}, wanted {finding.violation.wanted}"


def _text(parts: Iterable[str]) -> str:
    """What the parts begin with, in one line: figures go on with a timeline."""
    return "; ".join(" ".join(part.split())[:_LONGEST] for part in parts)

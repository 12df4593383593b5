"""The truth table: every case deployed and measured, against what its file alone foretells."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tests.testbed import Cluster, Engine, Swarm
from tests.truth import Case, cases
from tests.truth.campaign import Answers, expected, measure_all, outcomes
from tests.truth.cases import Challenge
from tests.truth.deployments import Beds
from tests.truth.scores import rows, score

# What is aimed at is 0.95; one flaky measurement shall not break the build.
LEAST = 0.9


@pytest.fixture(scope="module")
def measured(
    request: pytest.FixtureRequest,
    testbed_cluster: Cluster,
    testbed_engine: Engine,
    testbed_swarm: Swarm,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Answers]:
    """The answers of the cases that this run has selected, measured side by side."""
    beds = Beds(testbed_cluster, testbed_engine, testbed_swarm, tmp_path_factory.mktemp("cases"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        return measure_all(_selected(request.session), beds, print)


def _selected(session: pytest.Session) -> list[Case]:
    """The cases of the tests that run; all, if a score is among them."""
    selected = {item.name for item in session.items if item.path == Path(__file__)}
    if any(name.startswith(test_declared_verdicts_predict.__name__) for name in selected):
        return list(cases())
    return [case for case in cases() if f"{test_measured_as_known.__name__}[{case.id}]" in selected]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_measured_as_known(case: Case, measured: dict[str, Answers]) -> None:
    """What is measured on a case is what is known of it."""
    answers = measured[case.id]
    assert expected(case) == outcomes(answers), answers


@pytest.mark.parametrize("challenge", get_args(Challenge))
def test_declared_verdicts_predict(challenge: Challenge, measured: dict[str, Answers]) -> None:
    """Of the faults that files show, most are predicted and measured, and few are one only."""
    table = rows({name: outcomes(answers) for name, answers in measured.items()})
    found = score(challenge, table)

    assert min(found.precision, found.recall) >= LEAST, found

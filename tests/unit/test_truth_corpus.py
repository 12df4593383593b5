"""The corpus of the truth table is what it says, before anything of it is deployed."""

from __future__ import annotations

from typing import get_args

import pytest

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.truth import Case, cases
from tests.truth.campaign import expected, outcomes
from tests.truth.cases import CORPUS, Challenge, Question, questions
from tests.truth.page import kept, page, page_file
from tests.truth.predictions import predicted, verdicts
from tests.truth.scores import rows, score

_SCHEMES = {"kubernetes": "manifests", "compose": "compose"}
_UNKNOWABLE = [(case, question) for case in cases() for question in case.header.unknowable]
_FILES = [case for case in cases() if case.platform in _SCHEMES]


def test_the_corpus_covers_every_platform_and_question() -> None:
    """There are cases of every platform, and one with a fault and one without for all questions."""
    asked = {(question, outcome) for c in cases() for question, outcome in c.header.expect.items()}

    assert {"kubernetes", "compose", "swarm", "docker"} == {case.platform for case in cases()}
    assert [] == [q for q in questions() if (q, "ok") not in asked]
    assert [] == [q for q in questions() if (q, "fault") not in asked and q != "isolation"]


def test_every_file_is_a_case() -> None:
    """No file of the corpus is passed over because of its place."""
    assert len(list(CORPUS.rglob("*.yaml"))) == len(cases())


@pytest.mark.parametrize("case", _FILES, ids=lambda case: case.id)
def test_subjects_are_declared(case: Case) -> None:
    """The file, read as a user's would be, has the workload that the case is about."""
    target = parse_target(f"{_SCHEMES[case.platform]}:{case.file}")
    workloads = build_model(target.read(Timeouts())).all(Workload)

    assert case.subject in [
        f"{w.kind}/{w.name}" if case.platform == "kubernetes" else w.name for w in workloads
    ]


@pytest.mark.parametrize("challenge", get_args(Challenge))
def test_declared_verdicts_predict_what_is_known(challenge: Challenge) -> None:
    """Nearly every fault that a file shows is predicted, and nearly no other."""
    table = rows({case.id: expected(case) for case in cases()})
    found = score(challenge, table)
    wrong = [row for row in table if row.is_knowable and row.predicted != row.measured]

    assert min(found.precision, found.recall) >= 0.95, wrong


@pytest.mark.parametrize(("case", "question"), _UNKNOWABLE, ids=lambda it: getattr(it, "id", it))
def test_what_files_do_not_show_is_no_pass(case: Case, question: Question) -> None:
    """Profile audit does not pass what only an experiment can find out."""
    audited = predicted(case, question, assuming=False)

    assert "ok" != audited, verdicts(case, question, assuming=False)


def test_the_kept_measurement_is_of_this_corpus() -> None:
    """Each case was measured, and answered as its file says."""
    measured = {name: outcomes(answers) for name, answers in kept().cases.items()}

    assert {case.id: expected(case) for case in cases()} == measured


def test_the_page_is_up_to_date() -> None:
    """The page is what `python -m tests.truth` writes."""
    assert page(kept()) == page_file().read_text()

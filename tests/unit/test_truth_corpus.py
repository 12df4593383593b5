"""The corpus of the truth table is what it says, before anything of it is deployed."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.truth import Case, cases
from tests.truth.cases import CORPUS, questions

_SCHEMES = {"kubernetes": "manifests", "compose": "compose"}
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

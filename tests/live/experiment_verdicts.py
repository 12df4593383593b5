"""One experiment, asked of one workload of a live target."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.lab import LabOptions, new_run, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from pytest_containerpolicy.vocabulary import Level

PROBER = "testbed/python:1"


class Verdict(Struct, frozen=True):
    """What an experiment found wrong, could not look at, and measured, each as text."""

    found: str
    gaps: str
    figures: str
    judged: int


def verdict(
    experiment: str,
    uri: str,
    name: str,
    folder: Path,
    level: Level = "disrupt",
    prober: str = PROBER,
    **params: Any,
) -> Verdict:
    """Judge the workload of that name; nothing may be left in the journal, which is in `folder`."""
    target = parse_target(uri)
    options = LabOptions(level=level, prober_image=prober)
    journal = Journal(folder / "containerpolicy", new_run())
    with closing(open_lab(target, Timeouts(), options, journal)) as lab:
        check = find_experiment(experiment).using(lab)
        model = build_model(target.read(Timeouts()))
        judgement = check.judge(model, params, covers=lambda ref: ref.name == name)
        assert [] == journal.pending
    found = "\n".join(finding.violation.found for finding in judgement.findings)
    figures = "\n".join(map(str, lab.figures))
    return Verdict(found, "\n".join(judgement.gaps), figures, judgement.judged)

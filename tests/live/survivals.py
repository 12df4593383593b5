"""The experiment on data, asked of one workload of a live target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.lab import LabOptions, new_run, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

PROBER = "testbed/python:1"
IMAGES = {"testbed/stateful": "/data"}


class Verdict:
    """What the experiment said of one workload, and what it left in its journal."""

    def __init__(self, found: list[str], gaps: list[str], figures: str, judged: int) -> None:
        self.found = found
        self.gaps = gaps
        self.figures = figures
        self.judged = judged

    def fate(self, path: str) -> list[str]:
        """What became of the markers in a directory, one word for each time they were read."""
        lines = (line.split() for line in self.figures.splitlines() if line.startswith("  "))
        return [words[0] for words in lines if words[1:2] == [path]]


def survival(
    uri: str,
    name: str,
    folder: Path,
    hook: Callable[[str], None] = lambda _: None,
    prober: str = PROBER,
    **params: Any,
) -> Verdict:
    """Judge the workload of that name; nothing may be left in the journal.

    `folder` is for the journal; `hook` gets each line of progress before it goes on.
    """
    target = parse_target(uri)
    options = LabOptions(level="disrupt", prober_image=prober, progress=hook)
    journal = Journal(folder / "containerpolicy", new_run())
    with closing(open_lab(target, Timeouts(), options, journal)) as lab:
        judgement = (
            find_experiment("data_survives")
            .using(lab)
            .judge(
                build_model(target.read(Timeouts())),
                {"images": IMAGES, "deadline": 60, **params},
                covers=lambda ref: ref.name == name,
            )
        )
        assert [] == journal.pending
    found = [finding.violation.found for finding in judgement.findings]
    return Verdict(found, judgement.gaps, "\n".join(lab.figures), judgement.judged)

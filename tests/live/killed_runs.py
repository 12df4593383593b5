"""Runs of one experiment that are killed at each of its steps, and what must be as before then."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.live.preloaded import Preloaded
from tests.testbed.shell import TestbedError, wait_until

POLICY = """
id: {id}
title: t
summary: are at fault
severity: low
platforms: [kubernetes, docker, compose, swarm]
evidence: measured
experiment: {experiment}
params: {params}
why: w.
fix: f.
"""
MOST_STEPS = 60
RESTORED_SECONDS = 60
REPO = Path(__file__).parents[2]
RUN = (
    *("pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.live.kill_switch"),
    *("--cp-pack=pack", "--cp-select=upgrades/quick", "--cp-level=disrupt"),
    "--cp-prober-image=testbed/python:1",
)


@dataclass
class Place:
    """Where a series runs: its target, what is in order there, and a folder for its runs."""

    folder: Path
    target: str
    state: Callable[[set[str]], object]
    runs: set[str] = field(default_factory=set)

    @cached_property
    def program(self) -> Preloaded:
        """What runs our commands, with the series' own journal."""
        state = str(self.folder / "state")
        return Preloaded(self.folder, {"XDG_STATE_HOME": state, "PYTHONPATH": str(REPO)})

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours, and keep its run's name in mind."""
        done = self.program.run(command, environment)
        self.runs |= {path.stem for path in (self.folder / "state").rglob("*-*-*.*")}
        return done

    def now(self) -> object:
        """What there is, what the series' runs left included."""
        return self.state(self.runs)


def killed_everywhere(place: Place, experiment: str, params: dict[str, Any]) -> list[str]:
    """Kill a run at each step; returns what was not as before after the next run's restoring."""
    _write_policy(place.folder, experiment, params)
    with closing(place.program):
        return _problems(place)


def _problems(place: Place) -> list[str]:
    before = place.now()
    problems: list[str] = []
    for step in range(1, MOST_STEPS):
        done = place.run(*RUN, f"--cp-target={place.target}", KILL_AT=str(step))
        if done.returncode != -9:
            errors = re.search(r"\b\d+ errors?\b.* in [\d.]+s", done.stdout)
            finished = done.returncode in (0, 1) and not errors and step > 1
            return problems if finished else [*problems, done.stdout]
        restored = place.run("containerpolicy", "restore")
        if restored.returncode:
            problems.append(f"step {step}: {restored.stdout}")
        try:
            wait_until("all is as before", lambda: _seen(place) == before, RESTORED_SECONDS)
        except TestbedError:
            problems.append(f"step {step}: {_seen(place)}, before {before}")
    return [*problems, f"no end after {MOST_STEPS} steps"]


def _seen(place: Place) -> object:
    """What there is; nothing to compare with while what is looked into is on its way out."""
    try:
        return place.now()
    except (TestbedError, AssertionError) as error:
        return str(error)


def _write_policy(folder: Path, experiment: str, params: dict[str, Any]) -> None:
    policy = folder / "pack" / "upgrades" / "quick"
    policy.mkdir(parents=True)
    values = {"id": "upgrades/quick", "params": json.dumps(params)}
    (policy / "policy.yaml").write_text(POLICY.format(experiment=experiment, **values))

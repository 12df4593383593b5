"""Laboratories in clusters that were asked already: nothing is asked again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.lab import Lab, LabOptions, open_lab
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.loopback import write_kubeconfig


def known_cluster(folder: Path, question: Hashable, answer: Callable[[], Any]) -> Lab:
    """A cluster that nobody can reach, which has answered one question; it may have refused it."""
    config = write_kubeconfig(folder / "config", "https://127.0.0.1:9", {})
    lab = open_lab(parse_target(f"k8s://?kubeconfig={config}"), Timeouts(), LabOptions())
    with suppress(CannotLook):
        lab.once(question, answer)
    return lab

"""Experiments on the networks of an engine, and rules of somebody's own in its firewall."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.experiment_verdicts import Verdict, verdict
from tests.testbed import Engine
from tests.testbed.shell import run

PREFIX = "apart-"
IMAGE = "testbed/distroless:1"


def ask(
    engine: Engine, experiment: str, names: tuple[str, ...], folder: Path, **params: Any
) -> Verdict:
    """Of the first name, with all of them in the target's scope."""
    scope = "&".join(f"workload={PREFIX}{name}" for name in names)
    uri = f"engine+{engine.url}?{scope}"
    return verdict(experiment, uri, PREFIX + names[0], folder, "probe", **params)


@contextmanager
def rule(engine: Engine, *words: str, tool: str = "iptables") -> Iterator[None]:
    """A rule of somebody's own in the engine's firewall, first in its chain."""
    table, chain = words[:2]
    run(*engine.inside(tool, "-t", table, "-I", chain, *words[2:]))
    try:
        yield
    finally:
        run(*engine.inside(tool, "-t", table, "-D", chain, *words[2:]))


@contextmanager
def open_to_all(engine: Engine, address: str) -> Iterator[None]:
    """Rules that let everybody through to a container's address, from whatever network."""
    tool = "ip6tables" if ":" in address else "iptables"
    to = ["-d", address, "-j", "ACCEPT"]
    with (
        rule(engine, "raw", "PREROUTING", *to, tool=tool),
        rule(engine, "filter", "DOCKER-USER", *to, tool=tool),
    ):
        yield

"""What a restart of a Docker daemon does to its containers, with live restore and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.daemon_restart import measure_daemon_restart
from pytest_containerpolicy.experiments.lab import Lab, LabOptions, open_lab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.restarts import Daemon
from tests.testbed.engine import Engine, engine_at, load_images, start_daemon
from tests.testbed.layout import Site
from tests.testbed.network import isolated
from tests.testbed.sweep import sweep

LIVE, PLAIN = ("--live-restore",), ()
INSTANCE = "9"


@pytest.fixture(params=[LIVE, PLAIN], ids=["live-restore", "plain"])
def daemon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon of its own, in another testbed, with two containers; one is started again."""
    monkeypatch.delenv("CONTAINERPOLICY_TESTBED", raising=False)
    monkeypatch.setenv("CONTAINERPOLICY_TESTBED_INSTANCE", INSTANCE)
    site = Site("engine")
    engine = engine_at(site)
    with ExitStack() as undo:
        sweep(site)
        undo.callback(sweep, site)
        isolated(site)
        start_daemon(site, engine, "current", site.subnet(0), *request.param)
        load_images(engine, "pause")
        _run(engine, "stays", "no")
        _run(engine, "comes-again", "always")
        yield Daemon(site, engine, "dockerd")


def _run(engine: Engine, name: str, restart: str) -> None:
    client: Any = engine.client()
    with closing(client):
        policy = {"Name": restart}
        client.containers.run("testbed/pause:1", name=name, detach=True, restart_policy=policy)


@pytest.fixture
def lab(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A laboratory on that daemon."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    target = parse_target(f"engine+{engine_at(Site('engine')).url}")
    with closing(open_lab(target, Timeouts(), LabOptions(level="disrupt"))) as lab:
        yield lab


def test_restart(daemon: Daemon, lab: Lab, request: pytest.FixtureRequest) -> None:
    """With live restore processes run on; without it they end, and some are started again."""
    has_it = "live-restore" in request.node.callspec.id
    model = build_model(lab.target.read(Timeouts()))
    judgement = find_experiment("live_restore_in_force").using(lab).judge(model, {})
    assert (1, [] if has_it else ["LiveRestoreEnabled false"]) == (
        judgement.judged,
        [finding.violation.found for finding in judgement.findings],
    )
    with pytest.raises(CannotLook, match="was not restarted"):
        measure_daemon_restart(lab, lambda: None)

    found = measure_daemon_restart(lab, daemon.restart)

    kept, restarted, lost = ("comes-again", "stays"), ("comes-again",), ("stays",)
    expected = (kept, (), ()) if has_it else ((), restarted, lost)
    assert expected == (found.kept, found.restarted, found.lost), found
    assert has_it == bool(found)
    assert f"{2 if has_it else 0} ran on" in str(found)

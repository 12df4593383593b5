"""Runs that are killed at every step of an experiment, and what comes after puts right.

Each experiment runs on a namespace, project, service or container of its own, again and again, and
is killed with SIGKILL after each change that it makes, until it gets through.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.killed_places import (
    LABELS,
    cluster_place,
    compose_place,
    engine_place,
    swarm_place,
)
from tests.live.killed_runs import Place, killed_everywhere

SIDE_BY_SIDE = 6
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}},
    },
}
CLOSED = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "closed"},
    "spec": {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"]},
}
COMPOSE = """
volumes: {data: {}}
services:
  web:
    image: testbed/server:1
    stop_grace_period: 2s
    restart: always
    volumes: [data:/data]
"""
ORDERED = (
    COMPOSE
    + """\
    depends_on: {db: {condition: service_healthy}}
  db:
    image: testbed/server:1
    stop_grace_period: 1s
    healthcheck: {test: [CMD, /server, healthcheck], interval: 1s}
"""
)


@dataclass(frozen=True)
class Series:
    """One experiment with quick params, and the environment that it is killed in."""

    experiment: str
    params: dict[str, Any]
    environment: str = "kubernetes"
    more: tuple[dict[str, Any], ...] = ()
    file: str = COMPOSE


FIXTURES = {
    "kubernetes": "testbed_cluster",
    "docker": "testbed_engine",
    "compose": "testbed_engine",
    "swarm": "testbed_swarm",
}
TRAFFIC = {"rate": 20, "settle": 0.5}
SERIES = {
    "rollout": Series("no_downtime", TRAFFIC),
    "rollback": Series("bad_revision_is_harmless", {"rate": 20, "seconds": 1}),
    "drain": Series("drain_without_downtime", {"rate": 20}),
    "survival": Series("data_survives", {}, more=(CLAIM,)),
    "stop": Series("stops_in_time", {}),
    "crash": Series("recovers_from_crash", {"stays": 1}),
    "limits": Series("limits_in_force", {}),
    "network": Series("network_policy_enforced", {"samples": 4, "timeout": 1}, more=(CLOSED,)),
    "compose-rollout": Series("no_downtime", TRAFFIC, "compose"),
    "compose-survival": Series("data_survives", {}, "compose"),
    "compose-stop": Series("stops_in_time", {}, "compose"),
    "compose-crash": Series("recovers_from_crash", {"stays": 1}, "compose"),
    "compose-start-order": Series("start_order_holds", {}, "compose", file=ORDERED),
    "docker-stop": Series("stops_in_time", {}, "docker"),
    "docker-crash": Series("recovers_from_crash", {"stays": 1}, "docker"),
    "swarm-rollout": Series("no_downtime", TRAFFIC, "swarm"),
    "swarm-rollback": Series("bad_revision_is_harmless", {**TRAFFIC, "seconds": 1}, "swarm"),
    "swarm-survival": Series("data_survives", {}, "swarm"),
    "swarm-stop": Series("stops_in_time", {}, "swarm"),
    "swarm-crash": Series("recovers_from_crash", {"stays": 1}, "swarm"),
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """What went wrong in each series that is asked for; side by side, as most of it is waiting."""
    names = [name for name in SERIES if any(f"[{name}]" in i.name for i in request.session.items)]
    needed = {SERIES[name].environment for name in names}
    environments = {one: request.getfixturevalue(FIXTURES[one]) for one in needed}

    folders = {name: tmp_path_factory.mktemp(name) for name in names}

    def carry_out(name: str) -> list[str]:
        series = SERIES[name]
        with _place(environments[series.environment], series, folders[name]) as place:
            return killed_everywhere(place, series.experiment, series.params)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(names, pool.map(carry_out, names), strict=True))


def _place(environment: Any, series: Series, folder: Path) -> AbstractContextManager[Place]:
    match series.environment:
        case "docker":
            return engine_place(environment, folder)
        case "compose":
            return compose_place(environment, folder, series.file)
        case "swarm":
            return swarm_place(environment.managers[0], folder)
    return cluster_place(environment, folder, series.more)


@pytest.mark.parametrize("name", SERIES)
def test_killed_at_every_step(name: str, outcomes: dict[str, list[str]]) -> None:
    """Whatever the step at which a run is killed, all is as before once it is restored."""
    assert [] == outcomes[name]

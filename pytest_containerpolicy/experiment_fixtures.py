"""Fixtures that measure: each is a function that a test calls with a workload that it holds.

    def test_nobody_notices_a_rollout(kube_cluster, measure_rollout):
        rollout = measure_rollout(kube_cluster.workload("Deployment", "web", "shop"), rate=100)
        assert rollout.failed == 0, rollout

They act on what the test names, and need `--cp-level=disrupt` (or `probe`) like any experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from pytest_containerpolicy.options import settings_of

if TYPE_CHECKING:
    from pytest_containerpolicy.environments.measuring import (
        Laboratories,
        LiveEnvironment,
        LiveSubject,
    )

__all__ = [
    "cp_laboratories",
    "measure_availability",
    "measure_crash",
    "measure_daemon_restart",
    "measure_drain",
    "measure_manager_loss",
    "measure_rollout",
    "measure_stop",
    "reachability",
    "rehearse_drain",
    "rehearse_rollback",
    "survives_recreation",
]


class _Measuring:
    """Carries out one experiment; what it measured is in the report of a test that fails."""

    def __init__(self, laboratories: Laboratories, experiment: str) -> None:
        module, _, name = experiment.partition(":")
        package = f"{__package__}.experiments"
        self._measure: Callable[..., Any] = getattr(import_module(f"{package}.{module}"), name)
        self._laboratories = laboratories

    def evidence(self) -> Iterator[tuple[str, str]]:
        """What was measured."""
        yield from self._laboratories.evidence()


class Measuring(_Measuring):
    """Carries out one experiment on a workload, with keyword arguments of its own.

    Raises `CannotLook` if it could not be carried out.
    """

    def __call__(self, subject: LiveSubject, **arguments: Any) -> Any:
        workload, lab = self._laboratories.of(subject)
        return self._measure(workload, lab, **arguments)


class MeasuringAll(_Measuring):
    """Carries out one experiment on a whole environment, or on a namespace."""

    def __call__(self, subject: LiveEnvironment, *more: Any, **arguments: Any) -> Any:
        lab = self._laboratories.of_environment(subject)
        return self._measure(lab, *more, **arguments)


class MeasuringModel(MeasuringAll):
    """Carries out one experiment on all that an environment has now."""

    def __call__(self, subject: LiveEnvironment, *more: Any, **arguments: Any) -> Any:
        return super().__call__(subject, subject.read_model(), *more, **arguments)


@pytest.fixture(scope="session")
def cp_laboratories(pytestconfig: pytest.Config) -> Iterator[Laboratories]:
    """Where the experiments of users' tests act; what they changed is undone by the end."""
    from pytest_containerpolicy.environments.measuring import Laboratories
    from pytest_containerpolicy.experiments.lab import PROBER_IMAGE, LabOptions
    from pytest_containerpolicy.targets.uri import Timeouts

    settings = settings_of(pytestconfig)
    options = LabOptions(
        level=settings.level,
        prober_image=settings.prober_image or PROBER_IMAGE,
        urls=settings.urls,
    )
    timeouts = Timeouts(connect=settings.connect_timeout, read=settings.timeout)
    laboratories = Laboratories(options, timeouts)
    yield laboratories
    laboratories.close()


@pytest.fixture
def measure_rollout(cp_laboratories: Laboratories) -> Measuring:
    """`measure_rollout(workload, rate=50)`: restart it under traffic; true if nobody noticed."""
    return Measuring(cp_laboratories, "rollout:measure_rollout")


@pytest.fixture
def measure_availability(cp_laboratories: Laboratories) -> Measuring:
    """`with measure_availability(workload) as traffic: ...`, and then `traffic.measurement`."""
    return Measuring(cp_laboratories, "vantage:measure_availability")


@pytest.fixture
def rehearse_rollback(cp_laboratories: Laboratories) -> Measuring:
    """`rehearse_rollback(workload, seconds=15)`: roll out what never starts, and take it back."""
    return Measuring(cp_laboratories, "rollback:rehearse_rollback")


@pytest.fixture
def survives_recreation(cp_laboratories: Laboratories) -> Measuring:
    """`survives_recreation(workload, path="/data")`: true if a marker is there after it."""
    return Measuring(cp_laboratories, "survival:measure_survival")


@pytest.fixture
def measure_stop(cp_laboratories: Laboratories) -> Measuring:
    """`measure_stop(workload, slow_path="")`: how one instance stops when it is told to."""
    return Measuring(cp_laboratories, "stopping:measure_stop")


@pytest.fixture
def measure_crash(cp_laboratories: Laboratories) -> Measuring:
    """`measure_crash(workload, within=30)`: kill one instance and watch it come back."""
    return Measuring(cp_laboratories, "crashing:measure_crash")


@pytest.fixture
def measure_drain(cp_laboratories: Laboratories) -> Measuring:
    """`measure_drain(workload)`: drain the node with most of its pods, under traffic."""
    return Measuring(cp_laboratories, "drain_measurement:measure_drain")


@pytest.fixture
def rehearse_drain(cp_laboratories: Laboratories) -> MeasuringAll:
    """`rehearse_drain(cluster, node)`: which pods could not leave it, and why. Evicts nothing."""
    return MeasuringAll(cp_laboratories, "drain_rehearsal:rehearse_drain")


@pytest.fixture
def reachability(cp_laboratories: Laboratories) -> MeasuringModel:
    """`reachability(namespace, samples=40)`: what its network policies allow and deny for real."""
    return MeasuringModel(cp_laboratories, "network_truth:measure_network")


@pytest.fixture
def measure_manager_loss(cp_laboratories: Laboratories) -> MeasuringAll:
    """`measure_manager_loss(swarm, stop, start)`: does the Swarm go on being managed?"""
    return MeasuringAll(cp_laboratories, "swarm_managers:measure_manager_loss")


@pytest.fixture
def measure_daemon_restart(cp_laboratories: Laboratories) -> MeasuringAll:
    """`measure_daemon_restart(engine, restart)`: do its containers run on?"""
    return MeasuringAll(cp_laboratories, "daemon_restart:measure_daemon_restart")

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
    """Carries out one experiment; what it measured is in the report of a test that fails.

    `does` says what it does to its subject: with --cp-dry-run all that happens is that it is said.
    """

    def __init__(self, laboratories: Laboratories, experiment: str, does: str) -> None:
        module, _, name = experiment.partition(":")
        package = f"{__package__}.experiments"
        self._measure: Callable[..., Any] = getattr(import_module(f"{package}.{module}"), name)
        self._laboratories = laboratories
        self._does = does

    def _skip_if_dry(self, subject: LiveSubject | LiveEnvironment) -> None:
        """End the test here in a dry run."""
        if self._laboratories.is_dry_run:
            plan = f"{self._does}: {str(subject).strip('<>')}"
            self._laboratories.say(f"dry run: {plan}")
            pytest.skip(f"dry run: {plan}")

    def evidence(self) -> Iterator[tuple[str, str]]:
        """What was measured."""
        yield from self._laboratories.evidence()


class Measuring(_Measuring):
    """Carries out one experiment on a workload, with keyword arguments of its own.

    Raises `CannotLook` if it could not be carried out.
    """

    def __call__(self, subject: LiveSubject, **arguments: Any) -> Any:
        self._skip_if_dry(subject)
        workload, lab = self._laboratories.of(subject)
        return self._measure(workload, lab, **arguments)


class MeasuringAll(_Measuring):
    """Carries out one experiment on a whole environment, or on a namespace."""

    def __call__(self, subject: LiveEnvironment, *more: Any, **arguments: Any) -> Any:
        self._skip_if_dry(subject)
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
    from pytest_containerpolicy.laboratories import lab_options, timeouts_of
    from pytest_containerpolicy.watcher import Watcher

    settings = settings_of(pytestconfig)
    options = lab_options(settings, Watcher(pytestconfig).write)
    laboratories = Laboratories(options, timeouts_of(settings), is_dry_run=settings.dry_run)
    yield laboratories
    laboratories.close()


@pytest.fixture
def measure_rollout(cp_laboratories: Laboratories) -> Measuring:
    """`measure_rollout(workload, rate=50)`: restart it under traffic; true if nobody noticed."""
    return Measuring(
        cp_laboratories, "rollout:measure_rollout", "restarts its rollout under traffic"
    )


@pytest.fixture
def measure_availability(cp_laboratories: Laboratories) -> Measuring:
    """`with measure_availability(workload) as traffic: ...`, and then `traffic.measurement`."""
    return Measuring(cp_laboratories, "vantage:measure_availability", "sends it traffic")


@pytest.fixture
def rehearse_rollback(cp_laboratories: Laboratories) -> Measuring:
    """`rehearse_rollback(workload, seconds=15)`: roll out what never starts, and take it back."""
    return Measuring(
        cp_laboratories,
        "rollback:rehearse_rollback",
        "rolls out a broken revision and takes it back",
    )


@pytest.fixture
def survives_recreation(cp_laboratories: Laboratories) -> Measuring:
    """`survives_recreation(workload, path="/data")`: true if a marker is there after it."""
    return Measuring(
        cp_laboratories,
        "survival:measure_survival",
        "writes a marker to its data and has it recreated",
    )


@pytest.fixture
def measure_stop(cp_laboratories: Laboratories) -> Measuring:
    """`measure_stop(workload, slow_path="")`: how one instance stops when it is told to."""
    return Measuring(cp_laboratories, "stopping:measure_stop", "stops one instance")


@pytest.fixture
def measure_crash(cp_laboratories: Laboratories) -> Measuring:
    """`measure_crash(workload, within=30)`: kill one instance and watch it come back."""
    return Measuring(
        cp_laboratories, "crashing:measure_crash", "kills the main process of one instance"
    )


@pytest.fixture
def measure_drain(cp_laboratories: Laboratories) -> Measuring:
    """`measure_drain(workload)`: drain the node with most of its pods, under traffic."""
    return Measuring(
        cp_laboratories, "drain_measurement:measure_drain", "drains the node with most of its pods"
    )


@pytest.fixture
def rehearse_drain(cp_laboratories: Laboratories) -> MeasuringAll:
    """`rehearse_drain(cluster, node)`: which pods could not leave it, and why. Evicts nothing."""
    return MeasuringAll(
        cp_laboratories,
        "drain_rehearsal:rehearse_drain",
        "asks by dry run whether pods may be evicted",
    )


@pytest.fixture
def reachability(cp_laboratories: Laboratories) -> MeasuringModel:
    """`reachability(namespace, samples=40)`: what its network policies allow and deny for real."""
    return MeasuringModel(
        cp_laboratories, "network_truth:measure_network", "opens connections between its pods"
    )


@pytest.fixture
def measure_manager_loss(cp_laboratories: Laboratories) -> MeasuringAll:
    """`measure_manager_loss(swarm, stop, start)`: does the Swarm go on being managed?"""
    return MeasuringAll(
        cp_laboratories,
        "swarm_managers:measure_manager_loss",
        "stops one manager and starts it again",
    )


@pytest.fixture
def measure_daemon_restart(cp_laboratories: Laboratories) -> MeasuringAll:
    """`measure_daemon_restart(engine, restart)`: do its containers run on?"""
    return MeasuringAll(
        cp_laboratories, "daemon_restart:measure_daemon_restart", "restarts the daemon"
    )

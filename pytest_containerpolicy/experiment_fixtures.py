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
    from pytest_containerpolicy.environments.measuring import Laboratories, LiveSubject

__all__ = [
    "cp_laboratories",
    "measure_availability",
    "measure_rollout",
]


class Measuring:
    """Carries out one experiment; what it measured is in the report of a test that fails."""

    def __init__(self, laboratories: Laboratories, module: str, name: str) -> None:
        package = f"{__package__}.experiments"
        self._measure: Callable[..., Any] = getattr(import_module(f"{package}.{module}"), name)
        self._laboratories = laboratories

    def __call__(self, subject: LiveSubject, **arguments: Any) -> Any:
        workload, lab = self._laboratories.of(subject)
        return self._measure(workload, lab, **arguments)

    def evidence(self) -> Iterator[tuple[str, str]]:
        """What was measured."""
        yield from self._laboratories.evidence()


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
    return Measuring(cp_laboratories, "rollout", "measure_rollout")


@pytest.fixture
def measure_availability(cp_laboratories: Laboratories) -> Measuring:
    """`with measure_availability(workload) as traffic:`, and then `traffic.measurement`."""
    return Measuring(cp_laboratories, "vantage", "measure_availability")

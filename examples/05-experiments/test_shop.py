"""What happens to the shop when it is replaced, stopped and killed."""

import pytest


@pytest.fixture
def web(compose_project):
    """The service that customers see."""
    return compose_project.service("web")


def test_orders_are_kept(web, survives_recreation):
    """Orders outlive their container."""
    assert survives_recreation(web, path="/orders")


def test_temporary_files_are_not(web, survives_recreation):
    """What is written beside the volume is gone with the container."""
    assert not survives_recreation(web, path="/tmp")


def test_comes_back_after_a_crash(web, measure_crash):
    """The engine starts the shop again within ten seconds."""
    crash = measure_crash(web, within=10)
    assert crash.is_recovered, crash


def test_a_new_version_is_noticed(web, measure_rollout):
    """Compose stops the only container before it starts the next one: customers see that."""
    rollout = measure_rollout(web, rate=50)
    assert 0 < rollout.failed, rollout

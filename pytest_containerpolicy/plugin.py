"""The pytest hooks, and nothing else. What a run needs is imported when a run needs it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from pytest_containerpolicy.experiment_fixtures import *  # noqa: F403 - as below
from pytest_containerpolicy.fixtures import *  # noqa: F403 - pytest finds fixtures by name
from pytest_containerpolicy.options import (
    RUN_PLUGIN,
    SETTINGS,
    add_options,
    is_active,
    make_settings,
)
from pytest_containerpolicy.vocabulary import CHALLENGES

if TYPE_CHECKING:
    from pytest_containerpolicy.run import Run

_MARKERS = (
    "containerpolicy: a policy judged on a target",
    *(f"policy_{name}: a policy of the challenge {name}" for name in CHALLENGES),
    "cp_target(glob, ...): run a test that requests cp_target only on targets with such ids",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and ini keys."""
    add_options(parser)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """List the policies if that is what was asked for."""
    if not config.option.cp_list:
        return None
    _make_run(config).print_policies()
    return 0


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and the run if there is something to judge."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    if is_active(config):
        run = _make_run(config)
        config.pluginmanager.register(run, RUN_PLUGIN)
        config.args.extend(run.args)


def _make_run(config: pytest.Config) -> Run:
    from pytest_containerpolicy.errors import UsageError
    from pytest_containerpolicy.run import make_run

    try:
        settings = config.stash[SETTINGS] = make_settings(config)
        return make_run(config, settings)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave quickly."""
    if config.pluginmanager.has_plugin(RUN_PLUGIN):
        # The interpreter would walk every object that was read once more before it exits.
        gc.freeze()

"""Policy checks for containers as pytest tests, against real environments."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_containerpolicy.checks import Violation, check
    from pytest_containerpolicy.environments.judging import assert_policies, check_policy

__all__ = ["Violation", "assert_policies", "check", "check_policy"]
_HOMES = {
    "Violation": "pytest_containerpolicy.checks",
    "check": "pytest_containerpolicy.checks",
    "assert_policies": "pytest_containerpolicy.environments.judging",
    "check_policy": "pytest_containerpolicy.environments.judging",
}


def __getattr__(name: str) -> Any:
    # Lazy: the plugin imports this package in every pytest run, used or not.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

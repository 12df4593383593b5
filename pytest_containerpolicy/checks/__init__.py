"""Checks: pure functions over the model, one module per challenge.

from pytest_containerpolicy.checks import Violation, check
"""

from importlib import import_module

from pytest_containerpolicy.checks.registry import Bytes, Finding, Judgement, Violation, check

__all__ = ["Bytes", "Finding", "Judgement", "Violation", "check", "load_builtin_checks"]

_MODULES = (
    "storage",
    "storage_claims",
    "storage_host",
    "storage_lifetime",
    "networking",
    "networking_policies",
    "networking_ports",
    "networking_services",
    "resources",
    "resources_fit",
    "upgrades",
    "upgrades_compose",
    "upgrades_eviction",
    "upgrades_rollout",
    "upgrades_spread",
    "upgrades_stopping",
)


def load_builtin_checks() -> None:
    """Register the checks of this package; done when the first policy asks for one."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")

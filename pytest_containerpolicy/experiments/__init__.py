"""Experiments: what is in force, and what happens when it matters, found out on a live target.

An experiment journals how to undo what it does, acts, measures, restores and judges.

from pytest_containerpolicy.experiments import experiment
"""

from importlib import import_module

from pytest_containerpolicy.experiments.registry import Experiment, experiment

__all__ = ["Experiment", "experiment", "load_builtin_experiments"]

_MODULES: tuple[str, ...] = (
    "autoscaling",
    "certificates",
    "crashing",
    "docker_isolation",
    "docker_locks",
    "docker_ports",
    "daemon_restart",
    "dns_answers",
    "dns_isolated",
    "drain",
    "drain_measurement",
    "effective_health",
    "effective_limits",
    "effective_mounts",
    "effective_qos",
    "effective_restart_policy",
    "effective_security",
    "effective_writes",
    "kubernetes_crashing",
    "kubernetes_stopping",
    "network_truth",
    "node_removal",
    "rollback",
    "rollout",
    "service_answers",
    "start_order",
    "stopping",
    "survival",
    "swarm_managers",
)


def load_builtin_experiments() -> None:
    """Register the experiments of this package and how to undo what they do."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")

"""Checks of how a container is stopped: the signal, the time it gets, what runs before."""

from collections.abc import Iterator

from pytest_containerpolicy.checks.registry import Violation, check
from pytest_containerpolicy.checks.upgrades import answers_clients
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.paths import field_path
from pytest_containerpolicy.model.quantities import human_seconds
from pytest_containerpolicy.model.workload import Workload

_KILL = ("SIGKILL", "KILL", "9")
# The kubelet runs no hook without a grace period, and one second is over before it has begun.
_TOO_SHORT_FOR_ANY_HOOK = 1


def keeps_running(workload: Workload) -> bool:
    """Whether it is there to be stopped one day, not to come to an end."""
    return not workload.runs_to_completion


def _timed_hooks(workload: Workload) -> list[tuple[Container, float]]:
    """The containers with a hook of which it is known how long it takes at least."""
    hooks = [(c, c.pre_stop.seconds) for c in workload.running_containers if c.pre_stop]
    if workload.grace_period <= _TOO_SHORT_FOR_ANY_HOOK:
        return [(container, seconds or 0) for container, seconds in hooks]
    return [(container, seconds) for container, seconds in hooks if seconds is not None]


def has_timed_hook(workload: Workload) -> bool:
    """Whether a preStop hook is there that can be compared with the grace period."""
    return bool(_timed_hooks(workload))


@check(applies=keeps_running)
def stops_gracefully(workload: Workload, at_least_seconds: float = 5) -> Iterator[Violation]:
    """The grace period is at least `at_least_seconds`, and the stop signal can be handled."""
    if workload.grace_period < at_least_seconds:
        yield Violation(
            found=f"grace period {human_seconds(workload.grace_period)}",
            wanted=f"at least {human_seconds(at_least_seconds)}",
            path=field_path(workload, "grace_period"),
        )
    for container in workload.running_containers:
        if container.stop_signal.upper() in _KILL:
            of = f" of container {container.name}" if workload.pod_path else ""
            yield Violation(
                found=f"stop signal {container.stop_signal}{of}",
                wanted="a signal that can be handled",
                path=field_path(container, "stop_signal"),
            )


@check(applies=has_timed_hook)
def grace_covers_pre_stop(workload: Workload, drain_seconds: float = 5) -> Iterator[Violation]:
    """The grace period holds the preStop hook and `drain_seconds` after it.

    The kubelet takes the hook's time off the grace period and starts the hooks of all containers,
    native sidecars included, at once:
    https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/#hook-handler-execution
    """
    for container, seconds in _timed_hooks(workload):
        if seconds + drain_seconds > workload.grace_period:
            hook = f"preStop sleep {human_seconds(seconds)}" if seconds else "a preStop hook"
            yield Violation(
                found=f"grace period {human_seconds(workload.grace_period)} with {hook}"
                f" in container {container.name}",
                wanted=f"at least {human_seconds(seconds + drain_seconds)}",
                path=field_path(workload, "grace_period"),
            )


@check(applies=answers_clients)
def drains_before_exit(container: Container, at_least_seconds: float = 2) -> Iterator[Violation]:
    """What clients reach has a preStop hook that bridges the time until all nodes know.

    A sleep of less than `at_least_seconds` does not. Raises `CannotLook` without a hook: the
    program may go on serving by itself.
    """
    hook = container.pre_stop
    if hook is None:
        raise CannotLook(
            f"whether {container.name} of {container.workload.ref} goes on serving after its stop"
            " signal cannot be known from configuration: give it a preStop hook that sleeps, or"
            " run with --cp-level=disrupt (upgrades/rollout-without-downtime)"
        )
    if hook.seconds is not None and hook.seconds < at_least_seconds:
        yield Violation(
            found=f"a preStop hook of {human_seconds(hook.seconds)}",
            wanted=f"at least {human_seconds(at_least_seconds)}",
            path=field_path(container, "pre_stop"),
        )

"""What becomes of an instance that is told to stop: does it end by itself, and finish its work?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.experiments.held_request import SlowPath
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.stops import GracefulStop, signal_name
from pytest_containerpolicy.model.workload import Workload

if TYPE_CHECKING:
    from pytest_containerpolicy.experiments.docker_lab import DockerLab
    from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab


def stays_up(workload: Workload) -> bool:
    """Whether it is meant to run all the time, in at least one copy."""
    return not workload.runs_to_completion and workload.replicas != 0


@experiment("disrupt", "stops one instance and waits for the next", applies=stays_up)
def stops_in_time(workload: Workload, lab: Lab, slow_path: str = "") -> Iterator[Violation]:
    """An instance that is told to stop ends within its grace period, and its open request first.

    `slow_path` is `/path?query`, or `:PORT/path?query`, that takes some seconds to answer.
    """
    measured = measure_stop(workload, lab, slow_path)
    lab.record(measured)
    if measured.stop.killed:
        yield _killed(workload, measured)
    if measured.request:
        yield Violation(
            found=f"a request that it had open was cut: {measured.request}",
            wanted="requests that are open when it is told to stop are answered",
            why=f"{measured.stop.name} ended after {measured.stop.seconds:.1f} s and had"
            f" {measured.grace:g} s",
        )


def measure_stop(workload: Workload, lab: Lab, slow_path: str = "") -> GracefulStop:
    """Stop one instance as its platform does, with its own signal and grace period.

    With `slow_path` a request is open meanwhile, sent to that very instance. Afterwards all is as
    before. Raises `CannotLook` if the workload is not at rest or may not be disrupted.
    """
    with lab.claim(workload):
        slow = SlowPath.of(slow_path, workload) if slow_path else None
        if lab.platform == "kubernetes":
            from pytest_containerpolicy.experiments.kubernetes_stopping import stop_pod

            return stop_pod(cast("KubernetesLab", lab), workload, slow)
        if lab.platform == "swarm":
            from pytest_containerpolicy.experiments.swarm_stopping import stop_task

            return stop_task(cast("DockerLab", lab), workload, slow)
        from pytest_containerpolicy.experiments.docker_stopping import stop_container

        return stop_container(cast("DockerLab", lab), workload, slow)


def _killed(workload: Workload, measured: GracefulStop) -> Violation:
    stop, signal = measured.stop, signal_name(workload.main_containers[0].stop_signal)
    if not measured.grace:
        found = "killed at once: its grace period is 0 s, so that nothing asks it to stop"
    elif signal == "SIGKILL":
        found = "killed at once: its stop signal is SIGKILL, which no program can handle"
    else:
        found = f"killed, as {signal} did not end it within {measured.grace:g} s: {stop}"
    return Violation(
        found=found,
        wanted="it ends by itself when it is told to stop",
        path=workload.grace_period_path,
        why="what it is doing is cut off at every rollout, drain and restart",
    )

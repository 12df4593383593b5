"""What becomes of an instance whose main process is killed: is it back soon, and does it stay?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.experiments.crashes import Crash
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.experiments.stopping import stays_up
from pytest_containerpolicy.model.workload import Workload

if TYPE_CHECKING:
    from pytest_containerpolicy.experiments.docker_lab import DockerLab
    from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab


@experiment("disrupt", "kills the main process of one instance", applies=stays_up)
def recovers_from_crash(
    workload: Workload, lab: Lab, within: float = 30, stays: float = 10
) -> Iterator[Violation]:
    """An instance whose main process is killed is ready again `within` seconds, and stays so.

    `stays` is how many seconds it is watched for after that.
    """
    measured = measure_crash(workload, lab, within, stays)
    lab.record(measured)
    if not measured.is_recovered:
        yield _violation(workload, measured)


def measure_crash(workload: Workload, lab: Lab, within: float = 30, stays: float = 10) -> Crash:
    """Kill the main process of one instance with SIGKILL, and watch it come back.

    Waits `within` seconds for it and watches it for `stays` more; afterwards it runs again,
    whatever its restart policy. Raises `CannotLook` if the workload is not at rest or may not be
    disrupted, or if its process can't be killed.
    """
    with lab.claim(workload):
        if lab.platform == "kubernetes":
            from pytest_containerpolicy.experiments.kubernetes_crashing import crash_pod

            return crash_pod(cast("KubernetesLab", lab), workload, within, stays)
        if lab.platform == "swarm":
            from pytest_containerpolicy.experiments.swarm_crashing import crash_task

            return crash_task(cast("DockerLab", lab), workload, within, stays)
        from pytest_containerpolicy.experiments.docker_crashing import crash_container

        return crash_container(cast("DockerLab", lab), workload, within, stays)


def _violation(workload: Workload, measured: Crash) -> Violation:
    wanted = f"ready again within {measured.within:g} s of a crash, and no further crash"
    if not measured.provoked:
        return Violation(
            found=f"{measured.instance} crashes without any doing: {measured.state}", wanted=wanted
        )
    killed = f"{measured.instance}, its main process killed,"
    if measured.back is None:
        policy = f"its restart policy is {workload.restart}: " if workload.restart else ""
        return Violation(
            found=f"{killed} is not ready after {measured.within:g} s: {measured.state}",
            wanted=wanted,
            why=f"{policy}what the OOM killer or a bug ends stays away until somebody acts",
        )
    end = "had ended again" if measured.restarts else "was not ready any more"
    return Violation(
        found=f"{killed} was ready after {measured.back:.1f} s and {end} {measured.stays:g} s"
        f" later: {measured.state}",
        wanted=wanted,
        why="after a crash it does not find back into service",
    )

"""The tasks of a service stopped as an update does it: `docker service update --force`.

Any manager can tell how a task ended, on whatever node it was.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.held_request import (
    HeldRequest,
    Send,
    SlowPath,
    from_prober,
)
from pytest_containerpolicy.experiments.replacement import Replacement, Stop
from pytest_containerpolicy.experiments.stops import KILLED, GracefulStop, signal_name
from pytest_containerpolicy.experiments.swarm_rollout import restart
from pytest_containerpolicy.experiments.swarm_watch import is_up, task_name, tasks_of
from pytest_containerpolicy.model.workload import Workload


def stop_task(lab: DockerLab, workload: Workload, slow: SlowPath | None) -> GracefulStop:
    """Replace all tasks by the service's own update settings; the worst of their stops is told.

    Raises `CannotLook` if the service is not at rest, or if the update does not get through.
    """
    grace = workload.grace_period
    with ExitStack() as open_requests:
        held, asked = None, ""
        if slow:
            asked, send = open_requests.enter_context(_asking(lab, workload, slow))
            held = open_requests.enter_context(HeldRequest(send, grace))
        lab.say(f"stopping the tasks of {workload.ref}, each with {grace:g} s to end")
        replacement = restart(lab, workload, lambda _: None, 0)
        request = held.outcome() if held else None
    stop = _worst(workload, replacement)
    if held and not request:
        _require_held(workload, held, asked, replacement)
    return GracefulStop(str(workload.ref), grace, stop, request, replacement.seconds)


def _require_held(
    workload: Workload, held: HeldRequest, asked: str, replacement: Replacement
) -> None:
    """Raise `CannotLook` unless the request was open when its own task was told to stop."""
    told = next((stop.told for stop in replacement.stops if stop.name == asked), None)
    if told is None or held.ended is None or held.ended < told:
        raise CannotLook(
            f"{workload.ref}: slow_path was answered before the update got to task {asked}, which"
            " it was sent to: try again, or ask for something that takes longer"
        )


def _worst(workload: Workload, replacement: Replacement) -> Stop:
    if not replacement.completed:
        reasons = "; ".join(replacement.reasons) or "it did not get through in time"
        raise CannotLook(f"{workload.ref}: its update did not replace all tasks: {reasons}")
    stops = [stop for stop in replacement.stops if stop.codes]
    if not stops or len(stops) < replacement.copies:
        raise CannotLook(
            f"{workload.ref}: the ends of {len(stops)} of {replacement.copies} tasks were seen"
        )
    worst = max(stops, key=lambda stop: (stop.killed, KILLED in stop.codes.values(), stop.seconds))
    signal = signal_name(workload.main_containers[0].stop_signal)
    is_killed = worst.killed or (signal == "SIGKILL" and KILLED in worst.codes.values())
    return replace(worst, killed=is_killed)


@contextmanager
def _asking(lab: DockerLab, workload: Workload, slow: SlowPath) -> Iterator[tuple[str, Send]]:
    """A task's name, and how to ask it: from a prober in an overlay network that lets others in."""
    task = next(filter(is_up, tasks_of(lab, workload.name)), {})
    for attachment in task.get("NetworksAttachments") or ():
        specification = attachment["Network"]["Spec"]
        if specification.get("Attachable") and attachment.get("Addresses"):
            address = attachment["Addresses"][0].partition("/")[0]
            with lab.prober(specification["Name"]) as prober:
                send = from_prober(lab, prober, slow.url(address))
                yield task_name(workload.name, task), send
            return
    raise CannotLook(
        f"{workload.ref} has no attachable network from which one of its tasks can be asked:"
        " leave slow_path out"
    )

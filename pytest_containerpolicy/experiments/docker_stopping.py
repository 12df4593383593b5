"""One container stopped as `docker stop` does it, with its own signal and time, and started again.

https://docs.docker.com/reference/cli/docker/container/stop/
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_instances import is_ready, steady
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document, daemon_errors
from pytest_containerpolicy.experiments.held_request import (
    HeldRequest,
    Send,
    SlowPath,
    from_prober,
)
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.experiments.stops import KILLED, GracefulStop, signal_name
from pytest_containerpolicy.model.workload import Workload

_BACK_SECONDS = 120.0
_HOST = "host"


def stop_container(lab: DockerLab, workload: Workload, slow: SlowPath | None) -> GracefulStop:
    """Stop one container, start it again and wait until it is well.

    Raises `CannotLook` if it is not well before, or would wait forever for its end.
    """
    grace = workload.grace_period
    if grace < 0:
        raise CannotLook(f"{workload.ref} has no end to its grace period: it is never killed")
    with steady(lab, workload) as container, ExitStack() as open_requests:
        held = None
        if slow:
            send = open_requests.enter_context(asking(lab, container, slow))
            held = open_requests.enter_context(HeldRequest(send, grace))
        lab.say(f"stopping {workload.ref}, which may take up to {grace:g} s")
        begun = time.monotonic()
        stop = _stop(lab, container, grace)
        request = held.outcome() if held else None
        return GracefulStop(str(workload.ref), grace, stop, request, _start(lab, container, begun))


def _stop(lab: DockerLab, container: Document, grace: float) -> Stop:
    name = container["Name"].removeprefix("/")
    begun = time.monotonic()
    with daemon_errors(f"stop of container {name}"):
        # What it has itself, spelt out: without it the client would not wait long enough.
        lab.client.api.stop(container["Id"], timeout=int(grace))
    seconds = time.monotonic() - begun
    found = lab.inspect(container["Id"])
    if found is None or found["State"]["Running"]:
        raise CannotLook(f"container {name} was removed or started by somebody else meanwhile")
    return _stop_of(name, seconds, found["State"]["ExitCode"], grace, found)


def _stop_of(name: str, seconds: float, code: int, grace: float, container: Document) -> Stop:
    """How it stopped; 137 before its time was over, and from a signal it can handle, is its own."""
    signal = signal_name(container["Config"].get("StopSignal"))
    by_platform = seconds >= grace or signal == "SIGKILL"
    killed = code == KILLED and by_platform and not container["State"].get("OOMKilled")
    return Stop(name=name, seconds=seconds, codes={name: code}, killed=killed)


def _start(lab: DockerLab, container: Document, begun: float) -> float:
    """Start it again; the seconds since `begun` when it is well."""
    identity = container["Id"]
    with daemon_errors(f"start of container {container['Name'].removeprefix('/')}"):
        lab.client.api.start(identity)

    def is_back() -> bool:
        found = lab.inspect(identity)
        return found is None or is_ready(found)

    lab.wait_for(is_back, _BACK_SECONDS, f"{container['Name'].removeprefix('/')} to be well again")
    return time.monotonic() - begun


@contextmanager
def asking(lab: DockerLab, container: Document, slow: SlowPath) -> Iterator[Send]:
    """How to ask one container itself, from a prober in one of its networks."""
    networks = container["NetworkSettings"].get("Networks") or {}
    if _HOST in networks:
        network, address = _HOST, "127.0.0.1"
    else:
        found = ((name, one.get("IPAddress")) for name, one in networks.items())
        network, address = next(((n, a) for n, a in found if a), ("", ""))
    if not network:
        raise CannotLook(f"{container['Name'].removeprefix('/')} has no address to be asked at")
    with lab.prober(network) as prober:
        yield from_prober(lab, prober, slow.url(address))

"""The main process of one container killed from beside it, so that its restart policy has its say.

`docker kill` would not do: the engine takes it for a stop that is wanted, and restarts nothing.
"""

from collections.abc import Callable

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.crashes import (
    Crash,
    Sight,
    complaint,
    followed,
    killer,
)
from pytest_containerpolicy.experiments.docker_instances import is_ready, state_of, steady
from pytest_containerpolicy.experiments.docker_lab import DockerLab, Document
from pytest_containerpolicy.model.workload import Workload


def crash_container(lab: DockerLab, workload: Workload, within: float, stays: float) -> Crash:
    """Kill the main process of one container, and see what its restart policy makes of it.

    Raises `CannotLook` if the container is not well before, or its process can't be killed.
    """
    with steady(lab, workload) as container:
        name, identity = container["Name"].removeprefix("/"), container["Id"]
        crash = Crash(workload=str(workload.ref), instance=name, within=within, stays=stays)
        lab.say(f"killing the main process of container {name}")
        return followed(
            crash, lambda strike: kill(lab, identity, strike), lambda: _look(lab, container)
        )


def kill(lab: DockerLab, container: str, strike: Callable[[], None]) -> str:
    """Kill the main process of a container; returns what kept us from it.

    The prober shares the container's processes, and no more of the host: no network, and of all
    capabilities CAP_SYS_PTRACE alone.
    """
    rights = {"cap_drop": ["ALL"], "cap_add": ["SYS_PTRACE"]}
    try:
        with lab.prober("none", pid_mode=f"container:{container}", **rights) as prober:
            argv = ["python3", "-c", killer(), container]
            strike()
            output = lab.execute(prober, argv, user="0")
    except CannotLook as gap:
        return str(gap)
    return complaint(output.code, output.err)


def _look(lab: DockerLab, container: Document) -> Sight:
    found = lab.inspect(container["Id"])
    if found is None:
        raise CannotLook(f"container {container['Name'].removeprefix('/')} was removed meanwhile")
    state = found["State"]
    code = "" if state["Running"] else f", exit code {state['ExitCode']}"
    return Sight(state["StartedAt"], is_ready(found), f"{state_of(found)}{code}")

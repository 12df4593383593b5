"""Instances told to stop for real: those that end by themselves, and those that do not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.effective_pods import BUSYBOX
from tests.live.experiment_verdicts import Verdict, verdict
from tests.live.swarm_specimens import create_service
from tests.live.workloads import workload_document
from tests.testbed import Engine, Swarm
from tests.testbed.shell import wait_until

PREFIX = "stopping-"
SLOW = "/?ms=5000"
SECOND = 10**9
# The fourth that starts ends a second later, and none that comes after it.
FOURTH_FAILS = (
    "echo >>/state/starts; test $(wc -l </state/starts) -eq 4 && sleep 1 && exit 1; exec sleep 1000"
)
Ask = Callable[..., Verdict]


def _deployment(name: str, grace: int, **environment: str) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "testbed/distroless:1",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": grace, "containers": [container]}
    return workload_document(name, spec)


@pytest.fixture(scope="module")
def in_pods(testbed_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks the experiment of a Deployment: one drains, one exits at once, one ignores SIGTERM."""
    name = f"stopping-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    namespace = Namespace(testbed_cluster, name)
    pod = {"metadata": {"name": "bare"}, **_deployment("bare", 1)["spec"]["template"]}
    try:
        namespace.apply(
            _deployment("drains", 10),
            _deployment("exits", 10, ON_SIGTERM="exit", EXIT_CODE="2"),
            _deployment("ignores", 2, ON_SIGTERM="ignore"),
            _deployment("itself", 10, ON_SIGTERM="exit", EXIT_CODE="137"),
            _deployment("at-once", 0),
            _deployment("ordered", 10) | {"kind": "StatefulSet"},
            _deployment("set", 10) | {"kind": "ReplicaSet"},
            _deployment("starts", 0, READY_DELAY="3600"),
            {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {"name": "bare"}},
        )
        for one in ("drains", "exits", "ignores", "itself", "at-once"):
            namespace.kubectl("rollout", "status", f"deployment/{one}", "--timeout=90s")
        namespace.kubectl("rollout", "status", "statefulset/ordered", "--timeout=90s")
        namespace.wait("jsonpath={.status.availableReplicas}=1", "replicaset/set")
        query = f"kubeconfig={testbed_cluster.kubeconfig}&namespace={name}"
        uri = f"k8s://{testbed_cluster.context}?{query}"
        folder = tmp_path_factory.mktemp("stops")
        yield lambda subject, **params: verdict("stops_in_time", uri, subject, folder, **params)
    finally:
        testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_pod_finishes_its_request(in_pods: Ask) -> None:
    """A pod that drains answers the request that is open, and ends with exit code 0."""
    found = in_pods("drains", slow_path=SLOW)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "exit 0 after" in found.figures
    assert "the request that it had open: finished" in found.figures


def test_pod_cuts_its_request(in_pods: Ask) -> None:
    """A pod that exits on SIGTERM ends in time, but cuts the request that is open."""
    found = in_pods("exits", slow_path=SLOW)
    assert found.found.startswith("a request that it had open was cut"), found
    assert "exit 2 after" in found.figures


@pytest.mark.parametrize("subject", ["ordered", "set"])
def test_pod_of_another_kind(in_pods: Ask, subject: str) -> None:
    """Pods of StatefulSets and of bare ReplicaSets are stopped and replaced as well."""
    found = in_pods(subject)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "no request was held open meanwhile: give slow_path" in found.figures


def test_pod_that_ends_with_137_by_itself(in_pods: Ask) -> None:
    """What ends long before its time was over was not killed, whatever its exit code."""
    found = in_pods("itself")
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "exit 137 after" in found.figures


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("ignores", "killed, as SIGTERM did not end it within 2 s: exit 137"),
        ("at-once", "killed at once: its grace period is 0 s"),
    ],
)
def test_pod_is_killed(in_pods: Ask, subject: str, words: str) -> None:
    """A pod that does not end by itself, or gets no time to, is found."""
    found = in_pods(subject)
    assert found.found.startswith(words), found
    assert "ready again" in found.figures


@pytest.mark.parametrize(
    ("subject", "params", "words"),
    [
        ("bare", {}, "has no controller: nothing would replace it"),
        ("starts", {}, "a rollout is under way or some pods are not well"),
        ("drains", {"slow_path": "/"}, "to be open while its server stops"),
        ("drains", {"slow_path": "/nowhere"}, "slow_path fails even while nothing is stopped"),
        ("drains", {"level": "probe"}, "disrupting it needs --cp-level=disrupt"),
    ],
)
def test_pod_is_left_alone(in_pods: Ask, subject: str, params: dict[str, Any], words: str) -> None:
    """Where a stop would tell nothing, or is not allowed, nothing is touched."""
    found = in_pods(subject, **params)
    assert (0, "") == (found.judged, found.found)
    assert words in found.gaps


def _run(client: Any, undo: ExitStack, name: str, **options: Any) -> str:
    made = client.containers.run("testbed/distroless:1", name=PREFIX + name, detach=True, **options)
    undo.callback(_removed, client, PREFIX + name)
    return str(made.id)


def _removed(client: Any, name: str) -> None:
    for container in client.containers.list(all=True, filters={"name": f"^/?{name}$"}):
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def in_containers(
    testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ask]:
    """Asks the experiment of a container; afterwards each must run as the one it was."""
    folder = tmp_path_factory.mktemp("stops")
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(testbed_engine.client()))
        ports = {"ports": {"8080/tcp": None}}
        _run(client, undo, "drains", **ports)
        _run(client, undo, "ignores", environment={"ON_SIGTERM": "ignore"}, stop_signal="TERM")
        _run(client, undo, "removed", auto_remove=True)
        host = _run(client, undo, "host")
        _run(client, undo, "guest", network_mode=f"container:{host}", environment={"PORT": "8081"})

        def ask(subject: str, **params: Any) -> Verdict:
            name = PREFIX + subject
            before = client.api.inspect_container(name)["Id"]
            uri = f"engine+{testbed_engine.url}?workload={name}"
            found = verdict("stops_in_time", uri, name, folder, **params)
            after = client.api.inspect_container(name)
            assert (before, True) == (after["Id"], after["State"]["Running"])
            return found

        yield ask


def test_container_finishes_its_request(in_containers: Ask) -> None:
    """A container that drains answers the request that is open, and runs again afterwards."""
    found = in_containers("drains", slow_path=SLOW)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "the request that it had open: finished" in found.figures


def test_container_is_killed(in_containers: Ask) -> None:
    """A container that ignores its stop signal is killed after the engine's 10 s, and found."""
    found = in_containers("ignores")
    assert "did not end it within 10 s: exit 137 after" in found.found


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("removed", "was run with --rm"),
        ("host", "lends its network or processes to stopping-guest"),
    ],
)
def test_container_is_left_alone(in_containers: Ask, subject: str, words: str) -> None:
    """A container that would be gone for good, or that others live on, is not stopped."""
    found = in_containers(subject)
    assert words in found.gaps


@contextmanager
def _service(swarm: Swarm, parallelism: int, where: str = "", **container: Any) -> Iterator[str]:
    """A service of three tasks, on one node or on whatever nodes."""
    name = f"{PREFIX}service"
    task = {
        "ContainerSpec": {"StopGracePeriod": SECOND, **container},
        "RestartPolicy": {"Condition": "any", "Delay": SECOND},
        "Placement": {"Constraints": [f"node.hostname == {where}"] if where else []},
    }
    spec = {
        "TaskTemplate": task,
        "Mode": {"Replicated": {"Replicas": 3}},
        "EndpointSpec": {"Mode": "dnsrr"},
        "UpdateConfig": {
            "Parallelism": parallelism,
            "Monitor": 3 * SECOND,
            "FailureAction": "pause",
        },
    }
    with closing(swarm.managers[0].client()) as client:
        api: Any = client.api
        identity = create_service(api, name, spec)
        wait_until("its tasks run", lambda: _running(api, identity) == 3, 60)
        yield name
        api.remove_service(identity)


def _running(api: Any, service: str) -> int:
    tasks = api.tasks(filters={"service": service, "desired-state": "running"})
    return sum(task["Status"]["State"] == "running" for task in tasks)


def test_tasks_are_killed(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """Tasks that ignore their stop signal are found on any node, from one manager."""
    stubborn: dict[str, Any] = {"Image": "testbed/distroless:1", "Env": ["ON_SIGTERM=ignore"]}
    with _service(testbed_swarm, 3, **stubborn) as service:
        uri = f"swarm+{testbed_swarm.managers[0].url}?workload={service}"
        found = verdict("stops_in_time", uri, service, tmp_path)
    assert "killed, as SIGTERM did not end it within 1 s: exit 137" in found.found, found


def test_update_that_does_not_get_through(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """An update that Swarm pauses after the first task tells nothing of the others."""
    state = {"Type": "volume", "Source": f"{PREFIX}{uuid.uuid4().hex[:8]}", "Target": "/state"}
    manager = testbed_swarm.managers[0]
    script: dict[str, Any] = {
        "Image": BUSYBOX,
        "Command": ["sh", "-c", FOURTH_FAILS],
        "Mounts": [state],
    }
    with _service(testbed_swarm, 1, where=manager.name, **script) as service:
        found = verdict(
            "stops_in_time", f"swarm+{manager.url}?workload={service}", service, tmp_path
        )
    assert (0, "") == (found.judged, found.found)
    assert "its update did not replace all tasks: update paused due to failure" in found.gaps

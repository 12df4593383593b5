"""Main processes killed for real: what comes back, and what does not."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.experiment_verdicts import Verdict, verdict
from tests.live.network_specimens import restricted
from tests.live.swarm_specimens import create_service
from tests.live.workloads import workload_document
from tests.testbed import Engine, Swarm
from tests.testbed.shell import wait_until

PREFIX = "crashing-"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SECOND = 10**9
PATIENT: dict[str, Any] = {"within": 60, "stays": 3}
# What a crash leaves behind keeps the next start from succeeding.
LOCK = "test -e /state/lock && exit 1; touch /state/lock; trap 'exit 0' TERM; sleep 1000 & wait"
# Ready again, but not for long.
STUMBLE = (
    "test -e /state/lock && sleep 3 && exit 1; touch /state/lock;"
    " trap 'exit 0' TERM; sleep 1000 & wait"
)
SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
Ask = Callable[..., Verdict]


def _deployment(name: str, image: str, share: bool = False, **container: Any) -> dict[str, Any]:
    first = {"name": "app", "image": image, "securityContext": SECURITY, **container}
    spec = {
        "terminationGracePeriodSeconds": 1,
        "shareProcessNamespace": share,
        "containers": [first],
        "volumes": [{"name": "state", "emptyDir": {}}],
    }
    return workload_document(name, spec)


@pytest.fixture(scope="module")
def in_pods(testbed_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks the experiment of a Deployment in a namespace where nobody may be root."""
    name = f"crashing-{uuid.uuid4().hex[:8]}"
    testbed_cluster.kubectl("create", "namespace", name)
    testbed_cluster.kubectl("label", "namespace", name, RESTRICTED)
    namespace = Namespace(testbed_cluster, name)
    mounts = [{"name": "state", "mountPath": "/state"}]
    try:
        namespace.apply(
            _deployment("recovers", "testbed/distroless:1"),
            _deployment("shares", "testbed/distroless:1", share=True),
            _deployment(
                "locks", "testbed/busybox:1", command=["sh", "-c", LOCK], volumeMounts=mounts
            ),
            _deployment(
                "stumbles", "testbed/busybox:1", command=["sh", "-c", STUMBLE], volumeMounts=mounts
            ),
            _deployment("loops", "testbed/busybox:1", command=["sh", "-c", "exit 3"]),
        )
        for one in ("recovers", "shares", "locks", "stumbles"):
            namespace.kubectl("rollout", "status", f"deployment/{one}", "--timeout=90s")
        query = f"kubeconfig={testbed_cluster.kubeconfig}&namespace={name}"
        uri = f"k8s://{testbed_cluster.context}?{query}"
        folder = tmp_path_factory.mktemp("crashes")
        yield lambda one, **params: verdict("recovers_from_crash", uri, one, folder, **params)
    finally:
        testbed_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("subject", ["recovers", "shares"])
def test_pod_recovers(in_pods: Ask, subject: str) -> None:
    """A pod's main process is killed without any right that restricted pods lack, and comes back.

    Be it the first of its namespace, which signals from within can't kill, or one among others.
    """
    found = in_pods(subject, **PATIENT)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "3 s later still ready" in found.figures


def test_pod_does_not_recover(in_pods: Ask) -> None:
    """A pod that stumbles over what the crash left is found, and replaced afterwards."""
    found = in_pods("locks", within=6, stays=3)
    assert found.found.endswith("last exit code 1"), found


def test_pod_ends_a_second_time(in_pods: Ask) -> None:
    """A pod that is ready after the crash and ends again while it is watched is found."""
    found = in_pods("stumbles", within=60, stays=8)
    assert "its main process killed, was ready after" in found.found, found
    assert "8 s later: " in found.found


def test_pod_in_a_crash_loop(in_pods: Ask) -> None:
    """A pod that crashes again and again by itself is found, and nothing is killed."""
    wait_until("a crash loop", lambda: "crashes without" in in_pods("loops", **PATIENT).found, 90)
    found = in_pods("loops", **PATIENT)
    assert "crashes without any doing: CrashLoopBackOff" in found.found, found
    assert "crashes by itself" in found.figures


def test_pod_without_the_right_to_exec(namespace: Namespace, tmp_path: Path) -> None:
    """Who may not exec is told so at once, and nothing passes for killed."""
    namespace.apply(_deployment("web", "testbed/distroless:1"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    rights = ("create,delete,get leases", "patch pods/ephemeralcontainers")
    config = restricted(namespace, tmp_path, *rights)
    uri = f"k8s://?kubeconfig={config}&namespace={namespace.name}"
    begun = time.monotonic()

    found = verdict("recovers_from_crash", uri, "web", tmp_path, **PATIENT)

    assert (0, "") == (found.judged, found.found)
    assert "needs the right to exec in pod" in found.gaps
    assert time.monotonic() - begun < 45


def test_pod_without_prober_image(in_pods: Ask) -> None:
    """Without the prober's image nothing is killed, and nothing passes."""
    found = in_pods("recovers", prober="testbed/absent:1", within=5, stays=1)
    assert (0, "") == (found.judged, found.found)
    assert "main process could not be killed" in found.gaps
    assert "testbed/absent:1" in found.gaps


CONTAINERS: dict[str, dict[str, Any]] = {
    "always": {"restart_policy": {"Name": "always"}, "user": "65532"},
    "unless-stopped": {"restart_policy": {"Name": "unless-stopped"}},
    "never": {},
    "loops": {"restart_policy": {"Name": "always"}, "environment": {"CRASH_AFTER": "4"}},
}


@pytest.fixture(scope="module", params=["current", "oldest"])
def in_containers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ask]:
    """Asks the experiment of a container; afterwards each must run."""
    fixture = "testbed_engine" if request.param == "current" else "testbed_engine_oldest"
    engine: Engine = request.getfixturevalue(fixture)
    folder = tmp_path_factory.mktemp("crashes")
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(engine.client()))
        for name, options in CONTAINERS.items():
            made = client.containers.run(
                "testbed/distroless:1", name=PREFIX + name, detach=True, **options
            )
            undo.callback(made.remove, force=True)

        def ask(subject: str, **params: Any) -> Verdict:
            name = PREFIX + subject
            uri = f"engine+{engine.url}?workload={name}"
            found = verdict("recovers_from_crash", uri, name, folder, **params)
            assert "running" == client.api.inspect_container(name)["State"]["Status"]
            return found

        yield ask


@pytest.mark.parametrize("subject", ["always", "unless-stopped"])
def test_container_recovers(in_containers: Ask, subject: str) -> None:
    """An engine takes the kill for a crash, and restarts what is to be restarted."""
    found = in_containers(subject, **PATIENT)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


def test_container_stays_down(in_containers: Ask) -> None:
    """A container without a restart policy stays down; it is started again afterwards."""
    found = in_containers("never", within=3, stays=1)
    assert found.found.endswith("is not ready after 3 s: exited, exit code 137"), found


def test_container_loops(in_containers: Ask) -> None:
    """A container that crashes again and again is not taken for one that came back."""

    def judged() -> Verdict | None:
        # Between two starts there is nothing to be killed, and the engine waits ever longer.
        found = in_containers("loops", within=30, stays=15)
        return found if found.judged else None

    found = wait_until("it runs when it is asked", judged, 180)
    told = ("had ended again", "crashes without any doing", "was not ready any more 15 s later")
    assert any(words in found.found for words in told), found


def _service(node: str, condition: str) -> dict[str, Any]:
    task = {
        "ContainerSpec": {"Image": "testbed/distroless:1", "StopGracePeriod": SECOND},
        "Placement": {"Constraints": [f"node.hostname=={node}"]},
        "RestartPolicy": {"Condition": condition, "Delay": SECOND},
    }
    return {"TaskTemplate": task, "EndpointSpec": {"Mode": "dnsrr"}}


@pytest.fixture(scope="module")
def in_tasks(testbed_swarm: Swarm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks the experiment of a service on the first manager, or beyond; then all must run."""
    here, elsewhere = testbed_swarm.managers[0], testbed_swarm.managers[1]
    specs = {
        "any": _service(here.name, "any"),
        "none": _service(here.name, "none"),
        "beyond": _service(elsewhere.name, "any"),
    }
    folder = tmp_path_factory.mktemp("crashes")
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(here.client())).api
        for name, spec in specs.items():
            undo.callback(api.remove_service, create_service(api, PREFIX + name, spec))
        wait_until("all tasks run", lambda: all(_runs(api, PREFIX + name) for name in specs), 60)

        def ask(subject: str, **params: Any) -> Verdict:
            name = PREFIX + subject
            wait_until("it is at rest", lambda: not _is_updated(api, name), 60)
            uri = f"swarm+{here.url}?workload={name}"
            found = verdict("recovers_from_crash", uri, name, folder, **params)
            assert _runs(api, name)
            return found

        yield ask


def _is_updated(api: Any, service: str) -> bool:
    status = api.inspect_service(service).get("UpdateStatus") or {}
    return bool(status.get("State") == "updating")


def _runs(api: Any, service: str) -> bool:
    tasks = api.tasks(filters={"service": service, "desired-state": "running"})
    return any(task["Status"]["State"] == "running" for task in tasks)


def test_task_recovers(in_tasks: Ask) -> None:
    """The Swarm replaces a task whose main process was killed."""
    found = in_tasks("any", **PATIENT)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


def test_task_is_not_replaced(in_tasks: Ask) -> None:
    """With restart condition none no task follows; afterwards a forced update brings one."""
    found = in_tasks("none", within=3, stays=1)
    assert "is not ready after 3 s: 0 of 1 tasks run" in found.found, found


def test_task_beyond_reach(in_tasks: Ask, tmp_path: Path) -> None:
    """A task on another node can't be killed from here, and is not judged."""
    found = in_tasks("beyond", within=3, stays=1)
    assert (0, "") == (found.judged, found.found)
    assert "has no task on the node that is asked" in found.gaps

"""Each environment of the testbed is really usable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
from docker.types import EndpointSpec, ServiceMode

from tests.live.conftest import Namespace
from tests.testbed import Cluster, Engine, Swarm, docker_engine, kubernetes
from tests.testbed.objects import deployment, network_policy, on_fake_nodes, pod, service
from tests.testbed.shell import wait_until

ROOT = Path(__file__).parents[2]
LIMIT = 64 * 2**20
MEMORY_LIMIT = (
    "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
)
# A testbed of its own: what is killed here is nobody else's.
SPARE = {**os.environ, "CONTAINERPOLICY_TESTBED_INSTANCE": "9", "CONTAINERPOLICY_TESTBED": ""}


@pytest.fixture(params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


def test_engine_holds_the_memory_limit(engine: Engine) -> None:
    """A container's memory limit is the kernel's, not only the engine's word."""
    client = engine.client()
    command = ["sh", "-c", MEMORY_LIMIT]
    printed = client.containers.run("testbed/busybox:1", command, mem_limit=LIMIT, remove=True)
    client.close()
    assert int(printed) == LIMIT


def test_engine_versions(testbed_engine: Engine, testbed_engine_oldest: Engine) -> None:
    """The two engines speak the newest and the oldest API version that is supported."""
    assert (testbed_engine.version, testbed_engine.api_version) == ("29.0.0", "1.56")
    assert testbed_engine_oldest.version.startswith("20.10.")
    assert testbed_engine_oldest.api_version == "1.41"


def test_engine_has_all_images(engine: Engine) -> None:
    """The images are there before any test asks, and none came from a registry."""
    client = engine.client()
    tags = {tag for image in client.images.list() for tag in image.tags}
    volumes = client.images.get("testbed/stateful:1").attrs["Config"]["Volumes"]
    client.close()
    names = ("server", "distroless", "busybox", "pause", "stateful")
    assert {f"testbed/{name}:1" for name in names} <= tags
    assert volumes == {"/data": {}}


def test_engine_publishes_at_its_address(engine: Engine) -> None:
    """A published port answers at the engine's address."""
    client = engine.client()
    server = client.containers.run("testbed/server:1", detach=True, ports={"8080/tcp": None})
    try:
        server.reload()
        port = server.attrs["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
        url = f"http://{engine.address}:{port}/"
        assert wait_until("the port answers", lambda: _fetched(url), 10).startswith("version 1 on")
    finally:
        server.remove(force=True)
        client.close()


def test_healthcheck_of_the_image_passes(engine: Engine) -> None:
    """The image's own HEALTHCHECK makes the container healthy."""
    client = engine.client()
    server = client.containers.run("testbed/stateful:1", detach=True)
    try:

        def healthy() -> bool:
            server.reload()
            return bool(server.attrs["State"]["Health"]["Status"] == "healthy")

        assert wait_until("healthy", healthy, 20)
    finally:
        server.remove(force=True, v=True)
        client.close()


def test_compose_runs_a_project(engine: Engine, tmp_path: Path) -> None:
    """The real Docker Compose brings a project up and down on the engine."""
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: 'testbed/server:1', mem_limit: 64m}}\n")
    program = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}:{os.defpath}")
    assert program is not None
    argv = [program, "--project-name", "testbed-compose", "--file", str(file)]
    env = {**os.environ, "DOCKER_HOST": engine.url}
    client = engine.client()
    try:
        subprocess.run([*argv, "up", "--detach"], env=env, check=True, capture_output=True)
        (web,) = client.containers.list(
            filters={"label": "com.docker.compose.project=testbed-compose"}
        )
        assert web.attrs["HostConfig"]["Memory"] == LIMIT
    finally:
        subprocess.run([*argv, "down"], env=env, check=True, capture_output=True)
        client.close()


def test_engine_start_is_idempotent(testbed_engine: Engine) -> None:
    """A second user gets the same engine, and its leaving does not stop the first one's."""
    with docker_engine() as second:
        assert second == testbed_engine
    assert testbed_engine.answers()


def test_swarm_service_runs_on_every_manager(testbed_swarm: Swarm) -> None:
    """A replicated service of three has a task on each of the three managers."""
    client = testbed_swarm.leader.client()
    service = client.services.create(  # type: ignore[no-untyped-call]
        "testbed/server:1",
        name=f"test-{uuid.uuid4().hex[:8]}",
        mode=ServiceMode("replicated", 3),
        endpoint_spec=EndpointSpec(mode="dnsrr"),
    )
    try:

        def places() -> bool:
            tasks = service.tasks({"desired-state": "running"})
            up = {t["NodeID"] for t in tasks if t["Status"]["State"] == "running"}
            return len(up) == len(testbed_swarm.managers)

        assert wait_until("a task on each manager", places, 60)
    finally:
        service.remove()
        client.close()


def test_nodes_are_ready_in_three_zones(testbed_cluster: Cluster) -> None:
    """Three real nodes are Ready, each in a zone of its own."""
    nodes = json.loads(testbed_cluster.kubectl("get", "nodes", "-l", "type!=kwok", "-o", "json"))
    zones = {n["metadata"]["labels"]["topology.kubernetes.io/zone"] for n in nodes["items"]}
    ready = [_condition(node, "Ready") for node in nodes["items"]]
    assert ready == ["True"] * 3
    assert zones == {"zone-a", "zone-b", "zone-c"}


def test_names_resolve_in_a_pod(namespace: Namespace) -> None:
    """A pod resolves a Service's short and full name to its cluster address."""
    namespace.apply(service("web"), pod("client"))
    namespace.wait("condition=Ready", "pod/client")
    address = namespace.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    full = f"web.{namespace.name}.svc.cluster.local"
    for name in ("web", full):
        assert namespace.inside("client", "/server", "resolve", name).split() == [address]


def test_service_reaches_pods_on_every_node(namespace: Namespace) -> None:
    """A Service spreads new connections over pods on all nodes, without one failure."""
    namespace.apply(deployment("web", 3), service("web"), pod("client"))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    namespace.wait("condition=Ready", "pod/client")
    wait_until("kube-proxy knows the pods", lambda: not _failures(namespace), 20)
    measured = _probe(namespace, "-rate=50", "-duration=2s", "-timeout=10s")
    assert measured["failures"] == {}
    assert len(measured["hosts"]) == 3


def test_limit_of_a_pod_is_in_force(namespace: Namespace) -> None:
    """A pod's memory limit is the kernel's."""
    namespace.apply(pod("limited", resources={"limits": {"memory": "64Mi"}}))
    namespace.wait("condition=Ready", "pod/limited")
    assert int(namespace.inside("limited", "sh", "-c", MEMORY_LIMIT)) == LIMIT


def test_metrics_are_served(testbed_cluster: Cluster) -> None:
    """`kubectl top` answers for every real node."""

    def measured() -> set[str]:
        path = "/apis/metrics.k8s.io/v1beta1/nodes"
        try:
            found = json.loads(testbed_cluster.kubectl("get", "--raw", path))
        except Exception:  # not served yet
            return set()
        names = {item["metadata"]["name"] for item in found["items"]}
        return names if len(names) == 3 else set()

    assert wait_until("metrics", measured, 120, pause=1) == {"node1", "node2", "node3"}
    assert "node1" in testbed_cluster.kubectl("top", "nodes")


def test_claim_outlives_its_pod(namespace: Namespace) -> None:
    """A claim binds by the default class and keeps its data when the pod is replaced."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": "data"}
    document = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta}
    namespace.apply({**document, "spec": claim})
    for _ in range(2):
        namespace.apply(pod("keeper", claim="data", env={"FILE": "/data/records"}))
        namespace.wait("condition=Ready", "pod/keeper")
        write = "wget -q -O- --post-data= http://127.0.0.1:8080/write"
        last = namespace.inside("keeper", "sh", "-c", write)
        namespace.kubectl("delete", "pod", "keeper", "--now")
    assert int(last) == 2


def test_eviction_is_judged_without_evicting(namespace: Namespace) -> None:
    """A dry-run eviction is refused when the disruption budget forbids it; the pod stays."""
    budget = {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}}
    meta = {"name": "web"}
    document = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta}
    namespace.apply(deployment("web", 1), {**document, "spec": budget})
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    name = namespace.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    answer = _evict(namespace, name)
    assert "disruption budget" in answer
    assert name in namespace.kubectl("get", "pods", "-o", "name")


def test_network_policy_is_inert_until_enforced(namespace: Namespace) -> None:
    """A policy is only words until the agent enforces it, and again after it has gone."""
    namespace.apply(deployment("web", 3), service("web"), pod("client"))
    namespace.apply(network_policy({"podSelector": {"matchLabels": {"friend": "yes"}}}))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    namespace.wait("condition=Ready", "pod/client")
    assert wait_until("nobody is kept out", lambda: not _failures(namespace), 20)
    with namespace.cluster.enforce_network_policies():
        assert _failures(namespace) == {"timeout": 20}
        namespace.kubectl("label", "pod", "client", "friend=yes")
        assert wait_until("a friend gets through", lambda: not _failures(namespace), 10)
    namespace.kubectl("label", "pod", "client", "friend-")
    assert wait_until("nobody is kept out", lambda: not _failures(namespace), 20)


def test_killed_agent_enforces_nothing(namespace: Namespace) -> None:
    """Rules of an agent that was killed are gone for the cluster's next user."""
    namespace.apply(deployment("web", 1), service("web"), pod("client"))
    namespace.apply(network_policy({"podSelector": {"matchLabels": {"friend": "yes"}}}))
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    namespace.wait("condition=Ready", "pod/client")
    # kube-proxy learns of new endpoints a moment later, and refuses until then.
    assert wait_until("nobody is kept out", lambda: not _failures(namespace), 20)
    code = (
        "import os\nfrom tests.testbed import kubernetes\n"
        "with kubernetes() as cluster, cluster.enforce_network_policies():\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert _failures(namespace) == {"timeout": 20}
    with kubernetes():
        assert wait_until("nobody is kept out", lambda: not _failures(namespace), 20)


def test_fake_nodes_carry_only_pods_that_ask(namespace: Namespace) -> None:
    """Fake nodes run what tolerates them at once, and are gone afterwards."""
    cluster = namespace.cluster
    with cluster.kwok(30) as names:
        namespace.apply(on_fake_nodes(deployment("many", 60)))
        namespace.kubectl("rollout", "status", "deployment/many", "--timeout=90s")
        where = namespace.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")
        namespace.kubectl("delete", "deployment", "many")
    left = cluster.kubectl("get", "nodes", "-l", "type=kwok", "-o", "name")
    assert set(where.split()) <= set(names)
    assert left == ""


def test_audit_log_has_every_write(namespace: Namespace) -> None:
    """A write is in the audit log as soon as it is answered."""
    namespace.kubectl("create", "configmap", "seen")
    events = [json.loads(line) for line in namespace.cluster.audit_log.open()]
    written = [
        event["user"]["username"]
        for event in events
        if event.get("objectRef", {}).get("name") == "seen"
        and event["objectRef"].get("namespace") == namespace.name
    ]
    assert written == ["kubernetes-admin"]


def _fetched(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own server
            return str(answer.read(), "utf-8")
    except OSError:
        return ""


def _condition(node: dict[str, Any], kind: str) -> str:
    return next(str(c["status"]) for c in node["status"]["conditions"] if c["type"] == kind)


def _probe(namespace: Namespace, *flags: str) -> dict[str, Any]:
    argv = ["/server", "probe", "-url=http://web/", *flags]
    measured: dict[str, Any] = json.loads(namespace.inside("client", *argv))
    return measured


def _failures(namespace: Namespace) -> dict[str, int]:
    measured = _probe(namespace, "-rate=20", "-duration=1s", "-timeout=1s")
    found: dict[str, int] = measured["failures"]
    return found


def _evict(namespace: Namespace, pod: str) -> str:
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace.name},
        "deleteOptions": {"dryRun": ["All"]},
    }
    try:
        return namespace.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    except Exception as refused:
        return str(refused)

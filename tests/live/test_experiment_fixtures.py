"""The fixtures that measure, in a user's own suite, on the real environments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.targets.uri import parse_target
from tests.live.compose_projects import Project, project
from tests.live.conftest import Namespace
from tests.live.served import DELAY, PROBER_IMAGE, rolled_out, served
from tests.testbed import Engine

pytest_plugins = ["pytester"]

DISRUPT = ("--cp-level=disrupt", f"--cp-prober-image={PROBER_IMAGE}", "-p", "no:cacheprovider")
SUITE = """
    import pytest

    @pytest.fixture
    def web(kube_cluster):
        return kube_cluster.workload("Deployment", "web", {namespace!r})

    def test_rollout(web, measure_rollout):
        rollout = measure_rollout(web, rate=40)
        assert rollout.completed
        assert 0 == rollout.failed, rollout

    def test_availability(web, measure_availability):
        with measure_availability(web, rate=40) as traffic:
            assert traffic.progress.sent >= 0
        assert 0 == traffic.measurement.failed, traffic.measurement

    def test_drain(kube_cluster, rehearse_drain):
        rehearsal = rehearse_drain(kube_cluster.namespace({namespace!r}), {node!r})
        assert {node!r} == rehearsal.node

    def test_data(kube_cluster, survives_recreation):
        keeps = kube_cluster.workload("Deployment", "keeps", {namespace!r})
        assert survives_recreation(keeps, path="/data")
        assert not survives_recreation(keeps, path="/tmp")

    def test_network(kube_cluster, reachability):
        truth = reachability(kube_cluster.namespace({namespace!r}), samples=4)
        assert truth.pods
"""
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of journals of its own for each test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "containerpolicy"


def _suite(pytester: pytest.Pytester, text: str, *more: str) -> pytest.RunResult:
    """Run a user's suite, and no policies."""
    file = pytester.makepyfile(text)
    return pytester.runpytest_subprocess(file, *DISRUPT, *more, timeout=400)


def test_on_a_cluster(
    pytester: pytest.Pytester, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each carries out its experiment on what the test names, shows how far it is, and restores."""
    keeps = served("keeps", replicas=1, strategy={"type": "Recreate"})
    pod = keeps[0]["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    pod["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    namespace.apply(CLAIM)
    rolled_out(namespace, served("web", lifecycle=DELAY), keeps)
    cluster = namespace.cluster
    uri = f"k8s://{cluster.context}?kubeconfig={cluster.kubeconfig}"
    monkeypatch.setenv("CONTAINERPOLICY_TARGETS", uri)
    node = cluster.nodes[-1].name

    result = _suite(pytester, SUITE.format(namespace=namespace.name, node=node))

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines([f"traffic to Deployment {namespace.name}/web: 40 requests/s *"])
    assert "" == namespace.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")


COMPOSE = """
services:
  web: {image: "testbed/server:1", stop_grace_period: 5s, restart: always, volumes: ["kept:/data"]}
volumes: {kept: {}}
"""
COMPOSE_SUITE = """
    import pytest

    @pytest.fixture
    def web(compose_project):
        return compose_project.service("web")

    def test_rollout(web, measure_rollout):
        assert measure_rollout(web, rate=40, settle=1).completed

    def test_availability(web, measure_availability):
        with measure_availability(web, rate=40, settle=1) as traffic:
            pass
        assert 0 == traffic.measurement.failed, traffic.measurement

    def test_data(web, survives_recreation):
        assert survives_recreation(web, path="/data")
"""


@pytest.fixture
def shop(
    testbed_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project that is the target of what runs."""
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE)
    with project(testbed_engine, file) as shop:
        shop.compose("up", "-d", "--wait", "--pull", "never")
        uri = f"compose://{shop.name}?host={shop.engine.url}"
        monkeypatch.setenv("CONTAINERPOLICY_TARGETS", uri)
        yield shop


def test_on_a_project(pytester: pytest.Pytester, shop: Project, state: Path) -> None:
    """What a dead run left there is put right before anything else is done."""
    lock = f"containerpolicy-lock-{shop.name}-web"
    with closing(shop.engine.client()) as client:
        client.volumes.create(lock, labels={"containerpolicy/run": "dead"})
        identity = client.info()["ID"]
    journal = Journal(state, "dead")
    arguments = {"name": lock, "run": "dead"}
    uri = parse_target(f"compose://{shop.name}?host={shop.engine.url}").durable_uri
    journal.add("remove_lock", f"lock {lock} is left", uri, identity, arguments)
    journal.close()

    result = _suite(pytester, COMPOSE_SUITE)

    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"restored: lock {lock} is left*", "traffic to service web: *"])
    assert [] == list(state.iterdir())


def test_dry_run(pytester: pytest.Pytester, shop: Project, state: Path) -> None:
    """A dry run touches nothing, and says what would be done to what."""
    before = shop.compose("ps", "-q")

    result = _suite(pytester, COMPOSE_SUITE, "--cp-dry-run", "-rs")

    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*dry run: restarts its rollout under traffic: service web"])
    assert before == shop.compose("ps", "-q")
    assert not state.exists()

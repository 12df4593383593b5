"""What users request in their tests. Every environment is opened when a test first asks for it.

Which environment: the first target of its kind that the run was given (`--cp-target`, environment
or ini); without one, what the platform's own tools would use (current kube context, default Docker
context). `cp_target_uris`, `cp_kubeconfig` and `cp_kube_context` can be overridden in a conftest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import pytest

from pytest_containerpolicy.options import settings_of

if TYPE_CHECKING:
    import testinfra.host

    from pytest_containerpolicy.environments.docker import (
        ComposeProject,
        DockerEngine,
        DockerEnvironment,
        SwarmCluster,
    )
    from pytest_containerpolicy.environments.kubernetes import (
        KubernetesCluster,
        KubernetesNamespace,
    )
    from pytest_containerpolicy.targets.inventory import Inventory
    from pytest_containerpolicy.targets.uri import Target, Timeouts
    from pytest_containerpolicy.verdicts import Result

__all__ = [
    "check_policy",
    "compose_project",
    "container_host",
    "cp_inventory",
    "cp_kube_context",
    "cp_kubeconfig",
    "cp_target",
    "cp_target_uris",
    "docker_engine",
    "kube_cluster",
    "kube_namespace",
    "pod_host",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
    "swarm_cluster",
]
FAILED = pytest.StashKey[bool]()
Environment = TypeVar("Environment", bound="DockerEnvironment")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that requests `cp_target` once per target."""
    if "cp_target" in metafunc.fixturenames:
        from pytest_containerpolicy.errors import TargetError
        from pytest_containerpolicy.targets.uri import parse_targets

        try:
            targets = parse_targets(settings_of(metafunc.config).targets)
        except TargetError as error:
            raise pytest.UsageError(str(error)) from None
        globs = [
            glob for mark in metafunc.definition.iter_markers("cp_target") for glob in mark.args
        ]
        chosen = [
            target
            for target in targets
            if not globs or any(fnmatchcase(target.id, glob) for glob in globs)
        ]
        ids = [target.id for target in chosen]
        metafunc.parametrize("cp_target", chosen, ids=ids, scope="session", indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Attach logs and events to the report of a test that failed."""
    report = yield
    if report.failed and report.when in ("setup", "call"):
        item.stash[FAILED] = True
        held = {id(value): value for value in getattr(item, "funcargs", {}).values()}
        for value in held.values():
            report.sections.extend(_evidence_of(value))
    return report


@pytest.fixture(scope="session")
def cp_target_uris(pytestconfig: pytest.Config) -> Sequence[str]:
    """The target URIs of the run; override it for environments that are made at run time."""
    return settings_of(pytestconfig).targets


@pytest.fixture(scope="session")
def cp_kubeconfig() -> str | None:
    """The kubeconfig of `kube_cluster` where no target names one; None is kubectl's own rule."""
    return None


@pytest.fixture(scope="session")
def cp_kube_context() -> str:
    """The context of `kube_cluster` where no target names one; empty is the current context."""
    return ""


@pytest.fixture(scope="session")
def cp_target(request: pytest.FixtureRequest) -> Target:
    """Each target of the run in turn: a test that requests it runs once per target."""
    target: Target = request.param
    return target


@pytest.fixture(scope="session")
def cp_inventory(cp_target: Target, pytestconfig: pytest.Config) -> Inventory:
    """What was read of a target, once for this fixture: documents, and what could not be read."""
    from pytest_containerpolicy.readings import take_inventory

    return take_inventory(cp_target, _timeouts(pytestconfig))


@pytest.fixture(scope="session")
def docker_engine(cp_target_uris: Sequence[str], pytestconfig: pytest.Config) -> DockerEngine:
    """A Docker daemon: `.client` (SDK), `.container(name)`, and a subject of `assert_policies`."""
    from pytest_containerpolicy.environments.docker import DockerEngine

    return _docker(DockerEngine, "engine", cp_target_uris, pytestconfig)


@pytest.fixture(scope="session")
def swarm_cluster(cp_target_uris: Sequence[str], pytestconfig: pytest.Config) -> SwarmCluster:
    """A Swarm, seen from a manager: `.client` (SDK), `.service(name)`."""
    from pytest_containerpolicy.environments.docker import SwarmCluster

    return _docker(SwarmCluster, "swarm", cp_target_uris, pytestconfig)


@pytest.fixture(scope="session")
def compose_project(cp_target_uris: Sequence[str], pytestconfig: pytest.Config) -> ComposeProject:
    """A running Compose project, given by a target `compose://PROJECT`: `.service(name)`."""
    from pytest_containerpolicy.environments.docker import ComposeProject

    uri = _first(cp_target_uris, "compose", "//")
    if uri is None:
        raise pytest.UsageError("compose_project needs --cp-target compose://PROJECT")
    return _docker(ComposeProject, "compose", [uri], pytestconfig)


@pytest.fixture(scope="session")
def kube_cluster(
    cp_target_uris: Sequence[str],
    cp_kubeconfig: str | None,
    cp_kube_context: str,
    pytestconfig: pytest.Config,
) -> KubernetesCluster:
    """A cluster: `.api` (official client), `.workload(kind, name, namespace)`, `.namespace()`."""
    from pytest_containerpolicy.environments.kubernetes import KubernetesCluster
    from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
    from pytest_containerpolicy.targets.uri import parse_target

    query = f"?kubeconfig={quote(cp_kubeconfig, safe='/')}" if cp_kubeconfig else ""
    uri = _first(cp_target_uris, "k8s") or f"k8s://{quote(cp_kube_context, safe=':@')}{query}"
    target = parse_target(uri)
    assert isinstance(target, KubernetesTarget)  # noqa: S101 - what the scheme k8s leads to
    return KubernetesCluster(target, _timeouts(pytestconfig))


@pytest.fixture
def kube_namespace(
    kube_cluster: KubernetesCluster, request: pytest.FixtureRequest
) -> Iterator[KubernetesNamespace]:
    """A fresh namespace, removed after the test; kept with `--cp-keep` if the test failed."""
    namespace = kube_cluster.namespace(f"cp-{uuid.uuid4().hex[:10]}")
    namespace.create()
    yield namespace
    if request.config.option.cp_keep and request.node.stash.get(FAILED, False):
        request.node.add_report_section("teardown", "kept", f"namespace {namespace.name}")
    else:
        namespace.delete()


@pytest.fixture
def check_policy() -> Callable[..., Result]:
    """`check_policy(id, subject, **params)`: the verdict of one policy, findings and all."""
    from pytest_containerpolicy.environments import judging

    return judging.check_policy


@pytest.fixture
def container_host(docker_engine: DockerEngine) -> ContainerHosts:
    """`container_host(name)`: a testinfra host inside a container of `docker_engine`."""
    return ContainerHosts(docker_engine)


@pytest.fixture
def pod_host(kube_cluster: KubernetesCluster) -> PodHosts:
    """`pod_host(namespace, pod, container)` or `pod_host(namespace=, workload="deploy/api")`."""
    return PodHosts(kube_cluster)


class ContainerHosts:
    """Makes testinfra hosts inside containers; a failing test's report gets their logs."""

    def __init__(self, engine: DockerEnvironment) -> None:
        self._engine = engine
        self._containers: list[Any] = []

    def __call__(self, name: str) -> testinfra.host.Host:
        import docker.errors
        import testinfra.host

        from pytest_containerpolicy.environments.hosts import EngineBackend
        from pytest_containerpolicy.errors import UsageError

        try:
            container = self._engine.client.containers.get(name)
        except docker.errors.NotFound:
            raise UsageError(f"{self._engine}: no container {name!r}") from None
        self._containers.append(container)
        return testinfra.host.Host(EngineBackend(container))

    def evidence(self) -> Iterator[tuple[str, str]]:
        """The state and last log lines of the containers that were asked for."""
        from pytest_containerpolicy.environments.docker import container_evidence

        for container in self._containers:
            yield from container_evidence(container)


class PodHosts:
    """Makes testinfra hosts inside pods; a failing test's report gets their events and logs."""

    def __init__(self, cluster: KubernetesCluster) -> None:
        self._cluster = cluster
        self._namespaces: set[str] = set()

    def __call__(
        self,
        namespace: str,
        pod: str = "",
        container: str | None = None,
        *,
        workload: str = "",
    ) -> testinfra.host.Host:
        import testinfra.host

        from pytest_containerpolicy.environments.hosts import PodBackend

        self._namespaces.add(namespace)
        name = pod or self._pod_of(namespace, workload)
        timeouts = self._cluster.timeouts
        backend = PodBackend(
            name,
            namespace=namespace,
            container=container,
            connect=lambda: self._cluster.target.connect(timeouts),
        )
        return testinfra.host.Host(backend)

    def _pod_of(self, namespace: str, workload: str) -> str:
        from pytest_containerpolicy.errors import UsageError

        kind, _, name = workload.partition("/")
        if not name:
            raise UsageError(
                f"pod_host needs a pod or a workload such as deploy/api, got {workload!r}"
            )
        pods = self._cluster.workload(kind, name, namespace).pods()
        running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
        if not running:
            raise UsageError(f"{workload} in namespace {namespace} has no running pod")
        return str(running[0]["metadata"]["name"])

    def evidence(self) -> Iterator[tuple[str, str]]:
        """Events and last log lines of the namespaces that were asked for."""
        for name in sorted(self._namespaces):
            yield from self._cluster.namespace(name).evidence()


def _timeouts(config: pytest.Config) -> Timeouts:
    from pytest_containerpolicy.targets.uri import Timeouts

    settings = settings_of(config)
    return Timeouts(connect=settings.connect_timeout, read=settings.timeout)


def _first(uris: Sequence[str], kind: str, rest: str = "") -> str | None:
    """The first URI of a kind: its scheme before any `+`."""
    for uri in uris:
        scheme, _, tail = uri.partition(":")
        if scheme.partition("+")[0] == kind and tail.startswith(rest):
            return uri
    return None


def _docker(
    environment: type[Environment], kind: str, uris: Sequence[str], config: pytest.Config
) -> Environment:
    from pytest_containerpolicy.targets.uri import parse_target

    target: Any = parse_target(_first(uris, kind) or f"{kind}://")
    return environment(target, target.endpoint, _timeouts(config))


def _evidence_of(value: Any) -> Iterator[tuple[str, str]]:
    gather = getattr(value, "evidence", None)
    if type(value).__module__.partition(".")[0] != __package__ or gather is None:
        return
    from pytest_containerpolicy.reports.text import printable

    try:
        for title, text in gather():
            yield title, printable(text)
    except Exception as error:
        # A report must not be lost for want of a log.
        yield "evidence", f"could not be gathered: {error}"

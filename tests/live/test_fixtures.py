"""The fixtures that users request, in a user's own suite, on the real environments."""

from pathlib import Path

import pytest

from tests.live.compose_projects import project
from tests.testbed import Cluster, Engine, Swarm

pytest_plugins = ["pytester"]

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMITED = (
    "cd /sys/fs/cgroup; test -e memory.max && cat memory.max || cat memory/memory.limit_in_bytes"
)


def _target(cluster: Cluster) -> str:
    return f"--cp-target=k8s://{cluster.context}?kubeconfig={cluster.kubeconfig}"


def _user_tests(result: pytest.RunResult) -> dict[str, int]:
    outcomes = result.parseoutcomes()
    return {name: outcomes[name] for name in ("passed", "failed", "errors") if name in outcomes}


def test_project_suite_example(
    pytester: pytest.Pytester, testbed_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example suite passes: its own namespace, policies, and a host inside a pod."""
    monkeypatch.setenv("SHOP_IMAGE", "testbed/server:1")
    suite = pytester.copy_example(str(EXAMPLES / "02-project-suite" / "test_rollout_ready.py"))

    result = pytester.runpytest_subprocess(suite, _target(testbed_cluster), "-k", "test_")

    assert 3 <= _user_tests(result)["passed"]
    result.stdout.no_fnmatch_line("*test_rollout_ready.py*F*")


def test_namespace_is_removed_or_kept(pytester: pytest.Pytester, testbed_cluster: Cluster) -> None:
    """A namespace goes after its test; `--cp-keep` keeps that of a test that failed."""
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_fine(kube_namespace):
            Path("fine").write_text(kube_namespace.name)

        def test_broken(kube_namespace):
            Path("broken").write_text(kube_namespace.name)
            assert False
        """
    )

    pytester.runpytest_subprocess(
        "test_namespace_is_removed_or_kept.py",
        "--cp-keep",
        f"{_target(testbed_cluster)}",
        "--cp-select=storage",
    )

    fine, broken = ((pytester.path / name).read_text() for name in ("fine", "broken"))
    phases = testbed_cluster.kubectl(
        "get",
        "namespaces",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.status.phase} {end}",
    )
    testbed_cluster.kubectl("delete", "namespace", broken, "--wait=false")
    assert f"{fine}=Active" not in phases
    assert f"{broken}=Active" in phases


def test_failing_test_gets_events_and_logs(
    pytester: pytest.Pytester, testbed_cluster: Cluster
) -> None:
    """The report of a test that failed holds events and logs of the namespace it used."""
    pytester.makepyfile(
        """
        POD = '''
        apiVersion: v1
        kind: Pod
        metadata: {name: talker}
        spec:
          containers:
            - name: app
              image: testbed/busybox:1
              command: [sh, -c, "echo I said so; sleep 600"]
        '''

        def test_broken(kube_namespace):
            kube_namespace.apply(POD)
            kube_namespace.wait_ready()
            assert False
        """
    )

    result = pytester.runpytest_subprocess(
        "test_failing_test_gets_events_and_logs.py", _target(testbed_cluster), "--cp-select=storage"
    )

    result.stdout.fnmatch_lines(
        ["*events in cp-*", "*Scheduled Pod/talker*", "*log of talker*", "I said so"]
    )


def test_pod_without_a_shell(pytester: pytest.Pytester, testbed_cluster: Cluster) -> None:
    """A distroless container gives one clear sentence; an unknown pod too."""
    pytester.makepyfile(
        """
        import pytest
        from pytest_containerpolicy.errors import ContainerPolicyError

        POD = '''
        apiVersion: v1
        kind: Pod
        metadata: {name: bare}
        spec:
          containers: [{name: app, image: "testbed/distroless:1"}]
        '''

        def test_no_shell(kube_namespace, pod_host):
            kube_namespace.apply(POD)
            kube_namespace.wait_ready()
            with pytest.raises(ContainerPolicyError, match="bare has no /bin/sh .a distroless"):
                pod_host(kube_namespace.name, "bare").run("true")
            with pytest.raises(ContainerPolicyError, match="exec refused"):
                pod_host(kube_namespace.name, "nowhere").run("true")
        """
    )

    result = pytester.runpytest_subprocess(
        "test_pod_without_a_shell.py",
        _target(testbed_cluster),
        "--cp-select=storage",
        "-k",
        "test_no",
    )

    assert {"passed": 1} == _user_tests(result)


def test_connection_string(testbed_cluster: Cluster) -> None:
    """testinfra itself knows pods as `k8s://POD?namespace=...` once the plugin is loaded."""
    import testinfra

    import pytest_containerpolicy.environments.hosts  # noqa: F401

    pod = testbed_cluster.kubectl(
        "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns",
        "-o", "jsonpath={.items[0].metadata.name}",
    )  # fmt: skip
    host = testinfra.get_host(
        f"k8s://{pod}?namespace=kube-system&kubeconfig={testbed_cluster.kubeconfig}"
    )

    assert f"k8s://kube-system/{pod}" == host.backend.get_pytest_id()


def test_engine_fixtures(pytester: pytest.Pytester, testbed_engine: Engine) -> None:
    """A container of the engine is judged, entered, and its log attached when a test fails."""
    pytester.makepyfile(
        f"""
        import pytest
        from pytest_containerpolicy import assert_policies

        @pytest.fixture(scope="module")
        def talker(docker_engine):
            container = docker_engine.client.containers.run(
                "testbed/busybox:1", ["sh", "-c", "echo I said so; sleep 600"],
                name="cp-fixture-talker", detach=True, mem_limit="64m",
            )
            yield container.name
            container.remove(force=True)

        def test_limit_in_force(talker, container_host):
            host = container_host(talker)
            assert str(64 * 2**20) == host.check_output({LIMITED!r}).strip()
            assert host.file("/bin/sh").exists

        def test_judged(talker, docker_engine):
            container = docker_engine.container(talker)
            assert_policies(container, "resources/memory-limit")
            with pytest.raises(AssertionError, match="no PIDs limit"):
                assert_policies(container, "resources/pids-bounded")

        def test_broken(talker, container_host):
            container_host(talker)
            assert False
        """
    )

    result = pytester.runpytest_subprocess(
        "test_engine_fixtures.py", f"--cp-target=engine+unix://{testbed_engine.socket}",
        "--cp-select=storage", "-k", "test_",
    )  # fmt: skip

    assert (2, 1) == (_user_tests(result)["passed"], _user_tests(result)["failed"])
    result.stdout.fnmatch_lines(["*state of cp-fixture-talker*", "*log of *", "I said so"])


def test_swarm_fixture(pytester: pytest.Pytester, testbed_swarm: Swarm) -> None:
    """A Swarm's service is found by name, and judged alone."""
    pytester.makepyfile(
        """
        import pytest
        from pytest_containerpolicy import assert_policies
        from pytest_containerpolicy.errors import UsageError

        def test_service(swarm_cluster):
            service = swarm_cluster.client.services.create(
                "testbed/busybox:1", command=["sleep", "600"], name="cp-fixture"
            )
            try:
                with pytest.raises(AssertionError, match="service cp-fixture"):
                    assert_policies(swarm_cluster.service("cp-fixture"), "resources/memory-limit")
                with pytest.raises(UsageError, match="did you mean 'cp-fixture'"):
                    swarm_cluster.service("cp-fxture")
            finally:
                service.remove()
        """
    )

    result = pytester.runpytest_subprocess(
        "test_swarm_fixture.py", f"--cp-target=swarm+unix://{testbed_swarm.managers[0].socket}",
        "--cp-select=storage", "-k", "test_service",
    )  # fmt: skip

    assert {"passed": 1} == _user_tests(result)


def test_compose_fixture(pytester: pytest.Pytester, testbed_engine: Engine, tmp_path: Path) -> None:
    """A service of a running project is judged by what runs, not by its file."""
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: testbed/pause:1, mem_limit: 32m}}\n")
    pytester.makepyfile(
        """
        import pytest
        from pytest_containerpolicy import assert_policies
        from pytest_containerpolicy.errors import UsageError

        def test_service(compose_project):
            web = compose_project.service("web")
            assert 32 * 2**20 == web.declared.containers[0].memory_limit
            assert_policies(web, "resources/memory-limit")
            with pytest.raises(UsageError, match="did you mean 'web'"):
                compose_project.service("wbe")
        """
    )

    with project(testbed_engine, file) as running:
        running.compose("up", "-d")
        result = pytester.runpytest_subprocess(
            "test_compose_fixture.py",
            f"--cp-target=compose://{running.name}?host={testbed_engine.url}",
            "--cp-select=resources/memory-limit",
        )

    assert {"passed": 2} == _user_tests(result)


def test_waiting_names_what_is_not_ready(
    pytester: pytest.Pytester, testbed_cluster: Cluster
) -> None:
    """A Deployment whose pods have not come up yet is not ready, however few pods there are."""
    pytester.makepyfile(
        """
        import pytest

        WEB = '''
        apiVersion: apps/v1
        kind: Deployment
        metadata: {name: web}
        spec:
          replicas: 2
          selector: {matchLabels: {app: web}}
          template:
            metadata: {labels: {app: web}}
            spec: {containers: [{name: web, image: "nowhere/to-be-found:1"}]}
        '''

        def test_waiting(kube_namespace):
            with pytest.raises(TimeoutError, match="no pod at all"):
                kube_namespace.wait_ready(0.5)
            kube_namespace.apply(WEB)
            with pytest.raises(TimeoutError, match="deployments/web"):
                kube_namespace.wait_ready(1)
        """
    )

    result = pytester.runpytest_subprocess(
        "test_waiting_names_what_is_not_ready.py",
        _target(testbed_cluster),
        "--cp-select=storage",
        "-k",
        "test_waiting",
    )

    assert 1 == _user_tests(result)["passed"]

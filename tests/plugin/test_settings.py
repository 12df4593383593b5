"""Options, environment and ini: precedence, the header, and errors of usage."""

from pathlib import Path

import pytest

from tests.plugin.conftest import Judge


def test_header_says_where_targets_come_from(judge: Judge) -> None:
    """The header names the source of the targets, the profile and the level."""
    result = judge()

    result.stdout.fnmatch_lines(
        ["containerpolicy: 1 target (from command line) · 1 policies (profile baseline)*observe"]
    )


def test_ini_targets(pytester: pytest.Pytester, manifests: Path) -> None:
    """Targets of the ini file are judged once `--containerpolicy` asks for it."""
    pytester.makepyprojecttoml(
        """
        [tool.pytest]
        containerpolicy_targets = ["manifests:manifests"]
        containerpolicy_select = ["resources/memory-limit"]
        """
    )

    assert 5 == pytester.runpytest().ret
    result = pytester.runpytest("--containerpolicy")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*from ini containerpolicy_targets*"])


def test_environment_beats_ini(
    pytester: pytest.Pytester, manifests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment outweighs the ini file, the command line outweighs both."""
    pytester.makeini("[pytest]\ncontainerpolicy_targets = snapshot:ini.json")
    monkeypatch.setenv("CONTAINERPOLICY_TARGETS", "snapshot:environment.json")

    result = pytester.runpytest("--containerpolicy", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*::snapshot:environment.json::*"])
    result = pytester.runpytest("--cp-target=manifests:manifests", "--collect-only", "-q")
    result.stdout.no_fnmatch_line("*environment.json*")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cp-target=k9s://dev"], "unknown scheme 'k9s'; did you mean 'k8s'*"),
        (["--containerpolicy"], "no target: give --cp-target URI*"),
        (["--cp-target=snapshot:a", "--cp-target=snapshot:a"], "*the same target*give it once*"),
        (
            ["--cp-target=snapshot:a", "--cp-select=resources/memory-limt"],
            "*'resources/memory-limit'*",
        ),
        (["--cp-target=snapshot:a", "--cp-timeout=soon"], "*'soon' is not a number of seconds*"),
        (["--cp-target=snapshot:a", "--cp-pack=nowhere"], "pack 'nowhere': no such folder*"),
        (["--cp-target=snapshot:a", "--cp-waivers=none.yaml"], "*none.yaml*"),
        (["--cp-target=snapshot:a", "--cp-profile=lax"], "*invalid choice: 'lax'*"),
    ],
)
def test_usage_errors(pytester: pytest.Pytester, args: list[str], message: str) -> None:
    """A mistake on the command line ends the run with exit code 4 and one line that helps."""
    result = pytester.runpytest_inprocess(*args)

    assert 4 == result.ret
    result.stderr.fnmatch_lines([f"*{message}"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_list(pytester: pytest.Pytester) -> None:
    """`--cp-list` lists the selected policies and runs nothing."""
    pytester.makepyfile("def test_own(): assert False")

    result = pytester.runpytest("--cp-list", "--cp-select=resources", "--cp-min-severity=high")

    assert 0 == result.ret
    result.stdout.fnmatch_lines(
        ["resources/memory-limit *high *Every container has a memory limit"]
    )
    result.stdout.no_fnmatch_line("*memory-reserved*")


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: dev, context: {cluster: c, user: u}}]
current-context: dev
"""


@pytest.fixture
def cluster(pytester: pytest.Pytester) -> str:
    """The URI of a cluster that nothing answers for."""
    (pytester.path / "kubeconfig").write_text(KUBECONFIG)
    return f"k8s://dev?kubeconfig={pytester.path}/kubeconfig"


def test_experiment_beyond_the_level(pytester: pytest.Pytester, cluster: str) -> None:
    """An experiment that is asked for by name, but not allowed, is not evaluated."""
    result = pytester.runpytest(
        f"--cp-target={cluster}", "--cp-select=upgrades/rollout-without-downtime"
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs --cp-level=disrupt, this run has observe*"])


def test_experiments_left_out(pytester: pytest.Pytester, manifests: Path) -> None:
    """The header counts the policies that the level leaves out."""
    result = pytester.runpytest("--cp-target=manifests:manifests", "--collect-only")

    result.stdout.fnmatch_lines(["*level observe (* more with --cp-level=probe or disrupt)"])


def test_disrupt_needs_a_named_scope(pytester: pytest.Pytester, cluster: str) -> None:
    """A target that names neither namespaces nor workloads is not disrupted."""
    result = pytester.runpytest(f"--cp-target={cluster}", "--cp-level=disrupt")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*this one names nothing: write for example k8s://*"])


def test_url_of_a_workload(pytester: pytest.Pytester) -> None:
    """A --cp-url that is not WORKLOAD=URL is a usage error that shows the form."""
    result = pytester.runpytest("--containerpolicy", "--cp-url=https://shop.example/")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*is not WORKLOAD=URL, such as shop/web=https://shop.example/*"])


def test_url_with_several_live_targets(pytester: pytest.Pytester, cluster: str) -> None:
    """A --cp-url does not say which target's workload it leads to: it is for one live target."""
    targets = (f"--cp-target={cluster}&namespace=shop", "--cp-target=engine+unix:///none.sock")
    url = "--cp-url=shop/web=https://shop.example/"
    result = pytester.runpytest(*targets, url, "--cp-level=probe")

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--cp-url: allowed with one live target, here are 2 (*"])

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


def test_level_gates_evidence(pytester: pytest.Pytester, manifests: Path) -> None:
    """A policy that needs more permission than the level grants is not evaluated."""
    folder = pytester.path / "pack" / "resources" / "effective"
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(
        "id: resources/effective\ntitle: t\nsummary: s\nseverity: low\nplatforms: [kubernetes]\n"
        "check: memory_limit_set\nwhy: w.\nfix: f.\nevidence: effective\n"
    )

    result = pytester.runpytest(
        "--cp-target=manifests:manifests", "--cp-pack=pack", "--cp-select=resources/effective"
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs --cp-level=probe, this run has observe*"])

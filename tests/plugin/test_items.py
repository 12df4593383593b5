"""Items behave as pytest users expect: ids, -k, -m, --lf, xdist, JUnit, header."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.plugin.conftest import BOUNDED, Judge

ITEM = "policies/resources/memory-limit/policy.yaml::manifests:manifests::memory-limit"


def test_item_id(judge: Judge) -> None:
    """An item's id is policy file, target and policy."""
    result = judge("--collect-only", "-q")

    result.stdout.fnmatch_lines([ITEM])


def test_collecting_reads_no_target(pytester: pytest.Pytester) -> None:
    """Collection does no I/O on targets: one that does not exist is collected all the same."""
    result = pytester.runpytest("--cp-target=snapshot:none.json", "--collect-only", "-q")

    assert 0 == result.ret


@pytest.mark.parametrize(
    ("args", "selected"),
    [
        (["-k", "memory"], 3),
        (["-k", "memory-limit"], 1),
        (["-m", "policy_storage"], 0),
        (["-m", "policy_resources and containerpolicy"], 1),
        (["-k", "manifests"], 1),
    ],
)
def test_selection(judge: Judge, args: list[str], selected: int) -> None:
    """`-k` knows id and title words, `-m` the challenge."""
    policy = "resources" if selected == 3 else "resources/memory-limit"
    result = judge("--collect-only", "-q", *args, policy=policy)

    assert selected >= result.stdout.str().count("policy.yaml::") >= min(selected, 1)


def test_last_failed(judge: Judge, pytester: pytest.Pytester) -> None:
    """`--lf` runs what failed, and a user's failing test beside it."""
    pytester.makepyfile("def test_own(): assert False\ndef test_fine(): pass")
    judge("test_last_failed.py", "--cp-select=resources/cpu-reserved").assert_outcomes(
        failed=3, passed=1
    )

    result = judge("--lf", "test_last_failed.py", "--cp-select=resources/cpu-reserved")

    result.assert_outcomes(failed=3)


def test_junit(judge: Judge, pytester: pytest.Pytester) -> None:
    """JUnit carries the whole story, the policy's properties and what to do."""
    judge("--junitxml=report.xml")

    case = ET.parse(pytester.path / "report.xml").find(".//testcase")
    assert case is not None
    failure = case.find("failure")
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert failure is not None
    message = failure.get("message", "")
    assert message.startswith("resources/memory-limit on manifests:manifests: 1 of 1 containers")
    assert ("resources/memory-limit", "high", "failed", "1", "1") == tuple(
        properties[f"policy.{name}"]
        for name in ("id", "severity", "verdict", "objects", "findings")
    )
    assert "Set resources.limits.memory" in (properties["policy.fix"] or "")


def test_xdist_reads_once(pytester: pytest.Pytester, manifests: Path) -> None:
    """With xdist the verdicts are the same, and the closing section says what was read."""
    result = pytester.runpytest_subprocess(
        "-n2", "--cp-target=manifests:manifests", "--cp-select=resources", "-p", "xdist"
    )

    outcomes = result.parseoutcomes()
    assert outcomes["failed"] >= 3
    result.stdout.fnmatch_lines(["*container policy*", "*manifests:manifests: 1 objects in *"])


def test_two_targets(judge: Judge, pytester: pytest.Pytester) -> None:
    """Each target has an item of its own."""
    (pytester.path / "bounded.yaml").write_text(BOUNDED)

    result = judge("--cp-target=manifests:bounded.yaml", "-v")

    result.assert_outcomes(passed=1, failed=1)


def test_user_tests_run_beside(judge: Judge, pytester: pytest.Pytester) -> None:
    """Policies are added to the user's own tests, not put in their place."""
    pytester.makepyfile("def test_own(): pass")

    result = judge()

    result.assert_outcomes(passed=1, failed=1)


def test_pack_outside_the_rootdir(pytester: pytest.Pytester, manifests: Path) -> None:
    """The shipped pack has stable ids although it stands outside the user's rootdir."""
    result = pytester.runpytest("--cp-target=manifests:manifests", "--collect-only", "-q")

    result.stdout.fnmatch_lines(["policies/storage/*/policy.yaml::manifests:manifests::*"])

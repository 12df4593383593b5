"""How verdicts appear in pytest: passed, failed, skipped, error - never a traceback."""

from pathlib import Path

import pytest

from pytest_containerpolicy.cli import main
from tests.plugin.conftest import BOUNDED, WEB, Judge, Write


def test_finding_fails_with_its_story(judge: Judge) -> None:
    """A failure tells object, found, wanted, file:line, why and fix, without a traceback."""
    result = judge()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*resources/memory-limit on manifests:manifests*",
            "*/memory-limit on manifests:manifests: 1 of 1 containers without a memory limit",
            "Deployment shop/web, container app",
            "  found   no memory limit",
            "  wanted  a memory limit",
            "  where   manifests/web.yaml:12*resources.limits.memory",
            "why *",
            "fix *",
            "FAILED policies/resources/memory-limit/policy.yaml::*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*collection.py*")


def test_pass(judge: Judge, manifests: Path) -> None:
    """A target without findings passes, and the summary says how much that is worth."""
    (manifests / "web.yaml").write_text(BOUNDED)

    result = judge()

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*container policy*",
            "*resources*",
            "manifests:manifests*1A",
            "1 of the passes (A) assume *",
        ]
    )


ASSUMED = "*that the kernel enforces the limit cannot be known from configuration*"


def test_audit_passes_nothing_on_an_assumption(judge: Judge, manifests: Path) -> None:
    """In profile audit what configuration can't show is an error that says what finds it out."""
    (manifests / "web.yaml").write_text(BOUNDED)

    result = judge("--cp-profile=audit")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"{ASSUMED}run with --cp-level=probe (resources/limits-in-force)*", "*1[?]"]
    )


def test_audit_passes_nothing_on_what_is_left_out(judge: Judge, manifests: Path) -> None:
    """The experiment that would find it out, if deselected, gives no pass to anybody."""
    (manifests / "web.yaml").write_text(BOUNDED)
    level = ("--cp-profile=audit", "--cp-level=probe", "--cp-select=resources/limits-in-force")

    result = judge(*level, "-k", "not in-force")

    result.assert_outcomes(errors=1)


def test_audit_waiver_hides_no_assumption(judge: Judge, manifests: Path, waivers: Write) -> None:
    """A waived finding on one container leaves the others' assumption unproved."""
    (manifests / "web.yaml").write_text(f"{WEB}---{BOUNDED.replace('name: web', 'name: bounded')}")
    file = waivers(
        """
        - policy: resources/memory-limit
          object: "Deployment shop/web*"
          reason: measured
          owner: ops
          until: 2999-01-01
        """
    )

    result = judge("--cp-profile=audit", f"--cp-waivers={file}")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([ASSUMED, "waived: 1"])


def test_nothing_to_judge_is_skipped(judge: Judge, manifests: Path) -> None:
    """A policy with no object to judge is skipped and says that it judged none."""
    (manifests / "web.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")

    result = judge("-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not applicable: 0 containers to judge*"])


def test_other_platforms_are_left_out(judge: Judge) -> None:
    """A policy for other platforms has no item on a target whose platform is known."""
    result = judge(policy="resources/pids-bounded")

    assert 5 == result.ret


def test_other_platform_of_a_snapshot_is_skipped(judge: Judge, pytester: pytest.Pytester) -> None:
    """A snapshot's platform is known once it is read: then a policy for others is skipped."""
    assert 0 == main(["snapshot", "manifests:manifests", "-o", "web.json"])

    result = pytester.runpytest(
        "--cp-target=snapshot:web.json", "--cp-select=resources/pids-bounded", "-rs"
    )

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*a policy for docker, compose, swarm, this is kubernetes*"])


def test_could_not_look_is_an_error(judge: Judge, manifests: Path) -> None:
    """A file that can't be read makes an error, not a pass, although the others have no finding."""
    (manifests / "web.yaml").write_text(BOUNDED)
    (manifests / "broken.yaml").write_text("a: [1\nb: 2\n")

    result = judge()

    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*collection.py*")
    result.stdout.fnmatch_lines(
        ["*not evaluated: manifests/broken.yaml:2: *", "*could not look on*"]
    )


def test_findings_outweigh_gaps(judge: Judge, manifests: Path) -> None:
    """Findings are reported even where something else could not be read, and the gap with them."""
    (manifests / "broken.yaml").write_text("a: [1\nb: 2\n")
    text = WEB.replace(
        "      containers:", "      terminationGracePeriodSeconds: 0\n      containers:"
    )
    (manifests / "web.yaml").write_text(text)

    result = judge(policy="upgrades/stops-gracefully")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["also not looked at: manifests/broken.yaml:2: *"])


def test_unreadable_may_be_skipped(judge: Judge, manifests: Path) -> None:
    """`--cp-unreadable=skip` turns "could not look" into a skip that says why."""
    (manifests / "web.yaml").write_text(BOUNDED)
    (manifests / "broken.yaml").write_text("a: [1\nb: 2\n")

    result = judge("--cp-unreadable=skip", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*not evaluated: manifests/broken.yaml:2*"])


def test_unreachable_target(pytester: pytest.Pytester) -> None:
    """A target that can't be read makes every one of its policies an error with one line."""
    result = pytester.runpytest("--cp-target=snapshot:none.json", "--cp-select=storage")

    outcomes = result.parseoutcomes()
    assert ["errors"] == [name for name in outcomes if name != "warnings"]
    result.stdout.fnmatch_lines(["storage/*: not evaluated: none.json: No such file or directory"])
    result.stdout.no_fnmatch_line("*collection.py*")


def test_unreachable_may_be_skipped(pytester: pytest.Pytester) -> None:
    """`--cp-unreachable=skip` skips the policies of a target that can't be read."""
    result = pytester.runpytest(
        "--cp-target=snapshot:none.json", "--cp-select=storage", "--cp-unreachable=skip"
    )

    assert 0 == result.ret
    assert 0 == result.parseoutcomes().get("passed", 0)


def test_twenty_findings_and_the_rest(judge: Judge, manifests: Path) -> None:
    """At most twenty objects are listed; the rest is counted."""
    documents = [WEB.replace("name: web,", f"name: web-{number},") for number in range(25)]
    (manifests / "web.yaml").write_text("---".join(documents))

    result = judge()

    assert 20 == sum(line.startswith("  found") for line in result.outlines)
    result.stdout.fnmatch_lines(["*25 of 25 containers*", "... and 5 more"])


def test_terminal_escapes_are_shown(judge: Judge, manifests: Path) -> None:
    """Control characters of an object's name reach the terminal escaped."""
    text = WEB.replace("name: app", 'name: "app\\e[31mred"')
    (manifests / "web.yaml").write_text(text)

    result = judge()

    assert "\x1b[31mred" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*container app\\x1b?31mred"])

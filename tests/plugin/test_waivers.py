"""Waivers: accepted findings pass and stay visible; expired, unused and wrong ones are reported."""

from datetime import date, timedelta

import pytest

from tests.plugin.conftest import Judge, Write

LATER = date.today() + timedelta(days=90)
ENTRY = """
- policy: resources/memory-limit
  object: "Deployment shop/web*"
  reason: bounded by the node pool
  owner: ops
  until: {until}
"""


def test_waived_finding_passes(judge: Judge, waivers: Write) -> None:
    """A waived finding passes; the run says how many were waived."""
    result = judge(f"--cp-waivers={waivers(ENTRY.format(until=LATER))}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["waived: 1"])


def test_expired_waiver_fails_again(judge: Judge, waivers: Write) -> None:
    """A finding whose waiver has expired fails again and says when it expired."""
    result = judge(f"--cp-waivers={waivers(ENTRY.format(until='2020-01-31'))}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "waiver expired on 2020-01-31 (*waivers.yaml:2)*",
            "waiver expired on 2020-01-31: *fail again",
        ]
    )


def test_waiver_holds_on_its_last_day(judge: Judge, waivers: Write) -> None:
    """The day named in `until` is the last one that a waiver holds."""
    result = judge(f"--cp-waivers={waivers(ENTRY.format(until=date.today()))}")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["waiver ends in 0 days: *owner ops*"])


def test_unused_waiver_is_reported(judge: Judge, waivers: Write) -> None:
    """A waiver that covers no finding is reported with its place."""
    text = ENTRY.format(until=LATER).replace("shop/web", "shop/other")

    result = judge(f"--cp-waivers={waivers(text)}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["waiver not used: *waivers.yaml:2*"])


def test_a_waiver_that_was_not_asked_is_not_unused(judge: Judge, waivers: Write) -> None:
    """A run of other policies does not report a waiver as unused."""
    result = judge(
        f"--cp-waivers={waivers(ENTRY.format(until=LATER))}", policy="resources/cpu-reserved"
    )

    result.stdout.no_fnmatch_line("waiver not used*")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("resources/memory-limit", "resources/memory-limt"),
            "*waivers.yaml:2: no policy matches*",
        ),
        (("  owner: ops\n", ""), "*waivers.yaml:2: *missing required field `owner`*"),
        (("until: ", "untill: "), "*waivers.yaml:2: *untill*"),
        (("reason: bounded by the node pool", "reason: ''"), "*waivers.yaml:2: *reason*"),
        (("- policy", "policy"), "*waivers.yaml*"),
    ],
)
def test_wrong_waivers(judge: Judge, waivers: Write, change: tuple[str, str], message: str) -> None:
    """A waivers file with an unknown id, a missing or a misspelt key ends the run at once."""
    text = ENTRY.format(until=LATER).replace(*change)

    result = judge(f"--cp-waivers={waivers(text)}")

    assert 4 == result.ret
    result.stderr.fnmatch_lines([message])

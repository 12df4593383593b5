"""The figures of a measurement, from ticks written down by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.measurement import (
    Mark,
    Measurement,
    Tick,
    measured,
)
from pytest_containerpolicy.experiments.measurement_text import wrapped

RATE = 100.0


def ticks(failures: Sequence[str], took: float = 0.002) -> list[Tick]:
    """One tick each 10 ms, sent in time."""
    return [Tick(n / RATE, 0.0, took, failure) for n, failure in enumerate(failures)]


STALLED = [
    *(Tick(n / RATE, 0.0, 0.002, "") for n in range(30)),
    *(Tick(0.3 + n / RATE, 0.095 - n / RATE, 0.002, "") for n in range(10)),
]


def figures(all_ticks: Sequence[Tick], marks: Sequence[Mark] = ()) -> Measurement:
    """The measurement of these ticks."""
    return measured(
        all_ticks,
        vantage="through service shop/web",
        rate=RATE,
        connections="new",
        started=0.0,
        duration=len(all_ticks) / RATE,
        marks=marks,
    )


def test_nothing_failed() -> None:
    """Without failures there is no outage, and no word of one."""
    measurement = figures(ticks([""] * 100))
    assert (100, 0, {}, 0.0, 0.0, 0, 0.0) == (
        measurement.requests,
        measurement.failed,
        measurement.failures,
        measurement.longest_gap_ms,
        measurement.downtime_ms,
        measurement.late,
        measurement.blind_ms,
    )


def test_an_outage_lasts_until_the_next_success_starts() -> None:
    """Three failed requests at 100/s are 30 ms of outage."""
    measurement = figures(ticks(["", "", "refused", "reset", "refused", "", ""]))
    (outage,) = measurement.outages
    assert (0.02, 30.0, 3) == (outage.at, round(outage.ms, 6), outage.requests)
    assert {"refused": 2, "reset": 1} == measurement.failures


def test_the_longest_gap_is_one_outage_and_downtime_is_all() -> None:
    """Two outages of 10 and 20 ms: a gap of 20, a downtime of 30."""
    measurement = figures(ticks(["", "503", "", "503", "503", ""]))
    assert pytest.approx(20.0) == measurement.longest_gap_ms
    assert pytest.approx(30.0) == measurement.downtime_ms


def test_an_outage_at_the_end_lasts_as_long_as_was_measured() -> None:
    """The last failed request stands for one tick."""
    assert pytest.approx(20.0) == figures(ticks(["", "refused", "refused"])).downtime_ms


def test_a_stall_is_no_downtime() -> None:
    """A pause of the prober itself makes late ticks and blind time, and no outage."""
    measurement = figures(STALLED)
    assert (0.0, 9) == (measurement.downtime_ms, measurement.late)
    assert pytest.approx(95.0) == measurement.blind_ms


def test_a_stall_does_not_stretch_an_outage() -> None:
    """Of a pause after a failed request only one tick and 10 ms count as outage."""
    measurement = figures([*ticks(["", "refused"]), Tick(0.02, 0.5, 0.002, "")])
    assert pytest.approx(20.0) == measurement.longest_gap_ms


def test_what_was_not_sent_is_neither_success_nor_failure() -> None:
    """An outage goes on over requests that the prober could not send."""
    measurement = figures(ticks(["", "refused", "unsent", "refused", ""]))
    assert (4, 2, 1, 1, 1) == (
        measurement.requests,
        measurement.failed,
        measurement.unsent,
        measurement.late,
        len(measurement.outages),
    )


def test_nothing_sent_is_no_measurement() -> None:
    """Zero failures of zero requests would read as clean."""
    with pytest.raises(CannotLook, match="no request was sent"):
        figures(ticks(["unsent"] * 10))


def test_latency_is_of_answered_requests() -> None:
    """By nearest rank; a timeout is a failure and not a latency."""
    slow = [Tick(n / RATE, 0.0, n / 1e3, "") for n in range(1, 101)]
    measurement = figures([*slow, Tick(1.01, 0.0, 2.0, "no answer")])
    found = [measurement.p50_ms, measurement.p99_ms, measurement.max_ms]
    assert [50.0, 99.0, 100.0] == [round(ms or 0.0, 6) for ms in found]


def test_latency_leaves_out_what_a_stall_held_up() -> None:
    """A request that was open when the prober paused was not slow."""
    open_then = Tick(0.29, 0.0, 0.12, "")
    after = [Tick(0.4 + n / RATE, 0.0, 0.002, "") for n in range(5)]
    assert pytest.approx(2.0) == figures([*ticks([""] * 29), open_then, *after]).max_ms


def test_a_part_of_a_measurement() -> None:
    """What was due within a time, with its own figures and marks."""
    marks = [Mark(0.1, "before"), Mark(0.3, "after")]
    whole = figures(ticks([""] * 20 + ["refused"] * 5 + [""] * 25), marks)
    part = whole.between(0.15, 0.35)
    assert (20, 5, (marks[1],)) == (part.requests, part.failed, part.marks)
    assert 0 == whole.between(0.0, 0.2).failed
    with pytest.raises(CannotLook):
        whole.between(7, 8)


def test_names_stay_in_one_piece() -> None:
    """An object's name is one word, whatever hyphens it has, so that it can be searched for."""
    name = "truth-upgrades-readiness-probe-b5a5/" + "web-" * 20
    lines = wrapped(f"{'through the service of the shop ' * 2} {name} and on", "  ")
    assert [True] == [name in line for line in lines if "truth" in line]
    assert "  and on" == lines[-1]


def test_text() -> None:
    """Totals, failures by class, latency, the timeline with its times, and the marks."""
    failures = [""] * 380 + ["timeout"] * 64 + ["refused"] * 76 + [""] * 720
    measurement = figures(ticks(failures), [Mark(3.8, "pod web-1 gone")])
    assert """\
1,240 requests at 100/s, new connection each, through service shop/web
140 failed: 76 refused, 64 connect timeout · longest gap 1.4 s
answered in p50 2.0 ms · p99 2.0 ms · longest 2.0 ms
0s ............ 3.8s xxxxx 5.2s ....................... 12.4s
   3.8s pod web-1 gone""" == str(measurement)


def test_text_of_several_outages() -> None:
    """Without room for all times the timeline has only the ends; lines stay within 76 columns."""
    lines = str(figures(ticks(([""] * 40 + ["503"] * 10) * 8))).splitlines()
    assert "80 failed: 80 status 503 · longest gap 100 ms · 800 ms in 8 outages" == lines[1]
    assert ["0s", "4.0s"] == lines[3].split()[::2]
    assert 60 == len(lines[3].split()[1])
    assert [] == [line for line in lines if len(line) > 76]


def test_text_warns_of_stalls() -> None:
    """Where the prober itself was late the text says so, and the timeline shows it."""
    text = " ".join(str(figures(STALLED)).split())
    assert "late for 9 of 40 ticks and blind for 95 ms (~)" in text
    assert "0s ..............................~~~~~~~~~~ 0.4s" in text


def test_text_warns_of_a_rate_that_was_not_kept() -> None:
    """Requests that could not be sent are told, with what to do."""
    text = " ".join(str(figures(ticks(["", "unsent"] * 20))).split())
    assert "100/s could not be kept: 20 requests were not sent" in text


def test_text_of_a_service_that_never_answered() -> None:
    """Without any answer there is no latency."""
    assert "nothing was answered" in str(figures(ticks(["refused"] * 3)))

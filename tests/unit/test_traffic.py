"""What a plan may ask for, and what becomes of a prober that does not do its part."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook, UsageError
from pytest_containerpolicy.experiments import vantage
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.prober_streams import Dialogue
from pytest_containerpolicy.experiments.reach import Probe, ask
from pytest_containerpolicy.experiments.traffic import Plan, start
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

STARTED = '{"event":"started","wall":1.0}'
REQUESTS = '{"event":"requests","outcomes":[""],"outcome":[0],"lateness_us":[0],"latency_us":[900]}'


class Script:
    """A line stream that says what it was given, and then ends, breaks or stays silent."""

    def __init__(self, lines: Sequence[str], end: Exception | float = 0.0) -> None:
        self._lines, self._end = lines, end
        self.written: list[str] = []
        self.closed = False

    def write_line(self, line: str) -> None:
        self.written.append(line)

    def lines(self) -> Iterator[str]:
        yield from self._lines
        if isinstance(self._end, Exception):
            raise self._end
        time.sleep(self._end)

    def close(self) -> None:
        self.closed = True


def result(ended: str, elapsed: float) -> str:
    """The last line of traffic."""
    return f'{{"event":"result","ended":"{ended}","elapsed":{elapsed}}}'


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "web:80"}, "url 'web:80' can't be requested"),
        ({"url": "http://"}, "can't be requested"),
        ({"url": "http://web:99999/"}, "out of range"),
        ({"url": "http://web/a b"}, "can't be requested"),
        ({"url": "http://web/\r\nX: y"}, "can't be requested"),
        ({"url": "http://me:secret@web/"}, "url of web holds a user"),
        ({"rate": 0}, "rate 0 is not within 0.1 to 1000 requests/s"),
        ({"rate": 1001}, "rate 1001 is not within"),
        ({"rate": math.nan}, "rate nan is not within"),
        ({"rate": "50"}, "rate '50' is not within"),
        ({"rate": True}, "rate True is not within"),
        ({"duration": 0}, "duration 0 is not within 0.1 to 3600 s"),
        ({"timeout": 61}, "timeout 61 is not within 0.05 to 60 s"),
        ({"connections": 0}, "connections 0 is not within 1 to 1000, or 'new'"),
        ({"connections": "old"}, "connections 'old' is not within"),
        ({"method": "BREW"}, "method 'BREW' is none of GET, HEAD"),
        ({"rate": 1000, "duration": 2000}, "are more than 1,000,000 requests"),
        ({"headers": {"X": "a\r\nY: b"}}, "header 'X' can't be sent"),
    ],
)
def test_a_plan_that_can_not_be(values: dict[str, Any], said: str) -> None:
    """What is out of bounds is named, with the bounds; a secret in a URL is not repeated."""
    with pytest.raises(UsageError) as raised:
        Plan(**{"url": "http://web/", **values}).check()
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_plan_within_its_bounds() -> None:
    """Defaults, the fastest rate and kept connections are allowed."""
    Plan(url="https://web:8443/x?y=z").check()
    Plan(url="http://[::1]/", rate=1000, connections=8).check()


def test_a_plan_is_checked_before_anything_is_sent() -> None:
    """A bad plan reaches no prober, and its stream is closed."""
    stream = Script([])
    with pytest.raises(UsageError):
        start(Plan(url="nowhere"), stream)
    assert ([], True) == (stream.written, stream.closed)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (Script([]), "the prober ended without a result"),
        (Script(["sh: python3: not found"]), "what should be the prober says 'sh: python3"),
        (Script(['{"event":"error","message":"KeyError"}']), "the prober gave up: KeyError"),
        (Script([], OSError("broken pipe")), "connection to the prober broke: broken pipe"),
        (Script([], CannotLook("pod p is gone")), "pod p is gone"),
    ],
)
def test_traffic_that_does_not_start(stream: Script, said: str) -> None:
    """The reason is told, and the stream closed."""
    with pytest.raises(CannotLook, match=said):
        start(Plan(url="http://web/"), stream)
    assert stream.closed


@pytest.mark.parametrize(
    "stream",
    [
        Script([STARTED, REQUESTS]),
        Script([STARTED, REQUESTS], OSError("gone")),
        Script([STARTED, REQUESTS, "Killed"]),
    ],
)
def test_a_prober_that_dies_leaves_no_measurement(stream: Script) -> None:
    """Requests without a result are not measured, however good they look."""
    with start(Plan(url="http://web/"), stream) as traffic, pytest.raises(CannotLook):
        traffic.stop()
    with pytest.raises(CannotLook):
        _ = traffic.progress


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("duration", "its longest duration was over"),
        ("eof", "its input was cut"),
        ("signal", "somebody ended the prober"),
    ],
)
def test_traffic_that_ended_too_early_is_no_measurement(ended: str, said: str) -> None:
    """What happened after its end was not seen."""
    stream = Script([STARTED, REQUESTS, result(ended, -60.0)])
    traffic = start(Plan(url="http://web/"), stream)
    with traffic, pytest.raises(CannotLook, match=said):
        traffic.stop()


def test_waiting_for_the_end_of_a_duration() -> None:
    """Only the whole duration counts."""
    with start(
        Plan(url="http://web/", duration=1.0), Script([STARTED, REQUESTS, result("duration", 1.0)])
    ) as traffic:
        assert 1 == traffic.wait().requests
    stream = Script([STARTED, REQUESTS, result("signal", 0.4)])
    traffic = start(Plan(url="http://web/", duration=1.0), stream)
    with traffic, pytest.raises(CannotLook, match=r"after 0\.4 of 1 s \(somebody ended"):
        traffic.wait()


def test_progress_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches hears how far the traffic is, without anybody asking for it."""
    monkeypatch.setattr(vantage, "_REPORT_SECONDS", 0.01)
    said: list[str] = []
    lab = open_lab(
        parse_target("engine+unix:///none.sock"), Timeouts(), LabOptions(progress=said.append)
    )
    far = '{"event":"progress","sent":1500,"failed":2,"elapsed":30.0}'
    with (
        start(Plan(url="http://web/"), Script([STARTED, far], end=5.0)) as traffic,
        vantage._reported(traffic, lab, "traffic to shop/web"),
    ):
        deadline = time.monotonic() + 4
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)

    assert "traffic to shop/web: 1,500 requests so far, 2 failed, in 30 s" in said[:2]


def test_a_watcher_takes_nothing_from_whoever_measures() -> None:
    """Why a prober gave up is told to each who asks."""
    stream = Script([STARTED, '{"event":"error","message":"KeyError"}'])
    with start(Plan(url="http://web/"), stream) as traffic:
        for ask_how_far in (lambda: traffic.progress, traffic.stop):
            with pytest.raises(CannotLook, match="the prober gave up: KeyError"):
                ask_how_far()


def test_silence() -> None:
    """A prober that says nothing is not waited for forever."""
    with pytest.raises(CannotLook, match=r"said nothing for 0\.02 s"):
        Dialogue(Script([], end=0.05), {}).next(0.02)


def test_answers_must_fit_the_probes() -> None:
    """An answer to another question, or none, is no evidence."""
    probe = Probe(id="a", protocol="tcp", host="127.0.0.1", port=80)
    for probes, said in [
        ('[{"id":"b","outcome":"open","ms":1,"attempts":1,"detail":{}}]', "other probes"),
        ("[]", "other probes"),
        ('[{"id":"a"}]', "makes no sense"),
        ('[{"id":"a","outcome":"unsent","ms":1,"attempts":1,"detail":{}}]', "could not open"),
    ]:
        stream = Script([f'{{"event":"result","probes":{probes}}}'])
        with pytest.raises(CannotLook, match=said):
            ask(stream, [probe])
        assert stream.closed

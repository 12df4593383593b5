"""The measuring client against real sockets: how each failure reads, and that it knows itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import prober_streams
from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.prober_streams import LocalStream
from pytest_containerpolicy.experiments.traffic import Plan, Tls, start
from tests.live.tls_proxy import make_certificates
from tests.loopback_tcp import (
    WHOLE,
    Treatment,
    deaf_port,
    https_server,
    keeping,
    resetting,
    saying,
    silent,
    tcp_server,
)

# What serves here is kept from its work by whatever else the machine does: once more, then.
pytestmark = pytest.mark.flaky(reruns=1)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nA: b\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nall of it"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE
HALF = WHOLE[:-1]
HALF_CHUNKED = CHUNKED[:-10]
DOWN = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"


def measure(plan: Plan) -> Measurement:
    """The whole of a plan's duration."""
    with start(plan, LocalStream()) as traffic:
        return traffic.wait()


def short(url: str, duration: float = 0.2, timeout: float = 0.3) -> Plan:
    """Ten requests."""
    return Plan(url=url, rate=50, duration=duration, timeout=timeout)


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED, UNTIL_CLOSE, CONTINUED, MOVED])
def test_whole_answers_count(answer: bytes) -> None:
    """However a body ends: by its length, its last chunk or the end of the connection."""
    with tcp_server(saying(answer)) as server:
        measurement = measure(short(server.url))
    assert (10, 0) == (measurement.requests, measurement.failed)


@pytest.mark.parametrize(
    ("treat", "expected"),
    [
        (saying(HALF), "closed"),
        (saying(HALF_CHUNKED), "closed"),
        (saying(b""), "closed"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "other"),
        (saying(DOWN), "503"),
        (resetting, "reset"),
        (silent, "no answer"),
    ],
)
def test_failures_have_their_class(treat: Treatment, expected: str) -> None:
    """Half an answer, none, another protocol's, a broken connection, a status."""
    with tcp_server(treat) as server:
        assert {expected: 10} == measure(short(server.url)).failures


def test_refused() -> None:
    """Nobody listens."""
    with tcp_server(silent) as server:
        server.close()
        assert {"refused": 10} == measure(short(server.url)).failures


def test_connect_timeout() -> None:
    """Nobody takes the connection: another class than one that is taken and not answered."""
    with deaf_port() as port:
        assert {"timeout": 10} == measure(short(f"http://127.0.0.1:{port}/")).failures


def test_name_that_does_not_resolve() -> None:
    """The name itself is at fault: https://www.rfc-editor.org/rfc/rfc6761#section-6.4"""
    assert {"dns": 10} == measure(short("http://nobody.invalid/", timeout=5.0)).failures


def test_names_are_resolved() -> None:
    """A name leads to all of its addresses: here the first may be IPv6, where nobody listens."""
    with tcp_server(saying(WHOLE)) as server:
        assert 0 == measure(short(f"http://localhost:{server.port}/", timeout=5.0)).failed


def test_tls(tmp_path: Path) -> None:
    """The given authority is trusted, and shown a certificate; without it the server is not."""
    folder = make_certificates(tmp_path / "tls")
    with https_server(folder) as url:
        ca, cert, key = ((folder / f"{part}.pem").read_text() for part in ("ca", "cert", "key"))
        trusted = Plan(url=url, rate=50, duration=0.2, tls=Tls(ca=ca, cert=cert, key=key))
        assert (10, 0) == ((found := measure(trusted)).requests, found.failed)
        assert {"tls": 10} == measure(short(url, timeout=2.0)).failures


def test_requests_carry_the_plan() -> None:
    """Method, path, query and headers arrive; a given header replaces the prober's own."""
    seen: list[bytes] = []

    def treat(connection: socket.socket) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(WHOLE)

    with tcp_server(treat) as server:
        plan = Plan(
            url=f"{server.url}a?b=c",
            rate=50,
            duration=0.1,
            method="POST",
            headers={"host": "shop.example", "X-Run": "7"},
        )
        measure(plan)
    lines = seen[0].decode().split("\r\n")
    assert "POST /a?b=c HTTP/1.1" == lines[0]
    assert ["host: shop.example"] == [line for line in lines if line.lower().startswith("host:")]
    assert "X-Run: 7" in lines and "Connection: close" in lines


def test_kept_connections() -> None:
    """So many connections at most, each for many requests."""
    with tcp_server(keeping(WHOLE)) as server:
        plan = Plan(url=server.url, rate=100, duration=0.3, connections=2)
        measurement = measure(plan)
    assert (30, 0) == (measurement.requests, measurement.failed)
    assert server.connections <= 2


def test_kept_connections_that_the_server_closed() -> None:
    """An idle connection that the server closed is not used for the next request."""
    with tcp_server(saying(WHOLE)) as server:
        plan = Plan(url=server.url, rate=20, duration=0.3, connections=2)
        measurement = measure(plan)
    assert (6, 0, 6) == (measurement.requests, measurement.failed, server.connections)


def test_the_rate_is_open_loop() -> None:
    """Requests are sent when they are due, though earlier ones are not answered."""
    with tcp_server(saying(WHOLE, after=0.25)) as server:
        measurement = measure(short(server.url, timeout=5.0))
    assert (10, 0) == (measurement.requests, measurement.failed)
    assert (measurement.p50_ms or 0) >= 250
    assert measurement.duration < 0.25


def test_the_highest_rate() -> None:
    """A thousand requests a second: each is sent, or known not to have been."""
    with tcp_server(keeping(WHOLE)) as server:
        measurement = measure(Plan(url=server.url, rate=1000, duration=1, connections=20))
    assert (1000, {}) == (measurement.requests + measurement.unsent, measurement.failures)
    assert measurement.requests > 500


def test_an_outage_is_measured() -> None:
    """A service that is away for 500 ms: that long, give or take 20 and what was not seen."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(tcp_server(saying(WHOLE)))
        traffic = stack.enter_context(start(Plan(url=server.url, rate=200), LocalStream()))
        time.sleep(0.3)
        away = server.away(0.5)
        traffic.mark("back")
        time.sleep(0.3)
        measurement = traffic.stop()
    unsure = 20 + measurement.blind_ms
    assert abs(measurement.longest_gap_ms - away) <= unsure
    (mark,) = measurement.marks
    assert abs(max(measurement.outages, key=lambda o: o.ms).end - mark.at) * 1e3 <= unsure + 50


def test_own_stalls_are_no_downtime() -> None:
    """A prober that is stopped for 2 s says so, and blames nobody for it.

    Neither for the time, nor for the answers that waited longer than the timeout meanwhile.
    """
    stream = LocalStream()
    with tcp_server(saying(WHOLE, after=0.1)) as server:
        plan = Plan(url=server.url, rate=200, timeout=1.5)
        with start(plan, stream) as traffic:
            time.sleep(0.4)
            os.kill(stream.pid, signal.SIGSTOP)
            time.sleep(2)
            os.kill(stream.pid, signal.SIGCONT)
            time.sleep(0.3)
            measurement = traffic.stop()
    assert ({}, 0.0) == (measurement.failures, measurement.downtime_ms)
    assert measurement.late >= 80
    assert measurement.unsent >= 30
    assert measurement.blind_ms >= 1900
    assert "warning: the prober itself was late" in str(measurement)


def test_too_many_open_requests_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be sent because too much is open is not counted as the service's failure."""
    few = source().replace("IN_FLIGHT = 2000", "IN_FLIGHT = 3")
    monkeypatch.setattr(prober_streams, "source", lambda: few)
    with tcp_server(silent) as server:
        measurement = measure(short(server.url, timeout=1.0))
    assert (3, 3, 7) == (measurement.requests, measurement.failed, measurement.unsent)


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour's step of the wall clock in the middle: same rate, no late tick, no outage."""
    stepping = (
        "import time; now, born = time.time, time.monotonic()\n"
        "time.time = lambda: now() + (3600 if time.monotonic() > born + 0.3 else 0)\n"
    )
    program = stepping + source()
    monkeypatch.setattr(prober_streams, "source", lambda: program)
    with tcp_server(saying(WHOLE)) as server:
        measurement = measure(short(server.url, duration=0.8, timeout=2.0))
    assert (40, {}) == (measurement.requests, measurement.failures)
    assert 0.8 == pytest.approx(measurement.duration, abs=0.3)
    assert (measurement.max_ms or 0.0) < 2000


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda stream: os.kill(stream.pid, signal.SIGKILL), "ended with -9"),
        (lambda stream: os.kill(stream.pid, signal.SIGTERM), "somebody ended the prober"),
        (lambda stream: stream.end_input(), "its input was cut"),
    ],
)
def test_a_prober_that_ends_by_itself(harm: Callable[[LocalStream], None], said: str) -> None:
    """Killed, told to end by somebody else, cut off: no measurement, though nothing failed."""
    stream = LocalStream()
    with tcp_server(saying(WHOLE)) as server, start(Plan(url=server.url), stream) as traffic:
        harm(stream)
        time.sleep(0.3)
        with pytest.raises(CannotLook, match=said):
            traffic.stop()


def test_progress() -> None:
    """Once a second it is known how far the traffic is."""
    with tcp_server(saying(DOWN)) as server, start(Plan(url=server.url), LocalStream()) as traffic:
        deadline = time.monotonic() + 10
        while not traffic.progress.sent and time.monotonic() < deadline:
            time.sleep(0.05)
        sent, failed, elapsed = traffic.progress
    assert sent > 0 and failed > 0 and 0.5 < elapsed < 10

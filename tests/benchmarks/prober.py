"""How exactly the measuring client measures: the ticks it keeps, and an outage of known length.

usage: python -m tests.benchmarks.prober [--rounds N] [--seconds S]

Whatever else runs on the machine makes ticks late: the least of several rounds is the prober's own.
"""

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from pytest_containerpolicy.experiments.measurement import Measurement
from pytest_containerpolicy.experiments.prober.program import hurry
from pytest_containerpolicy.experiments.prober_streams import LocalStream
from pytest_containerpolicy.experiments.traffic import Plan, start
from tests.loopback_tcp import WHOLE, saying, tcp_server
from tests.testbed.builds import binary

TICK_RATE = 500
OUTAGE_RATE = 200
AWAY_SECONDS = 0.5


def main() -> None:
    """Print the figures of each round, then the least and the median."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.prober")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    with _server() as url:
        late = [_ticks(url, options.seconds) for _ in range(options.rounds)]
    _summary("late ticks in 1,000", late)
    # What waits to be accepted is lost when the listener closes: it must not wait for a processor.
    hurry()
    errors = [_outage() for _ in range(options.rounds)]
    _summary("error of an outage in ms", errors)


def _ticks(url: str, seconds: float) -> float:
    plan = Plan(url=url, rate=TICK_RATE, duration=seconds)
    with start(plan, LocalStream()) as traffic:
        measurement = traffic.wait()
    late = measurement.late / len(measurement.ticks) * 1e3
    worst = max(tick.late for tick in measurement.ticks) * 1e3
    _say(f"{late:.2f} of 1,000 ticks late, the worst by {worst:.1f} ms; {_figures(measurement)}")
    return late


def _outage() -> float:
    with tcp_server(saying(WHOLE)) as server:
        plan = Plan(url=server.url, rate=OUTAGE_RATE)
        with start(plan, LocalStream()) as traffic:
            time.sleep(1)
            away = server.away(AWAY_SECONDS)
            time.sleep(1)
            measurement = traffic.stop()
    error = measurement.longest_gap_ms - away
    _say(
        f"away {away:.1f} ms, measured {measurement.longest_gap_ms:.1f} ({error:+.1f});"
        f" blind for {measurement.blind_ms:.0f} ms"
    )
    return abs(error)


def _figures(measurement: Measurement) -> str:
    return (
        f"{measurement.requests:,} requests, {measurement.failed} failed,"
        f" p50 {measurement.p50_ms:.2f} ms, p99 {measurement.p99_ms:.2f} ms"
    )


def _summary(what: str, values: Sequence[float]) -> None:
    _say(f"{what}: least {min(values):.2f}, median {statistics.median(values):.2f}\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PORT": str(port), "BIND": "127.0.0.1"}
    server = subprocess.Popen([binary("server")], env=environment, stdout=subprocess.DEVNULL)
    try:
        _await(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()


def _await(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise SystemExit("the test server does not come up")


if __name__ == "__main__":
    main()

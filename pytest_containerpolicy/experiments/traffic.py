"""Traffic at a fixed rate from wherever a prober runs, and what it shows.

with start(Plan(url="http://web/"), LocalStream(), vantage="from this machine") as traffic:
    ...
    traffic.mark("pod web-1 gone")
    measurement = traffic.stop()
"""

import math
import threading
import time
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook, UsageError
from pytest_containerpolicy.experiments.measurement import Mark, Measurement, Tick, measured
from pytest_containerpolicy.experiments.prober_streams import Dialogue, Event, LineStream

RATES = (0.1, 1000.0)
DURATIONS = (0.1, 3600.0)
TIMEOUTS = (0.05, 60.0)
CONNECTIONS = (1, 1000)
MOST_REQUESTS = 1_000_000
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
_START_SECONDS = 30.0
_EARLY = 0.1


class Tls(Struct, frozen=True, kw_only=True):
    """How to trust and be trusted: PEM texts; without `ca` the vantage point's own trust store."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True
    server_name: str = ""

    def __repr__(self) -> str:
        return f"Tls(server_name={self.server_name!r}, verify={self.verify})"


class Plan(Struct, frozen=True, kw_only=True):
    """What to request, how often, for how long.

    `rate` in requests per second; `duration`, the longest, and `timeout`, for the whole answer, in
    seconds. `connections` is `new` for one per request, or at most how many are kept: a request
    then waits for a free one, and is not sent again if the server closes it under its hands.
    Redirects are answers and are not followed. Of a `tcp://HOST:PORT` connections are opened only.
    """

    url: str
    rate: float = 50.0
    duration: float = 900.0
    timeout: float = 2.0
    connections: int | Literal["new"] = "new"
    method: str = "GET"
    headers: dict[str, str] = {}
    tls: Tls | None = None

    def __repr__(self) -> str:
        # Headers may hold credentials, which must not reach a report.
        return f"Plan(url={self.url!r}, rate={self.rate:g})"

    def check(self) -> None:
        """Raise `UsageError` naming a value that can't be, and what is allowed."""
        _check_url(self.url)
        _within("rate", self.rate, RATES, " requests/s")
        _within("duration", self.duration, DURATIONS, " s")
        _within("timeout", self.timeout, TIMEOUTS, " s")
        if self.connections != "new":
            _within("connections", self.connections, CONNECTIONS, ", or 'new'")
        if self.method not in _METHODS:
            raise UsageError(f"method {self.method!r} is none of {', '.join(_METHODS)}")
        if self.rate * self.duration > MOST_REQUESTS:
            raise UsageError(
                f"{self.rate:g} requests/s for {self.duration:g} s are more than"
                f" {MOST_REQUESTS:,} requests: choose a lower rate or a shorter duration"
            )
        for name, value in self.headers.items():
            if not name or any(sign in name + value for sign in "\r\n\0") or ":" in name:
                raise UsageError(f"header {name!r} can't be sent: it holds a colon or a line end")


class Progress(NamedTuple):
    """How far the traffic is: requests so far, failed ones, seconds."""

    sent: int
    failed: int
    elapsed: float


class Traffic:
    """Traffic that is going on. Ends with the `with` block, measured or not.

    Whatever makes the measurement incomplete raises `CannotLook`: the prober died or fell silent,
    its connection broke, or it ended before it was told to.
    """

    def __init__(self, plan: Plan, dialogue: Dialogue, vantage: str, started: Event) -> None:
        self.plan, self.vantage = plan, vantage
        self._dialogue = dialogue
        self._started = started.wall
        # Where 0 is on this machine's clock; each later line can only show that it was earlier.
        self._zero = started.arrived
        self._progress = Progress(0, 0, 0.0)
        self._marks: list[tuple[float, str]] = []
        self._ticks: list[Tick] = []
        self._result: Event | None = None
        # Whoever shows the progress asks from a thread of its own.
        self._taking = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dialogue.close()

    @property
    def progress(self) -> Progress:
        """How far it was when the prober last said so, once a second."""
        self._catch_up()
        return self._progress

    def mark(self, text: str) -> None:
        """Put an event on the timeline, as of now."""
        self._marks.append((time.monotonic(), text))

    def stop(self) -> Measurement:
        """End the traffic, wait for the open requests, and measure it."""
        now = time.monotonic()
        self._catch_up()
        if self._result is None:
            self._dialogue.tell("stop")
        result = self._awaited()
        before = now - self._zero - result.elapsed
        if result.ended != "stop" and before > _EARLY:
            raise CannotLook(
                f"the traffic ended {before:.1f} s before what it was to measure"
                f" ({_ENDS.get(result.ended, result.ended)} after {result.elapsed:.1f} s)"
            )
        return self._measured(result)

    def wait(self) -> Measurement:
        """Wait until the plan's duration is over, and measure it."""
        result = self._awaited()
        if result.ended != "duration":
            raise CannotLook(
                f"the traffic ended after {result.elapsed:.1f} of {self.plan.duration:g} s"
                f" ({_ENDS.get(result.ended, result.ended)})"
            )
        return self._measured(result)

    def _catch_up(self) -> None:
        with self._taking:
            if self._result is None:
                for event in self._dialogue.waiting():
                    if self._take(event):
                        break

    def _awaited(self) -> Event:
        with self._taking:
            while self._result is None:
                self._take(self._dialogue.next())
            return self._result

    def _take(self, event: Event) -> bool:
        """Take in what the prober said; whether it was the last."""
        if event.event == "progress":
            self._zero = min(self._zero, event.arrived - event.elapsed)
            self._progress = Progress(event.sent, event.failed, event.elapsed)
        elif event.event == "requests":
            self._ticks += _ticks(event, len(self._ticks), self.plan.rate)
        elif event.event == "result":
            self._result = event
        return self._result is not None

    def _measured(self, result: Event) -> Measurement:
        return measured(
            self._ticks,
            vantage=self.vantage,
            rate=self.plan.rate,
            connections=self.plan.connections,
            started=self._started,
            duration=result.elapsed,
            marks=[Mark(at - self._zero, text) for at, text in self._marks],
        )


_ENDS = {
    "duration": "its longest duration was over",
    "eof": "its input was cut",
    "signal": "somebody ended the prober",
    "stop": "it was told to stop",
}


def start(plan: Plan, stream: LineStream, vantage: str = "from this machine") -> Traffic:
    """Start traffic; returns when it flows. The stream's prober is used up by it.

    Raises `UsageError` for a plan that can't be, `CannotLook` if the prober does not start.
    """
    try:
        plan.check()
        dialogue = Dialogue(stream, {"kind": "traffic", **msgspec.to_builtins(plan)})
        started = dialogue.next(_START_SECONDS)
    except BaseException:
        stream.close()
        raise
    return Traffic(plan, dialogue, vantage, started)


def _ticks(event: Event, first: int, rate: float) -> list[Tick]:
    rows = zip(event.lateness_us, event.latency_us, event.outcome, strict=True)
    return [
        Tick((first + number) / rate, late / 1e6, took / 1e6, event.outcomes[outcome])
        for number, (late, took, outcome) in enumerate(rows)
    ]


def _within(name: str, value: Any, bounds: tuple[float, float], unit: str) -> None:
    low, high = bounds
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} {value!r} is not within {low:g} to {high:g}{unit}")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") or (parts.scheme == "tcp" and parts.port)
        usable = known and parts.hostname and parts.port != 0
    except ValueError as error:
        raise UsageError(f"url {url!r}: {error}") from None
    if not usable or any(sign <= " " for sign in url):
        raise UsageError(
            f"url {url!r} can't be requested: write http://HOST[:PORT]/PATH or tcp://HOST:PORT"
        )
    if parts.username is not None:
        raise UsageError(
            f"url of {parts.hostname} holds a user: give it in an Authorization header"
        )

"""What clients saw: requests, failures by class, outages, latency - and how well it was measured.

The definitions, which every figure of an experiment follows:

* A request is *due* at n/rate seconds; it counts at its *start*, the moment it was really sent.
  It fails by an error, by no whole answer within the timeout, or by a status of 400 or more.
* A failed request stands for the time from its start to the next request's start: nobody who asked
  in that time got an answer. An *outage* is a run of failed requests; it ends at the start of the
  first that succeeds. So a service that is away for 500 ms is measured as 500 ms, less or more than
  one tick, without bias: as much is missed before the first failure as is added after the last.
  Starts, not ends, because a slow answer to an earlier request is no service to a later one.
* *Downtime* is the sum of outages, the *longest gap* is the longest one.
* A tick that starts over 10 ms late was held up by the prober itself. Of a longer step between two
  requests at most one tick and 10 ms count as outage: nobody knows the rest, which is *blind* time.
* Latency is that of answered requests, from the actual start, so that lateness hides nothing;
  requests that were open while the prober was held up are left out.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import measurement_text

LATE = 0.010
UNSENT = "unsent"


class Tick(NamedTuple):
    """One request: seconds after the start when it was due, how much later it was sent, how long
    it took, and its failure: empty, a status, a class such as `refused`, or `unsent`.
    """

    due: float
    late: float
    took: float
    failure: str

    @property
    def start(self) -> float:
        """When it was sent."""
        return self.due + self.late


class Mark(NamedTuple):
    """Something that happened meanwhile, in seconds after the start."""

    at: float
    text: str


class Span(NamedTuple):
    """From when to when, in seconds after the start."""

    begin: float
    end: float


class Outage(NamedTuple):
    """A run of failed requests: from when, in seconds after the start, and for how many ms."""

    at: float
    ms: float
    requests: int

    @property
    def end(self) -> float:
        """When the first request after it started."""
        return self.at + self.ms / 1e3


class Measurement(Struct, frozen=True, kw_only=True, eq=False):
    """What one stretch of traffic showed; times in ms unless they are offsets in seconds.

    `vantage` says from where and to what. `requests` were sent; `late` ticks were not sent in time,
    `unsent` of them not at all; in the `blind` spans the prober itself was held up and saw nothing.
    Latencies are None if nothing was answered. `begin` is 0 unless it is a part of a measurement;
    `started` is the wall clock's time at 0, to find it in other logs.
    """

    vantage: str
    rate: float
    connections: int | Literal["new"]
    started: float
    begin: float
    duration: float
    ticks: Sequence[Tick]
    marks: tuple[Mark, ...]
    requests: int
    failed: int
    failures: dict[str, int]
    outages: tuple[Outage, ...]
    longest_gap_ms: float
    downtime_ms: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    late: int
    unsent: int
    blind: tuple[Span, ...]
    blind_ms: float

    def between(self, begin: float, end: float) -> "Measurement":
        """The part of the requests that were due within, in seconds after the start.

        Raises `CannotLook` if none was sent.
        """
        return measured(
            [tick for tick in self.ticks if begin <= tick.due < end],
            vantage=self.vantage,
            rate=self.rate,
            connections=self.connections,
            started=self.started,
            begin=begin,
            duration=max(0.0, min(end, self.begin + self.duration) - begin),
            marks=[mark for mark in self.marks if begin <= mark.at < end],
        )

    @property
    def timeline(self) -> str:
        """One line: dots, x where requests failed, ~ where the prober itself was held up."""
        return measurement_text.timeline(self)

    def __str__(self) -> str:
        return measurement_text.text(self)

    def __repr__(self) -> str:
        return str(self)


def measured(
    ticks: Sequence[Tick],
    *,
    vantage: str,
    rate: float,
    connections: int | Literal["new"],
    started: float,
    begin: float = 0.0,
    duration: float,
    marks: Iterable[Mark] = (),
) -> Measurement:
    """Work out the figures. Raises `CannotLook` if no request was sent."""
    sent = [tick for tick in ticks if tick.failure != UNSENT]
    if not sent:
        raise CannotLook(f"no request was sent in {duration:.1f} s: the prober was held up")
    outages = _outages(sent, 1 / rate)
    blind = _blind(sent, 1 / rate, ticks[0].due, begin + duration)
    latencies = _latencies(sent, [span.end for span in blind])
    return Measurement(
        vantage=vantage,
        rate=rate,
        connections=connections,
        started=started,
        begin=begin,
        duration=duration,
        ticks=ticks,
        marks=tuple(marks),
        requests=len(sent),
        failed=sum(1 for tick in sent if tick.failure),
        failures=dict(Counter(tick.failure for tick in sent if tick.failure).most_common()),
        outages=tuple(outages),
        longest_gap_ms=max((outage.ms for outage in outages), default=0.0),
        downtime_ms=math.fsum(outage.ms for outage in outages),
        p50_ms=_percentile(latencies, 0.5),
        p99_ms=_percentile(latencies, 0.99),
        max_ms=_percentile(latencies, 1.0),
        late=sum(1 for tick in ticks if tick.failure == UNSENT or tick.late > LATE),
        unsent=len(ticks) - len(sent),
        blind=tuple(blind),
        blind_ms=math.fsum(span.end - span.begin for span in blind) * 1e3,
    )


def _blind(sent: Sequence[Tick], period: float, begin: float, end: float) -> list[Span]:
    starts = [tick.start for tick in sent]
    due = [begin, *(start + period for start in starts)]
    steps = zip(due, [*starts, max(end, starts[-1])], strict=True)
    return [Span(awaited, start) for awaited, start in steps if start - awaited > LATE]


def _outages(sent: Sequence[Tick], period: float) -> list[Outage]:
    found: list[Outage] = []
    failing = False
    for tick, following in zip(sent, [*sent[1:], None], strict=True):
        if tick.failure:
            last = found.pop() if failing else Outage(tick.start, 0.0, 0)
            step = following.start - tick.start if following else period
            ms = last.ms + min(step, period + LATE) * 1e3
            found.append(Outage(last.at, ms, last.requests + 1))
        failing = bool(tick.failure)
    return found


def _latencies(sent: Sequence[Tick], wakings: Sequence[float]) -> list[float]:
    """In ms, sorted, without the requests that were open when the prober went on after a stall."""
    found = []
    for tick in sent:
        waking = bisect_right(wakings, tick.start)
        held_up = waking < len(wakings) and wakings[waking] <= tick.start + tick.took
        if not tick.failure and not held_up:
            found.append(tick.took * 1e3)
    return sorted(found)


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """By nearest rank: the least value that this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None

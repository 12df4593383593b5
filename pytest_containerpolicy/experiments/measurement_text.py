"""A measurement in words and as one line of time."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_containerpolicy.experiments.measurement import Measurement

_WIDTH = 76  # reports indent what they quote
_CELLS = 40
_CELLS_WITHOUT_TIMES = 60
_FINE, _FAILED, _BLIND = ".x~"
_ONE_IN = 1000
_WORDS = {"timeout": "connect timeout", "dns": "name lookup", "tls": "TLS", "other": "other error"}


def text(measurement: Measurement) -> str:
    """Totals, failures by class, latency, timeline, marks, and a warning where one is due."""
    lines = [_traffic(measurement), _failures(measurement), _latency(measurement)]
    lines = [line for whole in lines for line in textwrap.wrap(whole, _WIDTH)]
    lines.append(timeline(measurement))
    for mark in measurement.marks:
        lines += textwrap.wrap(f"{mark.at:6.1f}s {mark.text}", _WIDTH, subsequent_indent=" " * 8)
    for warning in _warnings(measurement):
        lines += textwrap.wrap(f"warning: {warning}", _WIDTH, subsequent_indent=" " * 9)
    return "\n".join(lines)


def span(ms: float | None) -> str:
    """A length of time as people say it."""
    if ms is None:
        return "-"
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"
    return f"{ms / 1000:.1f} s"


def timeline(measurement: Measurement) -> str:
    """At most 76 columns; with the times of changes if they fit in."""
    end = f"{measurement.begin + measurement.duration:.1f}s"
    start = f"{measurement.begin:.1f}s" if measurement.begin else "0s"
    timed = " ".join([start, *_timed(measurement), end])
    if len(timed) <= _WIDTH:
        return timed
    return f"{start} {''.join(_cells(measurement, _CELLS_WITHOUT_TIMES))} {end}"


def _timed(measurement: Measurement) -> list[str]:
    """The cells in stretches without and with failures, and between them when it changed."""
    cells, parts = _cells(measurement, _CELLS), []
    begin = 0
    for failing, stretch in groupby(cells, lambda cell: cell == _FAILED):
        shown = "".join(stretch)
        first, last = begin / len(cells), (begin + len(shown)) / len(cells)
        edges = _edges(measurement, first, last) if failing else None
        if edges and begin:
            parts.append(f"{edges[0]:.1f}s")
        parts.append(shown)
        begin += len(shown)
        if edges and begin < len(cells):
            parts.append(f"{edges[1]:.1f}s")
    return parts


def _edges(measurement: Measurement, first: float, last: float) -> tuple[float, float]:
    """When failures began and ended within a part of the measurement, given in shares of it."""
    begin = measurement.begin + first * measurement.duration
    end = measurement.begin + last * measurement.duration
    within = [o for o in measurement.outages if o.at < end and o.at + o.ms / 1e3 > begin]
    return within[0].at, within[-1].at + within[-1].ms / 1e3


def _cells(measurement: Measurement, most: int) -> list[str]:
    count = min(most, len(measurement.ticks))
    cells = [_FINE] * count

    def paint(begin: float, end: float, sign: str) -> None:
        scale = count / measurement.duration
        first = int((begin - measurement.begin) * scale)
        last = int((end - measurement.begin) * scale)
        for cell in range(max(first, 0), min(last, count - 1) + 1):
            cells[cell] = sign

    for blind in measurement.blind:
        paint(*blind, _BLIND)
    for outage in measurement.outages:
        paint(outage.at, outage.at + outage.ms / 1e3, _FAILED)
    return cells


def _traffic(measurement: Measurement) -> str:
    new = measurement.connections == "new"
    connections = "new connection each" if new else f"{measurement.connections} kept connections"
    return (
        f"{measurement.requests:,} requests at {measurement.rate:g}/s, {connections},"
        f" {measurement.vantage}"
    )


def _failures(measurement: Measurement) -> str:
    if not measurement.failed:
        return "0 failed"
    classes = ", ".join(f"{count:,} {_word(name)}" for name, count in measurement.failures.items())
    outages = len(measurement.outages)
    total = f" · {span(measurement.downtime_ms)} in {outages} outages" if outages > 1 else ""
    gap = f" · longest gap {span(measurement.longest_gap_ms)}"
    return f"{measurement.failed:,} failed: {classes}{gap}{total}"


def _word(failure: str) -> str:
    return f"status {failure}" if failure.isdigit() else _WORDS.get(failure, failure)


def _latency(measurement: Measurement) -> str:
    if measurement.p50_ms is None:
        return "nothing was answered"
    p50, p99, most = (span(ms) for ms in _percentiles(measurement))
    return f"answered in p50 {p50} · p99 {p99} · longest {most}"


def _percentiles(measurement: Measurement) -> tuple[float | None, ...]:
    return measurement.p50_ms, measurement.p99_ms, measurement.max_ms


def _warnings(measurement: Measurement) -> list[str]:
    found = []
    if measurement.late * _ONE_IN > len(measurement.ticks):
        found.append(
            f"the prober itself was late for {measurement.late:,} of"
            f" {len(measurement.ticks):,} ticks and blind for {span(measurement.blind_ms)} (~):"
            " what happened then is not known, and not counted as downtime"
        )
    if measurement.unsent:
        found.append(
            f"{measurement.rate:g}/s could not be kept: {measurement.unsent:,} requests were not"
            " sent; measure at a lower rate, or from where more CPU is free"
        )
    return found

"""A measurement in words and as one line of time."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_containerpolicy.experiments.measurement import Measurement, Outage

_WIDTH = 76  # reports indent what they quote
_CELLS = 40
_CELLS_WITHOUT_TIMES = 60
_ONE_IN = 1000
_WORDS = {"timeout": "connect timeout", "dns": "name lookup", "tls": "TLS", "other": "other error"}


def text(measurement: Measurement) -> str:
    """Totals, failures by class, latency, timeline, marks, and a warning where one is due."""
    lines = [_traffic(measurement), _failures(measurement), _latency(measurement)]
    lines = [line for whole in lines for line in wrapped(whole)]
    lines.append(timeline(measurement))
    for mark in measurement.marks:
        lines += wrapped(f"{mark.at:6.1f}s {mark.text}", " " * 8)
    for warning in _warnings(measurement):
        lines += wrapped(f"warning: {warning}", " " * 9)
    return "\n".join(lines)


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of at most 76 columns, the later ones indented; names of objects stay in one piece."""
    return textwrap.wrap(
        text,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def length(ms: float | None) -> str:
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
    cells = _cells(measurement, _CELLS_WITHOUT_TIMES)
    return f"{start} {''.join(cell.sign for cell in cells)} {end}"


def _timed(measurement: Measurement) -> list[str]:
    """The cells in stretches without and with failures, and between them when it changed."""
    cells, parts = _cells(measurement, _CELLS), []
    for failing, stretch in groupby(cells, lambda cell: bool(cell.outages)):
        shown = list(stretch)
        if failing and shown[0] is not cells[0]:
            parts.append(f"{shown[0].outages[0].at:.1f}s")
        parts.append("".join(cell.sign for cell in shown))
        if failing and shown[-1] is not cells[-1]:
            parts.append(f"{shown[-1].outages[-1].end:.1f}s")
    return parts


class _Cell:
    """One character of the timeline."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self.blind = False

    @property
    def sign(self) -> str:
        return "x" if self.outages else "~" if self.blind else "."


def _cells(measurement: Measurement, most: int) -> list[_Cell]:
    cells = [_Cell() for _ in range(min(most, len(measurement.ticks)))]
    scale = len(cells) / measurement.duration

    def covered(begin: float, end: float) -> list[_Cell]:
        first = max(0, int((begin - measurement.begin) * scale))
        last = int((end - measurement.begin) * scale)
        return cells[min(first, len(cells) - 1) : last + 1]

    for blind in measurement.blind:
        for cell in covered(*blind):
            cell.blind = True
    for outage in measurement.outages:
        for cell in covered(outage.at, outage.end):
            cell.outages.append(outage)
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
    total = f" · {length(measurement.downtime_ms)} in {outages} outages" if outages > 1 else ""
    gap = f" · longest gap {length(measurement.longest_gap_ms)}"
    return f"{measurement.failed:,} failed: {classes}{gap}{total}"


def _word(failure: str) -> str:
    return f"status {failure}" if failure.isdigit() else _WORDS.get(failure, failure)


def _latency(measurement: Measurement) -> str:
    if measurement.p50_ms is None:
        return "nothing was answered"
    p50, p99 = length(measurement.p50_ms), length(measurement.p99_ms)
    return f"answered in p50 {p50} · p99 {p99} · longest {length(measurement.max_ms)}"


def _warnings(measurement: Measurement) -> list[str]:
    found = []
    if measurement.late * _ONE_IN > len(measurement.ticks):
        found.append(
            f"the prober itself was late for {measurement.late:,} of"
            f" {len(measurement.ticks):,} ticks and blind for {length(measurement.blind_ms)} (~):"
            " what happened then is not known, and not counted as downtime"
        )
    if measurement.unsent:
        found.append(
            f"{measurement.rate:g}/s could not be kept: {measurement.unsent:,} requests were not"
            " sent; measure at a lower rate, or from where more CPU is free"
        )
    return found

"""Requests at a fixed rate, and what became of each."""

from __future__ import annotations

import array
import asyncio
import gc
import math
import time
from typing import Any

from pytest_containerpolicy.experiments.prober.ending import Ending
from pytest_containerpolicy.experiments.prober.web import client_of
from pytest_containerpolicy.experiments.prober.wire import UNSENT, Attempt, classify, clock, emit

HOPELESS = 0.250  # what starts later still is not sent: a burst is not the traffic asked for
IN_FLIGHT = 2000
LEAD = 0.050
PORTION = 5000
SWEEP = 0.1


class Traffic:
    """Requests at a fixed rate, each at its due time whether or not earlier ones were answered."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.rate, self.timeout = float(request["rate"]), float(request["timeout"])
        self.ticks = math.ceil(float(request["duration"]) * self.rate)
        self.client = client_of(request)
        self.open: set[asyncio.Task[None]] = set()
        self.outcomes: dict[str, int] = {"": 0, UNSENT: 1}
        self.lateness, self.latency = array.array("l"), array.array("l")
        self.outcome = array.array("H")
        self.failed = 0
        self.begun = clock() + LEAD

    async def run(self, ending: Ending) -> None:
        """Send until the last tick or until told to stop, then wait for what is open."""
        emit("started", wall=time.time() + LEAD)
        ticking = asyncio.ensure_future(self.tick())
        reporting = asyncio.ensure_future(self.report())
        sweeping = asyncio.ensure_future(sweep())
        ends: list[asyncio.Future[Any]] = [ticking, ending.told]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ending.tell("duration")
        elapsed = clock() - self.begun
        ticking.cancel()
        if self.open:
            await asyncio.wait(self.open)
        reporting.cancel()
        sweeping.cancel()
        self.hand_over()
        emit("result", ended=ending.told.result(), elapsed=round(elapsed, 6))

    async def tick(self) -> None:
        """Start each request when it is due; note those that can't be."""
        for number in range(self.ticks):
            due = self.begun + number / self.rate
            await asyncio.sleep(max(0.0, due - clock()))
            late = clock() - due
            self.lateness.append(round(late * 1e6))
            self.latency.append(0)
            self.outcome.append(self.outcomes[UNSENT])
            if late <= HOPELESS and len(self.open) < IN_FLIGHT:
                task = asyncio.ensure_future(self.ask(number, due))
                self.open.add(task)
                task.add_done_callback(self.open.discard)
        await asyncio.sleep(max(0.0, self.begun + self.ticks / self.rate - clock()))

    async def ask(self, number: int, due: float) -> None:
        """One request, from its actual start to the last byte of its answer."""
        start = clock()
        self.lateness[number] = round((start - due) * 1e6)
        attempt = Attempt(self.timeout)
        try:
            status, _ = await self.client.fetch(attempt)
            outcome = str(status) if status >= 400 else ""
        except (asyncio.CancelledError, Exception) as error:
            outcome = classify(error, attempt.stage)
        attempt.timer.cancel()
        self.latency[number] = round((clock() - start) * 1e6)
        self.outcome[number] = self.outcomes.setdefault(outcome, len(self.outcomes))
        self.failed += outcome not in ("", UNSENT)

    async def report(self) -> None:
        """Say once a second how far it is."""
        while True:
            await asyncio.sleep(1)
            sent, elapsed = len(self.outcome), round(clock() - self.begun, 6)
            emit("progress", sent=sent, failed=self.failed, elapsed=elapsed)

    def hand_over(self) -> None:
        """Every request in microseconds, in portions: number n was due n/rate after the start."""
        for first in range(0, len(self.outcome), PORTION):
            part = slice(first, first + PORTION)
            emit(
                "requests",
                outcomes=list(self.outcomes),
                outcome=self.outcome[part].tolist(),
                lateness_us=self.lateness[part].tolist(),
                latency_us=self.latency[part].tolist(),
            )


async def sweep() -> None:
    """Collect the garbage of closed connections in steps too short to hold up a tick."""
    while True:
        await asyncio.sleep(SWEEP)
        gc.collect()

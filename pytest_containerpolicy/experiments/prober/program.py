"""The prober's entry: read one request, do it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
from typing import Any

from pytest_containerpolicy.experiments.prober.ending import Ending
from pytest_containerpolicy.experiments.prober.listeners import listen
from pytest_containerpolicy.experiments.prober.reach import reach
from pytest_containerpolicy.experiments.prober.traffic import Traffic
from pytest_containerpolicy.experiments.prober.wire import emit


async def traffic(request: dict[str, Any], ending: Ending) -> None:
    """Requests at a fixed rate."""
    job = Traffic(request)
    hurry()
    await job.run(ending)


JOBS = {"traffic": traffic, "reach": reach, "listen": listen}


def main() -> None:
    """Do what the first argument or the first line of standard input asks for."""
    status = 0
    try:
        asyncio.run(perform())
    except Exception as error:  # whoever asked has no other way to learn of it
        emit("error", message=f"{type(error).__name__}: {error}")
        status = 1
    # A name server that does not answer must not hold up the end: its thread is left behind.
    os._exit(status)


async def perform() -> None:
    """Read the request and do it, undisturbed by the garbage collector."""
    by_argument = len(sys.argv) > 1
    request = json.loads(sys.argv[1] if by_argument else sys.stdin.buffer.readline())
    if request["kind"] not in JOBS:
        raise ValueError(f"kind {request['kind']!r} is none of {', '.join(JOBS)}")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    raise_file_limit()
    ending = Ending(by_argument)
    gc.collect()
    gc.freeze()
    gc.disable()
    await JOBS[request["kind"]](request, ending)


def hurry() -> None:
    """Go before other programs where that is allowed: on a busy machine ticks come in time.

    On a single processor it would go before the very service that it measures.
    """
    if (os.cpu_count() or 1) > 1:
        with contextlib.suppress(AttributeError, OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def raise_file_limit() -> None:
    """Allow as many open connections as the system lets this program have."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

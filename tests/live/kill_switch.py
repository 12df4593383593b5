"""A pytest plugin that kills its run with SIGKILL at one step of an experiment.

A step is a change: a write to the API server, an exec, a write to a Docker daemon, a run of
Compose. The run ends right after step `KILL_AT`: it has acted, and done nothing since.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import requests

from pytest_containerpolicy.experiments import compose_cli
from pytest_containerpolicy.targets.kubernetes_connection import Connection

_KILL_AT = int(os.environ["KILL_AT"])
_READING = ("GET", "HEAD")
# Threads may act at once: each has a step of its own.
_steps = itertools.count(1)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _killing(real: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        if not counts(*args):
            return real(*args, **kwargs)
        number = next(_steps)
        try:
            return real(*args, **kwargs)
        finally:
            if number == _KILL_AT:
                _die()

    return step


def _writes(_: object, method: str, *__: object) -> bool:
    return method.upper() not in _READING


Connection.send = _killing(Connection.send, _writes)  # type: ignore[method-assign]
Connection.websocket = _killing(Connection.websocket, lambda *_: True)  # type: ignore[method-assign]
requests.Session.request = _killing(  # type: ignore[method-assign]
    requests.Session.request, _writes
)
compose_cli.ComposeCli.run = _killing(  # type: ignore[method-assign]
    compose_cli.ComposeCli.run, lambda *_: True
)

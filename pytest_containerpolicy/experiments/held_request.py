"""A request that is open while its server is told to stop: is it still answered?"""

import threading
import time
from collections.abc import Callable
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.docker_lab import DockerLab
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, pod_path
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.kubernetes_failures import RequestFailed

# What a request needs at the most until it is open, through an API server or a prober's start, and
# what a platform needs until the signal arrives.
_HEAD_START = 1.0
_SHORTEST = 3 * _HEAD_START
_TIMEOUT = 120.0
_REFUSED = 3
_GET = """\
import sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2])) as answer:
        answer.read()
except Exception as error:
    reason = getattr(error, "reason", error)
    print(reason or type(error).__name__, file=sys.stderr)
    sys.exit(3 if isinstance(reason, ConnectionRefusedError) else 1)
"""
Send = Callable[[], str]


class SlowPath(Struct, frozen=True):
    """What is asked for: a path, with a query, that takes some seconds to answer, and its port."""

    port: int
    path: str
    query: dict[str, str]

    def __str__(self) -> str:
        return f"port {self.port}, {self.path}"

    @classmethod
    def of(cls, text: str, workload: Workload) -> "SlowPath":
        """From `/path?query`, with `:PORT` before it where the workload has several ports.

        Raises `CannotLook` if the port is not known.
        """
        parts = urlsplit(f"http://server{text}")
        ports = {p.number for c in workload.main_containers for p in c.ports if p.protocol == "TCP"}
        if parts.port is None and len(ports) != 1:
            raise CannotLook(
                f"{workload.ref} declares {len(ports)} TCP ports: write the one that takes"
                f" requests into slow_path, as in :8080{text}"
            )
        port = parts.port or ports.pop()
        return cls(port, parts.path or "/", dict(parse_qsl(parts.query)))

    def url(self, host: str) -> str:
        """Where it is on a host."""
        query = "&".join(f"{key}={value}" for key, value in self.query.items())
        return f"http://{host}:{self.port}{self.path}" + (f"?{query}" if query else "")


class HeldRequest:
    """One request that is open when the block starts; `outcome` waits for its end.

    `send` sends it and returns what went wrong, or nothing. `ended` is when that was, by the
    monotonic clock.
    """

    def __init__(self, send: Send, grace: float) -> None:
        """Send it once undisturbed. Raises `CannotLook` if its outcome would say nothing."""
        begun = time.monotonic()
        problem = send()
        took = time.monotonic() - begun
        if problem:
            raise CannotLook(f"slow_path fails even while nothing is stopped: {problem}")
        if not _SHORTEST <= took <= grace:
            raise CannotLook(
                f"slow_path is answered after {took:.1f} s: to be open while its server stops, and"
                f" to have a chance to end, it must take {_SHORTEST:g} s to {grace:g} s"
            )
        self._send = send
        self._problem: str | CannotLook | None = None
        self.ended: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._thread.join(_HEAD_START)
        if not self._thread.is_alive():
            raise CannotLook(f"slow_path was over too early: {self._problem or 'it was answered'}")
        return self

    def __exit__(self, *_: object) -> None:
        """It ends by itself: its server is stopped, and its client gives up at the latest."""

    def outcome(self) -> str:
        """What went wrong with it; empty if it was answered. Raises `CannotLook`."""
        self._thread.join(_TIMEOUT)
        if self._problem is None:
            raise CannotLook(f"slow_path had no outcome after {_TIMEOUT:g} s")
        if isinstance(self._problem, CannotLook):
            raise self._problem
        return self._problem

    def _run(self) -> None:
        try:
            self._problem = self._send()
        except CannotLook as gap:
            self._problem = gap
        self.ended = time.monotonic()


def through_api_server(lab: KubernetesLab, pod: Document, slow: SlowPath) -> Send:
    """Asks one pod itself, and no service in front of it; needs the right to get pods/proxy.

    The API server asks again when a connection that it kept is cut. So "connection refused", which
    would come at once had the request never been open, comes from its second try.
    """
    path = f"{pod_path(pod)}:{slow.port}/proxy{slow.path}"

    def send() -> str:
        try:
            for _ in lab.connection.follow(path, slow.query, _TIMEOUT):
                pass
        except RequestFailed as failure:
            return failure.message or failure.reason
        return ""

    return send


def from_prober(lab: DockerLab, prober: str, url: str) -> Send:
    """Asks one container from a prober in its network."""

    def send() -> str:
        argv = ["python3", "-c", _GET, url, f"{_TIMEOUT:g}"]
        output = lab.execute(prober, argv, seconds=_TIMEOUT)
        reason = output.err.strip().rpartition("\n")[2] or f"exit code {output.code}"
        if output.code == _REFUSED:
            raise CannotLook(f"slow_path was not open when its server stopped: {reason}")
        return reason if output.code else ""

    return send

"""What every request of the prober needs: deadlines, connections, and names for what fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LATE = 0.010  # what starts later than this was held up by the prober itself
SHARED_LOOKUP = 0.010
UNSENT = "unsent"
OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
REJECTED = (errno.EACCES, errno.EPERM)
TIMED_OUT = {"dns": "dns", "connect": "timeout", "datagram": "silent"}
clock = time.monotonic
lookups = ThreadPoolExecutor(256)


def emit(event: str, **values: Any) -> None:
    """Write one line for whoever asked; end at once if nobody listens any more."""
    try:
        sys.stdout.write(json.dumps({"event": event, **values}, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except OSError:
        os._exit(1)


def classify(error: BaseException, stage: str) -> str:
    """The class of a failure, in one or two words."""
    number = getattr(error, "errno", None)
    if isinstance(error, asyncio.CancelledError):
        return TIMED_OUT.get(stage, "no answer")
    if isinstance(error, socket.gaierror):
        return "dns"
    if isinstance(error, (asyncio.IncompleteReadError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "closed"
    if isinstance(error, (ssl.SSLError, ssl.CertificateError)):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionError, BrokenPipeError)):
        return "reset"
    if number in OWN_LIMITS:
        return UNSENT
    if number in NO_WAY + REJECTED:
        return "unreachable"
    return "timeout" if number == errno.ETIMEDOUT else "other"


class Attempt:
    """One try under a deadline, which the prober's own stalls put off once.

    After a stall answers may wait in the buffers: to give up at once would blame the service.
    """

    def __init__(self, timeout: float) -> None:
        self.stage = "dns"
        self.task = asyncio.current_task()
        self.deadline = clock() + timeout
        self.put_off = False
        self.timer = asyncio.get_running_loop().call_at(self.deadline, self.expire)

    def expire(self) -> None:
        """Cancel the task, unless it is the prober that was too late."""
        overdue = clock() - self.deadline
        if overdue > LATE and not self.put_off:
            self.put_off = True
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(max(overdue, 0.1), self.expire)
        elif self.task:
            self.task.cancel()


class Host:
    """A name or an address with a port. A name is looked up for each connection anew."""

    def __init__(self, name: str, port: int, kind: int = socket.SOCK_STREAM) -> None:
        self.name, self.port, self.kind = name, port, kind
        self.lookup: Any = None
        self.looked_up = 0.0
        self.numeric: list[Any] = []
        with contextlib.suppress(socket.gaierror):
            self.numeric = self.resolve(socket.AI_NUMERICHOST)

    def resolve(self, flags: int = 0) -> list[Any]:
        """Ask the system; this blocks."""
        found = socket.getaddrinfo(self.name, self.port, type=self.kind, flags=flags)
        return [(family, address) for family, _, _, _, address in found]

    async def addresses(self) -> list[Any]:
        """The pairs of family and address; one lookup serves all that start within 10 ms."""
        if self.numeric:
            return self.numeric
        if self.lookup is None or clock() - self.looked_up > SHARED_LOOKUP:
            self.looked_up = clock()
            loop = asyncio.get_running_loop()
            self.lookup = asyncio.ensure_future(loop.run_in_executor(lookups, self.resolve))
        return list(await asyncio.shield(self.lookup))

    async def connected(self, attempt: Attempt) -> socket.socket:
        """A socket connected to the first address that takes it."""
        attempt.stage = "dns"
        addresses = await self.addresses()
        attempt.stage = "connect"
        for family, address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await self.connected_to(family, address)
        return await self.connected_to(*addresses[-1])

    async def connected_to(self, family: int, address: Any) -> socket.socket:
        """A socket connected to one address."""
        sock = socket.socket(family, self.kind)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def opened(self, attempt: Attempt, tls: Any = None, server_name: str = "") -> Any:
        """A reader and a writer, through TLS if a context is given."""
        sock = await self.connected(attempt)
        attempt.stage = "tls"
        name = (server_name or self.name) if tls else None
        return await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=name)

"""HTTP/1.1 as the prober speaks it: small, fast, and strict about whole answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_containerpolicy.experiments.prober.wire import Attempt, Host

LINGER = 0.100  # who closes first keeps the port for a minute: leave that to the server
AT_ONCE = 0.020
READ_SIZE = 65536
Connection = Any  # a pair of asyncio.StreamReader and asyncio.StreamWriter


class Client:
    """HTTP/1.1 to one URL: on a new connection each, or on at most so many that are kept."""

    def __init__(self, request: dict[str, Any]) -> None:
        parts = urlsplit(request["url"])
        secure = parts.scheme == "https"
        self.host = Host(parts.hostname or "", parts.port or (443 if secure else 80))
        settings = request.get("tls") or {}
        self.tls = tls_context(settings) if secure else None
        self.server_name = settings.get("server_name", "")
        self.method = request.get("method") or "GET"
        kept = request.get("connections", "new")
        self.slots = None if kept == "new" else asyncio.Semaphore(int(kept))
        self.idle: list[Connection] = []
        headers = {"Host": parts.netloc, "User-Agent": "containerpolicy", "Accept": "*/*"}
        headers["Connection"] = "keep-alive" if self.slots else "close"
        given = request.get("headers") or {}
        replaced = {name.lower() for name in given}
        headers = {name: text for name, text in headers.items() if name.lower() not in replaced}
        path = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        lines = [f"{name}: {text}" for name, text in {**headers, **given}.items()]
        lines = [f"{self.method} {path} HTTP/1.1", *lines, "", ""]
        self.request = "\r\n".join(lines).encode("utf-8")

    async def fetch(self, attempt: Attempt) -> tuple[int, dict[str, str]]:
        """Status and headers, once the whole body has come."""
        attempt.stage = "queue"
        if self.slots is None:
            return await self.exchange(attempt)
        async with self.slots:
            return await self.exchange(attempt)

    async def exchange(self, attempt: Attempt) -> tuple[int, dict[str, str]]:
        """One request on a connection that is kept if it may be."""
        reader, writer = self.kept() or await self.host.opened(attempt, self.tls, self.server_name)
        attempt.stage = "answer"
        try:
            writer.write(self.request)
            status, headers, whole = await read_response(reader, self.method)
        except BaseException:
            writer.transport.abort()
            raise
        if self.slots and whole and "close" not in headers.get("connection", "").lower():
            self.idle.append((reader, writer))
        else:
            asyncio.get_running_loop().call_later(LINGER, writer.close)
        return status, headers

    def kept(self) -> Connection:
        """An idle connection that the server has not closed, if there is one."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.transport.is_closing():
                return reader, writer
            writer.close()
        return None


class Connector:
    """Opens connections only: what can be asked of a server that speaks no HTTP.

    One that is closed at once was taken by something before the server, a proxy, not by itself.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        parts = urlsplit(request["url"])
        self.host = Host(parts.hostname or "", parts.port or 0)

    async def fetch(self, attempt: Attempt) -> tuple[int, dict[str, str]]:
        """Nothing, once the connection stands."""
        reader, writer = await self.host.opened(attempt)
        attempt.stage = "answer"
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                if not await asyncio.wait_for(reader.read(1), AT_ONCE):
                    raise asyncio.IncompleteReadError(b"", 1)
        finally:
            writer.close()
        return 0, {}


def client_of(request: dict[str, Any]) -> Client | Connector:
    """Who asks a `tcp` URL, and any other."""
    return Connector(request) if request["url"].startswith("tcp:") else Client(request)


async def read_response(reader: Any, method: str) -> tuple[int, dict[str, str], bool]:
    """Status, headers, and whether the end of the body was marked within the connection."""
    status = 0
    while status < 200 and status != 101:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        if not head[0].startswith("HTTP/1."):
            raise ValueError("no HTTP/1")
        status = int(head[0].split()[1])
        fields = (line.partition(":") for line in head[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    if method == "HEAD" or status in (101, 204, 304):
        return status, headers, status != 101
    if "chunked" in headers.get("transfer-encoding", "").lower():
        await read_chunks(reader)
    elif "content-length" in headers:
        await read_exactly(reader, int(headers["content-length"]))
    else:
        while await reader.read(READ_SIZE):
            pass
        return status, headers, False
    return status, headers, True


async def read_chunks(reader: Any) -> None:
    """Read a chunked body and its trailers. https://www.rfc-editor.org/rfc/rfc9112#section-7.1"""
    size = 1
    while size:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size:
            await read_exactly(reader, size + 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


async def read_exactly(reader: Any, left: int) -> None:
    """Read and forget so many bytes. Raises `IncompleteReadError` if the connection ends before."""
    while left:
        data = await reader.read(min(left, READ_SIZE))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(data)


@lru_cache(maxsize=None)
def default_trust(names: bool = True) -> ssl.SSLContext:
    """A context with the default trust store, which compares `names` or does not.

    To load it takes long enough to hold up ticks.
    """
    context = ssl.create_default_context()
    context.check_hostname = names
    return context


def tls_context(settings: dict[str, Any]) -> ssl.SSLContext:
    """A context from PEM texts: `ca`, `cert` and `key`; `verify` False trusts any server."""
    if not settings:
        return default_trust()
    context = ssl.create_default_context(cadata=settings.get("ca") or None)
    if not settings.get("verify", True):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.get("cert"):
        with readable(settings["cert"] + "\n" + settings.get("key", "")) as path:
            context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def readable(text: str) -> Iterator[str]:
    """A path where a text can be read; in memory where possible, as pods may have no disk."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("tls"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    handle, path = tempfile.mkstemp()
    with os.fdopen(handle, "w") as file:
        file.write(text)
    yield path
    Path(path).unlink()

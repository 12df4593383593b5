"""Listeners that answer with a nonce: proof that a packet can come through where none should."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from typing import Any

from pytest_containerpolicy.experiments.prober.ending import Ending
from pytest_containerpolicy.experiments.prober.wire import emit

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


async def listen(request: dict[str, Any], ending: Ending) -> None:
    """Answer on all addresses until the time is over, then say how often each port was asked."""
    nonce = request.get("nonce") or secrets.token_hex(8)
    listeners = [Listener(nonce, **port) for port in request["ports"]]
    for listener in listeners:
        await listener.start()
    emit("listening", nonce=nonce, ports=[listener.state() for listener in listeners])
    await asyncio.wait({ending.told}, timeout=float(request["seconds"]))
    ending.tell("duration")
    emit("result", ended=ending.told.result(), ports=[listener.state() for listener in listeners])


class Listener(asyncio.DatagramProtocol):
    """One port. Port 0 is one that is free."""

    def __init__(self, nonce: str, protocol: str, port: int) -> None:
        self.nonce = nonce.encode()
        self.protocol = protocol
        self.socket = bound(KINDS[protocol], port)
        self.asked = 0
        self.transport: Any = None

    async def start(self) -> None:
        """Answer from now on."""
        if self.protocol == "tcp":
            await asyncio.start_server(self.serve, sock=self.socket)
        else:
            loop = asyncio.get_running_loop()
            await loop.create_datagram_endpoint(lambda: self, sock=self.socket)

    def state(self) -> dict[str, Any]:
        """The port, and how often it was asked."""
        port = self.socket.getsockname()[1]
        return {"protocol": self.protocol, "port": port, "asked": self.asked}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, and let the peer close it: to close first may lose the answer."""
        self.asked += 1
        with contextlib.suppress(OSError):
            writer.write(self.nonce)
            writer.write_eof()
            while await reader.read(65536):
                pass
        writer.close()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        self.transport.sendto(self.nonce, addr)


def bound(kind: int, port: int) -> socket.socket:
    """A socket on all addresses, of both families where there are two."""
    try:
        sock = unbound(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", port))
    except OSError:
        sock = unbound(socket.AF_INET, kind)
        sock.bind(("0.0.0.0", port))
    sock.setblocking(False)
    return sock


def unbound(family: int, kind: int) -> socket.socket:
    """A socket that may take a port of which only closed connections are left."""
    sock = socket.socket(family, kind)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock

"""A TCP server on loopback that treats its clients in whatever way a test needs."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Treatment = Callable[[socket.socket], None]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_BACKLOG = 512


class TcpServer:
    """Each connection is treated in a thread of its own, and closed after."""

    def __init__(self, treat: Treatment) -> None:
        self._treat = treat
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self._accept()

    def away(self, seconds: float) -> float:
        """Listen to nobody for a while; for how many ms it really was."""
        begun = time.monotonic()
        self.close()
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=_BACKLOG)
        took = time.monotonic() - begun
        self._accept()
        return took * 1e3

    def close(self) -> None:
        """Listen no more."""
        # A thread in accept() keeps a closed socket listening: wake it first.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self._treat(connection)


@contextlib.contextmanager
def tcp_server(treat: Treatment) -> Iterator[TcpServer]:
    """Serve on a free port of 127.0.0.1 until the context ends."""
    server = TcpServer(treat)
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.close()


def saying(answer: bytes, after: float = 0.0) -> Treatment:
    """Answers one request with these bytes, `after` so many seconds."""

    def treat(connection: socket.socket) -> None:
        connection.recv(65536)
        time.sleep(after)
        connection.sendall(answer)

    return treat


def keeping(answer: bytes) -> Treatment:
    """Answers each request of a connection with these bytes."""

    def treat(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(answer)

    return treat


def silent(connection: socket.socket) -> None:
    """Takes the request and never answers."""
    while connection.recv(65536):
        pass


def resetting(connection: socket.socket) -> None:
    """Takes the request and breaks the connection."""
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port on 127.0.0.1 where connections neither succeed nor fail: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


@contextlib.contextmanager
def https_server(folder: Path, anybody: bool = False) -> Iterator[str]:
    """HTTPS on loopback, for clients with a certificate of the same authority or for anybody."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.verify_mode = ssl.CERT_NONE if anybody else ssl.CERT_REQUIRED

    def treat(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65536)
            secured.sendall(WHOLE)

    with tcp_server(treat) as server:
        yield server.url.replace("http:", "https:")

"""A TCP port in front of a daemon's socket, with TLS as of `dockerd --tlsverify` or without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.testbed.shell import run


def make_certificates(folder: Path) -> Path:
    """`ca.pem`, and `cert.pem` with `key.pem` that serve both server and client at 127.0.0.1."""
    folder.mkdir()
    name = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj"]
    run("openssl", "req", "-x509", *name, "/CN=ca", *_to(folder, "ca-key.pem", "ca.pem"))
    run("openssl", "req", *name, "/CN=127.0.0.1", *_to(folder, "key.pem", "request.pem"))
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    authority: list[str | Path] = [
        "-CA",
        folder / "ca.pem",
        "-CAkey",
        folder / "ca-key.pem",
        "-CAcreateserial",
    ]
    request: list[str | Path] = ["-in", folder / "request.pem", "-extfile", folder / "names"]
    run("openssl", "x509", "-req", "-days", "1", *authority, *request, "-out", folder / "cert.pem")
    return folder


def _to(folder: Path, key: str, certificate: str) -> list[str | Path]:
    return ["-keyout", folder / key, "-out", folder / certificate]


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS that shows its certificate and wants one of the same authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.contextmanager
def proxied(target: Path, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port on 127.0.0.1 that leads to the socket until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, target, tls), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, target: Path, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_connect, args=(connection, target, tls), daemon=True).start()


def _connect(near: socket.socket, target: Path, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as far:
        near = tls.wrap_socket(near, server_side=True) if tls else near
        far.connect(str(target))
        threading.Thread(target=_pump, args=(near, far), daemon=True).start()
        _pump(far, near)
    near.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

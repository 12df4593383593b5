"""Probes of every kind against real sockets, and listeners that answer them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.prober_streams import LocalStream
from pytest_containerpolicy.experiments.reach import Found, Probe, ask, listening
from tests.live.tls_proxy import make_certificates
from tests.loopback_tcp import (
    WHOLE,
    deaf_port,
    https_server,
    resetting,
    saying,
    silent,
    tcp_server,
)


def test_a_request_that_is_no_request() -> None:
    """The prober itself refuses what it does not know."""
    probe = Probe(id="a", protocol="smtp", host="127.0.0.1", port=1)  # type: ignore[arg-type]
    with pytest.raises(CannotLook, match="no protocol 'smtp'"):
        ask(LocalStream(), [probe])


def test_reach() -> None:
    """Every kind of probe with every outcome that loopback has, all at once."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listening(LocalStream(), [("tcp", 0), ("udp", 0)]))
        tcp, udp = (port.port for port in listener.ports)
        web = stack.enter_context(tcp_server(saying(WHOLE))).port
        mute = stack.enter_context(tcp_server(silent)).port
        broken = stack.enter_context(tcp_server(resetting)).port
        deaf = stack.enter_context(deaf_port())
        quiet = stack.enter_context(quiet_datagrams())
        probes = [
            at("open", "tcp", tcp),
            at("answered", "tcp", tcp, payload="hello"),
            at("closed", "tcp", stack.enter_context(tcp_server(saying(b""))).port, payload="x"),
            at("no answer", "tcp", mute, payload="x"),
            at("reset", "tcp", broken, payload="x"),
            at("refused", "tcp", 1, attempts=2),
            at("timeout", "tcp", deaf),
            Probe(id="dns", protocol="tcp", host="nobody.invalid", port=80, timeout=5.0),
            at("answered udp", "udp", udp),
            at("refused udp", "udp", 1),
            at("silent", "udp", quiet, attempts=2),
            at("answered http", "http", web),
            at("no answer http", "http", mute),
            at("tls", "tls", web),
            Probe(id="resolved", protocol="dns", name="localhost", timeout=5.0),
            Probe(id="failed", protocol="dns", name="nobody.invalid", timeout=5.0),
            at("refused dns", "dns", 1, name="web.example"),
            at("silent dns", "dns", quiet, name="web.example"),
        ]
        found = ask(LocalStream(), probes)
        asked = listener.stop()
    assert [probe.id.split(" udp")[0].split(" http")[0].split(" dns")[0] for probe in probes] == [
        one.outcome for one in found
    ]
    by_id = {one.id: one for one in found}
    assert listener.nonce == by_id["answered"].detail.answer.decode()
    assert listener.nonce == by_id["answered udp"].detail.answer.decode()
    assert [2, 1] == [port.asked for port in asked]
    assert [2, 2, 1] == [by_id[name].attempts for name in ("refused", "silent", "open")]
    assert (200, ("content-length",)) == status_and_headers(by_id["answered http"])
    assert "127.0.0.1" in by_id["resolved"].detail.addresses
    assert by_id["failed"].detail.reason


def test_reach_shows_certificates(tmp_path: Path) -> None:
    """The certificate is shown though nobody trusts it, why nobody does, and for whom it is."""
    folder = make_certificates(tmp_path / "tls")
    with https_server(folder, anybody=True) as url:
        port = urlsplit(url).port or 0
        right, wrong = (
            at("right", "tls", port),
            at("wrong", "tls", port, server_name="shop.example"),
        )
        found, other = ask(LocalStream(), [right, wrong])
    shown = ssl.DER_cert_to_PEM_cert(found.detail.certificate)
    assert (folder / "cert.pem").read_text().strip() == shown.strip()
    assert ("open", False) == (found.outcome, found.detail.verified)
    assert "self-signed certificate" in found.detail.reason
    assert (True, ("127.0.0.1",), False) == (
        found.detail.matches,
        found.detail.names,
        found.detail.expired,
    )
    assert 0 < (found.detail.not_after or 0.0) - time.time() <= 86400
    assert ("open", False, ("127.0.0.1",)) == (
        other.outcome,
        other.detail.matches,
        other.detail.names,
    )


def test_reach_trusts_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no name is asked for, trust does not depend on the address that leads there."""
    folder = make_certificates(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    with https_server(folder, anybody=True) as url:
        port = urlsplit(url).port or 0
        any_name = Probe(id="any", protocol="tls", host="localhost", port=port)
        found, other = ask(
            LocalStream(), [any_name, at("other", "tls", port, server_name="x.test")]
        )
    assert ("open", True) == (found.outcome, found.detail.verified)
    assert ("open", False) == (other.outcome, other.detail.verified)


def test_reach_tells_expired_certificates(tmp_path: Path) -> None:
    """A certificate that is over is told, whoever signed it."""
    folder = make_certificates(tmp_path / "tls")
    expire(folder)
    with https_server(folder, anybody=True) as url:
        (found,) = ask(LocalStream(), [at("old", "tls", urlsplit(url).port or 0)])
    assert ("open", False, True) == (found.outcome, found.detail.verified, found.detail.expired)


def test_reach_asks_a_name_server() -> None:
    """A name is asked of one server, and its addresses taken from its answer."""
    with quiet_datagrams(answering=True) as port:
        probes = [
            at("web", "dns", port, name="web.example"),
            at("none", "dns", port, name="none.example"),
        ]
        web, none = ask(LocalStream(), probes)
    assert ("resolved", ("10.1.2.3",)) == (web.outcome, web.detail.addresses)
    assert ("failed", 3) == (none.outcome, none.detail.rcode)


def test_a_port_that_is_taken() -> None:
    """A listener that can't listen is no control."""
    with tcp_server(silent) as server:
        control = listening(LocalStream(), [("tcp", server.port)])
        with pytest.raises(CannotLook, match="in use"), control:
            pass


def at(id_: str, protocol: str, port: int, **values: object) -> Probe:
    """A quick probe of loopback."""
    return Probe(
        id=id_,
        protocol=protocol,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=port,
        **{"timeout": 0.5, **values},  # type: ignore[arg-type]
    )


def status_and_headers(found: Found) -> tuple[int | None, tuple[str, ...]]:
    """What an HTTP probe tells."""
    return found.detail.status, found.detail.headers


def expire(folder: Path) -> None:
    """Sign the certificate anew, so that it ended long ago."""
    (folder / "db").touch()
    (folder / "serial").write_text("01\n")
    settings = "database=db", "serial=serial", "policy=p", "unique_subject=no"
    (folder / "ca.conf").write_text("\n".join(["[a]", *settings, "[p]", "commonName=supplied"]))
    signing = ["openssl", "ca", "-config", "ca.conf", "-name", "a", "-batch", "-notext"]
    authority = ["-cert", "ca.pem", "-keyfile", "ca-key.pem", "-md", "sha256"]
    dates = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]
    files = ["-in", "request.pem", "-extfile", "names", "-outdir", ".", "-out", "cert.pem"]
    subprocess.run(
        [*signing, *authority, *dates, *files], cwd=folder, check=True, capture_output=True
    )


@contextlib.contextmanager
def quiet_datagrams(answering: bool = False) -> Iterator[int]:
    """A UDP port that takes everything and says nothing, or answers as a name server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        if answering:
            threading.Thread(target=answer_names, args=(sock,), daemon=True).start()
        yield int(sock.getsockname()[1])


def answer_names(sock: socket.socket) -> None:
    """10.1.2.3 for web.example, and no such name for others."""
    for _ in range(2):
        query, sender = sock.recvfrom(4096)
        known = b"\x03web\x07example\x00" in query
        flags = b"\x81\x80\x00\x01\x00\x01" if known else b"\x81\x83\x00\x01\x00\x00"
        record = bytes.fromhex("c00c 0001 0001 0000003c 0004 0a010203") if known else b""
        sock.sendto(query[:2] + flags + b"\0\0\0\0" + query[12:] + record, sender)

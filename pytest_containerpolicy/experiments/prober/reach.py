"""Probes: is this port open, does this name resolve, which certificate is shown - from here."""

from __future__ import annotations

import asyncio
import base64
import secrets
import socket
import ssl
import struct
from typing import Any

from pytest_containerpolicy.experiments.prober.ending import Ending
from pytest_containerpolicy.experiments.prober.web import Client, default_trust
from pytest_containerpolicy.experiments.prober.wire import (
    Attempt,
    Host,
    classify,
    clock,
    emit,
    lookups,
)

Found = Any  # an outcome and its details
SUCCESS = ("open", "answered", "resolved")
ANSWER_SIZE = 512
HARMLESS = "containerpolicy\n"
IPV4_RECORD = 1
PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN since Python 3.10
OTHER_NAME, EXPIRED = (62, 64), 10  # https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/


async def reach(request: dict[str, Any], _: Ending) -> None:
    """All probes at once, or so many at a time; their results in their order."""
    for one in request["probes"]:
        if one["protocol"] not in PROTOCOLS:
            raise ValueError(f"no protocol {one['protocol']!r}, only {', '.join(PROTOCOLS)}")
    if any(one["protocol"] == "tls" or "https:" in one.get("url", "") for one in request["probes"]):
        default_trust()
        default_trust(names=False)
    slots = asyncio.Semaphore(int(request.get("concurrency", 64)))
    emit("result", probes=await asyncio.gather(*(tried(one, slots) for one in request["probes"])))


async def tried(one: dict[str, Any], slots: asyncio.Semaphore) -> dict[str, Any]:
    """One probe, tried again until it succeeds or its attempts are used up."""
    attempts, most = 0, int(one.get("attempts", 1))
    async with slots:
        while True:
            attempts, begun = attempts + 1, clock()
            outcome, detail = await once(one)
            if outcome in SUCCESS or attempts >= most:
                took = round((clock() - begun) * 1e3, 3)
                found = {"id": one["id"], "outcome": outcome, "ms": took}
                return {**found, "attempts": attempts, "detail": detail}


async def once(one: dict[str, Any]) -> Found:
    """Outcome and details of one try."""
    attempt = Attempt(float(one.get("timeout", 2.0)))
    try:
        return await PROTOCOLS[one["protocol"]](one, attempt)
    except (asyncio.CancelledError, Exception) as error:
        reason = str(error)
        return classify(error, attempt.stage), {"reason": reason} if reason else {}
    finally:
        attempt.timer.cancel()


async def tcp(one: dict[str, Any], attempt: Attempt) -> Found:
    """Open a connection; with a payload, send it and wait for a first answer."""
    reader, writer = await Host(one["host"], one["port"]).opened(attempt)
    try:
        if not one.get("payload"):
            return "open", {}
        attempt.stage = "answer"
        writer.write(one["payload"].encode())
        data = await reader.read(ANSWER_SIZE)
        return ("answered", {"answer": text_of(data)}) if data else ("closed", {})
    finally:
        writer.close()


async def udp(one: dict[str, Any], attempt: Attempt) -> Found:
    """Send a datagram and wait for one."""
    payload = (one.get("payload") or HARMLESS).encode()
    return "answered", {"answer": text_of(await datagram(one, payload, attempt))}


async def datagram(one: dict[str, Any], payload: bytes, attempt: Attempt) -> bytes:
    """What comes back for a datagram. Raises `ConnectionRefusedError` if the port is closed."""
    loop = asyncio.get_running_loop()
    sock = await Host(one["host"], one["port"], socket.SOCK_DGRAM).connected(attempt)
    try:
        attempt.stage = "datagram"
        await loop.sock_sendall(sock, payload)
        return await loop.sock_recv(sock, 4096)
    finally:
        loop.remove_reader(sock)
        sock.close()


async def dns(one: dict[str, Any], attempt: Attempt) -> Found:
    """Resolve a name as programs here do or, if a host is given, ask that server."""
    attempt.stage = "connect"
    if one.get("host"):
        return await ask_server(one, attempt)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(lookups, socket.getaddrinfo, one["name"], None)
    except socket.gaierror as error:
        return "failed", {"reason": str(error)}
    return "resolved", {"addresses": sorted({str(entry[4][0]) for entry in found})}


async def ask_server(one: dict[str, Any], attempt: Attempt) -> Found:
    """Ask a DNS server for a name's IPv4 addresses, without search domains.

    https://www.rfc-editor.org/rfc/rfc1035#section-4.1
    """
    number = secrets.token_bytes(2)
    labels = [label.encode("idna") for label in one["name"].rstrip(".").split(".")]
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    query = number + struct.pack(">5H", 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    answer = await datagram({**one, "port": one.get("port") or 53}, query, attempt)
    if len(answer) < 12 or answer[:2] != number:
        raise ValueError("no DNS answer")
    addresses = addresses_in(answer)
    if not addresses:
        return "failed", {"rcode": answer[3] & 15}
    return "resolved", {"addresses": addresses}


def addresses_in(answer: bytes) -> list[str]:
    """The IPv4 addresses in a DNS answer."""
    (count,) = struct.unpack_from(">H", answer, 6)
    place = after_name(answer, 12) + 4
    found = []
    for _ in range(count):
        place = after_name(answer, place)
        if place + 10 > len(answer):
            raise ValueError("cut DNS answer")
        kind, _, _, size = struct.unpack_from(">2HIH", answer, place)
        place += 10
        if kind == IPV4_RECORD:
            found.append(socket.inet_ntoa(answer[place : place + size]))
        place += size
    return sorted(found)


def after_name(answer: bytes, place: int) -> int:
    """Where a name, possibly compressed, ends."""
    while place < len(answer) and answer[place]:
        if answer[place] >= 0xC0:
            return place + 2
        place += answer[place] + 1
    return place + 1


async def tls(one: dict[str, Any], attempt: Attempt) -> Found:
    """The certificate that is shown, and whether the default trust store accepts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, name = Host(one["host"], one["port"]), one.get("server_name", "")
    _, writer = await host.opened(attempt, context, name)
    shown = writer.get_extra_info("ssl_object")
    der = shown.getpeercert(True)
    detail = {"certificate": text_of(der), "version": shown.version()}
    writer.transport.abort()
    detail.update(await verification(host, name, attempt))
    return "open", {**detail, **await contents(host, name, der, attempt)}


async def verification(host: Host, name: str, attempt: Attempt) -> dict[str, Any]:
    """Whether a client with the default trust store would go on, and why not.

    Without a name nothing is compared: clients know such a server by names that are not known here.
    """
    try:
        _, writer = await host.opened(attempt, default_trust(names=bool(name)), name)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or str(error)
        return {"verified": False, "reason": reason}
    writer.transport.abort()
    return {"verified": True}


async def contents(host: Host, name: str, der: bytes, attempt: Attempt) -> dict[str, Any]:
    """Names and dates, whoever signed it: `ssl` tells them of certificates that it trusts.

    So this one alone is trusted, first for clients that compare the name, then for any.
    """
    for matches in (True, False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = matches
        context.verify_flags |= PARTIAL_CHAIN
        context.load_verify_locations(cadata=der)
        try:
            _, writer = await host.opened(attempt, context, name)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code not in OTHER_NAME:
                return {"expired": True} if error.verify_code == EXPIRED else {}
            continue
        found = writer.get_extra_info("peercert")
        writer.transport.abort()
        names = [str(value) for _, value in found.get("subjectAltName", ())]
        until = ssl.cert_time_to_seconds(found["notAfter"])
        return {"matches": matches, "names": names, "not_after": until, "expired": False}
    return {}


async def http(one: dict[str, Any], attempt: Attempt) -> Found:
    """GET a URL: status and the headers' names. Their values may be secrets and stay here."""
    url = one.get("url") or f"http://{bracketed(one['host'])}:{one['port']}/"
    status, headers = await Client({**one, "url": url}).fetch(attempt)
    return "answered", {"status": status, "headers": sorted(headers)}


def bracketed(host: str) -> str:
    """A host as URLs spell it."""
    return f"[{host}]" if ":" in host else host


def text_of(data: bytes) -> str:
    """Bytes, so that JSON can hold them."""
    return base64.b64encode(data).decode()


PROTOCOLS = {"tcp": tcp, "udp": udp, "dns": dns, "tls": tls, "http": http}

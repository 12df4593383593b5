"""What can be reached from where a prober runs: ports, names, certificates; and what answers it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.prober_streams import Dialogue, LineStream
from pytest_containerpolicy.experiments.traffic import Tls
from pytest_containerpolicy.targets.decoders import decoder

Answer = TypeVar("Answer")
_UNSENT = "unsent"
_START_SECONDS = 30.0


class Probe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question. `timeout` in seconds for each of the `attempts`; the first success counts.

    protocol  asks                                     outcomes
    tcp       host, port                               open
              with a payload, sent and then waited     answered, closed, no answer
    udp       host, port; payload                      answered, silent
    dns       name, as programs there resolve it       resolved, failed
              name of the server host:port (53)        resolved, failed, silent
    tls       host, port; server_name                  open, tls, no answer
    http      host, port, or url                       answered, closed, no answer

    and each: refused, timeout, unreachable, reset, dns (the host's name), other.
    """

    id: str
    protocol: Literal["tcp", "udp", "dns", "tls", "http"]
    host: str = ""
    port: int = 0
    name: str = ""
    server_name: str = ""
    url: str = ""
    payload: str = ""
    headers: dict[str, str] = {}
    tls: Tls | None = None
    timeout: float = 2.0
    attempts: int = 1

    def __repr__(self) -> str:
        # Headers may hold credentials, which must not reach a report.
        return f"Probe({self.id!r}, {self.protocol!r})"


class Detail(Struct, frozen=True, kw_only=True):
    """What else came to light.

    `answer` starts what came back; `rcode` is the DNS server's; `certificate` is DER; `verified`
    tells whether the vantage point's trust store takes it, `reason` why not. Whoever signed it,
    `matches` is whether it is for the server's name, `names` are those that it is for, `not_after`
    is its end in seconds since 1970. `headers` are only the names. None: not known.
    """

    reason: str = ""
    answer: bytes = b""
    addresses: tuple[str, ...] = ()
    rcode: int | None = None
    certificate: bytes = b""
    version: str = ""
    verified: bool | None = None
    matches: bool | None = None
    names: tuple[str, ...] = ()
    not_after: float | None = None
    expired: bool | None = None
    status: int | None = None
    headers: tuple[str, ...] = ()


class Found(Struct, frozen=True, kw_only=True):
    """The outcome of one probe; `ms` of its last attempt."""

    id: str
    outcome: str
    ms: float
    attempts: int
    detail: Detail


class Listening(Struct, frozen=True, kw_only=True):
    """A port that answers; `asked` how often so far."""

    protocol: Literal["tcp", "udp"]
    port: int
    asked: int = 0


class Listener:
    """Ports that answer every connection and datagram with `nonce`."""

    def __init__(self, dialogue: Dialogue, seconds: float) -> None:
        self._dialogue, self._seconds = dialogue, seconds
        first = dialogue.next(_START_SECONDS)
        self.nonce = first.nonce
        self.ports = _typed(first.ports, list[Listening])

    def stop(self) -> list[Listening]:
        """End it; how often each port was asked. Raises `CannotLook` if it ended before."""
        self._dialogue.tell("stop")
        result = self._dialogue.next()
        if result.ended != "stop":
            raise CannotLook(f"the listener ended before it was told to, after {self._seconds:g} s")
        return _typed(result.ports, list[Listening])


# Threads convert to them at once, which msgspec survives only for what it knows: see `decoders`.
for _kind in (list[Found], list[Listening]):
    decoder(_kind)


def ask(stream: LineStream, probes: Sequence[Probe], concurrency: int = 64) -> list[Found]:
    """All probes at once, or `concurrency` at a time; their outcomes in their order.

    Raises `CannotLook` if the prober can't tell; the stream's prober is used up by it.
    """
    request = {"kind": "reach", "probes": probes, "concurrency": concurrency}
    try:
        result = Dialogue(stream, msgspec.to_builtins(request)).next(_longest(probes, concurrency))
    finally:
        stream.close()
    found = _typed(result.probes, list[Found])
    if [probe.id for probe in probes] != [one.id for one in found]:
        raise CannotLook("the prober answered other probes than it was asked")
    if starved := [one.id for one in found if one.outcome == _UNSENT]:
        raise CannotLook(f"the prober could not open sockets for {len(starved)} probes")
    return found


@contextmanager
def listening(
    stream: LineStream, ports: Sequence[tuple[str, int]], seconds: float = 600.0
) -> Iterator[Listener]:
    """Answer on (protocol, port) pairs as long as the block lasts; port 0 takes a free one.

    Raises `CannotLook` if a port is taken or the prober does not start.
    """
    wanted = [{"protocol": protocol, "port": port} for protocol, port in ports]
    try:
        dialogue = Dialogue(stream, {"kind": "listen", "ports": wanted, "seconds": seconds})
        yield Listener(dialogue, seconds)
    finally:
        stream.close()


def _longest(probes: Sequence[Probe], concurrency: int) -> float:
    """How long the prober may take: at worst a deadline is put off by as long again."""
    slowest = sum(probe.timeout * probe.attempts for probe in probes)
    longest = max((probe.timeout * probe.attempts for probe in probes), default=0.0)
    return _START_SECONDS + 2 * max(longest, slowest / concurrency)


def _typed(value: list[object], kind: type[Answer]) -> Answer:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise CannotLook(f"the prober's answer makes no sense: {error}") from None

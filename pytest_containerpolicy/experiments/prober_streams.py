"""How to talk to a prober, wherever it runs: lines in, lines out, and no silence unnoticed."""

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any, Protocol, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.targets.decoders import decoder

SILENCE_SECONDS = 15.0
_SHOWN = 200
_LAST = ("result", "error")
_END_SECONDS = 5.0


class LineStream(Protocol):
    """The standard input and output of one running prober, `python3 -c` with `source()`."""

    def write_line(self, line: str, /) -> None:
        """Send one line."""

    def lines(self) -> Iterator[str]:
        """Each line that comes, to the end of the program.

        Raises `CannotLook` where it is known why the program ended or the connection broke.
        """

    def close(self) -> None:
        """End the program, and with it `lines`."""


class LocalStream:
    """A prober on this machine, in a process of its own.

    In the process of pytest its ticks would wait for whatever else holds the interpreter.
    """

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        # A session of its own: Ctrl-C is for pytest, which then stops the measurement.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", source()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._input = cast(IO[str], self._process.stdin)
        self._output = cast(IO[str], self._process.stdout)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def write_line(self, line: str) -> None:
        """Send one line. Raises `CannotLook` if the process is gone."""
        try:
            self._input.write(line + "\n")
            self._input.flush()
        except OSError as error:
            raise CannotLook(f"the prober on this machine is gone: {error}") from None

    def end_input(self) -> None:
        """Close standard input, as a connection that is cut does."""
        with contextlib.suppress(OSError):
            self._input.close()

    def lines(self) -> Iterator[str]:
        """Each line that comes. Raises `CannotLook` if the process did not end by itself."""
        with self._output:
            yield from self._output
        if code := self._process.wait():
            self._errors.seek(0)
            last = self._errors.read().strip().rpartition("\n")[2]
            raise CannotLook(f"the prober on this machine ended with {code} {last}".rstrip())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self.end_input()


class Event(Struct, frozen=True, kw_only=True):
    """One line of a prober; `event` says which of the others it has."""

    event: str
    message: str = ""
    wall: float = 0.0
    sent: int = 0
    failed: int = 0
    elapsed: float = 0.0
    ended: str = ""
    outcomes: list[str] = []
    outcome: list[int] = []
    lateness_us: list[int] = []
    latency_us: list[int] = []
    probes: list[Any] = []
    nonce: str = ""
    ports: list[Any] = []
    arrived: float = 0.0


# Made before there are threads: see `decoders`.
_EVENT = decoder(Event)


class Dialogue:
    """One request to a prober and its answers. A prober serves one request: the stream is used up.

    Every way in which the prober can fall silent raises `CannotLook`.
    """

    def __init__(self, stream: LineStream, request: dict[str, Any]) -> None:
        self._stream = stream
        self._events: queue.SimpleQueue[Event | CannotLook] = queue.SimpleQueue()
        self._heard = time.monotonic()
        self.tell(msgspec.json.encode(request).decode())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """Send a line."""
        with _broken_is_gap():
            self._stream.write_line(line)

    def next(self, seconds: float = SILENCE_SECONDS) -> Event:
        """The next event. Raises `CannotLook` if none comes within the time."""
        try:
            return self._taken(self._events.get(timeout=seconds))
        except queue.Empty:
            raise CannotLook(f"the prober said nothing for {seconds:g} s") from None

    def waiting(self) -> Iterator[Event]:
        """The events that have come. Raises `CannotLook` if the last came too long ago."""
        while not self._events.empty():
            yield self._taken(self._events.get())
        silence = time.monotonic() - self._heard
        if silence > SILENCE_SECONDS:
            raise CannotLook(f"the prober said nothing for {silence:.0f} s")

    def close(self) -> None:
        """End the prober."""
        self._stream.close()
        self._reader.join(_END_SECONDS)

    def _taken(self, event: Event | CannotLook) -> Event:
        if isinstance(event, Event) and event.event == "error":
            event = CannotLook(f"the prober gave up: {event.message}")
        if isinstance(event, CannotLook):
            # Whoever asks next is to know as well.
            self._events.put(event)
            raise event
        self._heard = event.arrived
        return event

    def _read(self) -> None:
        try:
            with _broken_is_gap():
                for line in self._stream.lines():
                    event = _decoded(line)
                    self._events.put(event)
                    if event.event in _LAST:
                        return
            self._events.put(CannotLook("the prober ended without a result"))
        except CannotLook as failure:
            self._events.put(failure)


def _decoded(line: str) -> Event:
    try:
        event: Event = _EVENT.decode(line)
    except msgspec.DecodeError:
        # Whatever runs there is no prober, or not only: a shell's complaint, a warning.
        said = line.strip()[:_SHOWN]
        raise CannotLook(f"what should be the prober says {said!r}") from None
    return replace(event, arrived=time.monotonic())


@contextlib.contextmanager
def _broken_is_gap() -> Iterator[None]:
    """A stream may break in as many ways as there are clients: each is a gap, never a verdict."""
    try:
        yield
    except CannotLook:
        raise
    except Exception as error:
        raise CannotLook(f"the connection to the prober broke: {error}") from error

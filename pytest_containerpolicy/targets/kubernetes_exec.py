"""Programs inside a pod's containers, over the API's exec: whole outputs, or lines as they come.

The frames are read here and not with the official client's `WSClient`: in kubernetes 36 that one
leaves decrypted frames unread in the TLS buffer until more data comes.
https://kubernetes.io/docs/reference/using-api/websockets/
"""

import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from pytest_containerpolicy.targets.kubernetes_failures import RequestFailed, one_line

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.kubernetes_connection import Connection

NOT_FOUND_CODE = 127
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_V5 = "v5.channel.k8s.io"
# The words of runc, crun and runsc.
_NO_PROGRAM = re.compile("executable file|no such file|permission denied", re.IGNORECASE)


class Output(Struct, frozen=True):
    """What a program printed, and its exit code; 127 where there is no such program."""

    code: int
    out: str
    err: str


class PodProcess:
    """A program that runs in a container. Threads may not share it, but one may read and one write.

    Raises `RequestFailed` if exec is refused or the connection breaks.
    """

    def __init__(
        self,
        connection: "Connection",
        namespace: str,
        pod: str,
        argv: Sequence[str],
        *,
        container: str = "",
        stdin: bool = False,
    ) -> None:
        options = {"stdout": "true", "stderr": "true", "stdin": str(stdin).lower()}
        if container:
            options["container"] = container
        query = urlencode([*options.items(), *(("command", word) for word in argv)])
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec?{query}"
        self._socket = connection.websocket(path)
        self._buffers = {_STDOUT: bytearray(), _STDERR: bytearray(), _STATUS: bytearray()}
        self._ended = False

    def write_line(self, line: str) -> None:
        """Send a line to its standard input."""
        self.write(line.encode() + b"\n")

    def write(self, content: bytes) -> None:
        """Send bytes to its standard input."""
        from websocket import ABNF

        self._socket.send(bytes([_STDIN]) + content, opcode=ABNF.OPCODE_BINARY)

    def end_input(self) -> None:
        """Close its standard input, where the server's protocol can tell it so."""
        from websocket import ABNF

        if getattr(self._socket, "subprotocol", "") == _V5:
            self._socket.send(bytes([_CLOSE, _STDIN]), opcode=ABNF.OPCODE_BINARY)

    def lines(self) -> Iterator[str]:
        """Each line of its standard output, when it comes, to its end."""
        buffer = self._buffers[_STDOUT]
        while True:
            line, newline, rest = bytes(buffer).partition(b"\n")
            if newline:
                buffer[:] = rest
                yield line.decode(errors="replace")
            elif not self._receive(None):
                break
        if buffer:
            yield buffer.decode(errors="replace")

    def wait(self, seconds: float) -> Output:
        """Its whole output, once it has ended.

        Raises `RequestFailed` after `seconds`, and if it could not be started for other reasons
        than that there is no such program.
        """
        deadline = time.monotonic() + seconds
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise RequestFailed(f"the program did not end within {seconds:g} s")
            if not self._receive(remaining):
                return self._output()

    def close(self) -> None:
        """Cut the connection; a program that reads its input is told so."""
        self._socket.close()

    def _receive(self, seconds: float | None) -> bool:
        """Take in one frame; whether more may come."""
        from websocket import ABNF, WebSocketException, WebSocketTimeoutException

        if self._ended:
            return False
        try:
            self._socket.settimeout(seconds)
            code, frame = self._socket.recv_data_frame(True)
        except WebSocketTimeoutException:
            return True
        except (WebSocketException, OSError, ssl.SSLError) as error:
            self._ended = True
            if self._buffers[_STATUS]:
                return False
            raise RequestFailed(f"the connection broke: {one_line(str(error))}") from None
        if code == ABNF.OPCODE_CLOSE:
            self._ended = True
        elif code in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data:
            self._buffers.get(frame.data[0], bytearray()).extend(frame.data[1:])
        return not self._ended

    def _output(self) -> Output:
        status = self._status()
        err = self._buffers[_STDERR].decode(errors="replace")
        if status.get("status") != "Success" and status.get("reason") != "NonZeroExitCode":
            message = str(status.get("message", "the connection ended without a status"))
            # A runtime that is too busy to start a program says nothing about the program.
            if not _NO_PROGRAM.search(message):
                raise RequestFailed(one_line(message))
            err += message
        return Output(_exit_code(status), self._buffers[_STDOUT].decode(errors="replace"), err)

    def _status(self) -> dict[str, Any]:
        content = bytes(self._buffers[_STATUS])
        status: dict[str, Any] = msgspec.json.decode(content) if content else {}
        return status


def execute(
    connection: "Connection",
    namespace: str,
    pod: str,
    argv: Sequence[str],
    *,
    container: str = "",
    stdin: bytes = b"",
    seconds: float = 30,
) -> Output:
    """Run a program in a container and wait for its end. Raises `RequestFailed`."""
    process = PodProcess(connection, namespace, pod, argv, container=container, stdin=bool(stdin))
    with closing(process):
        if stdin:
            process.write(stdin)
            process.end_input()
        return process.wait(seconds)


def _exit_code(status: dict[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    codes = [int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"]
    return codes[0] if codes else NOT_FOUND_CODE

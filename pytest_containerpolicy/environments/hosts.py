"""testinfra hosts inside containers and pods, over the API: no docker and no kubectl program.

    host = testinfra.get_host("k8s://web-0?namespace=shop&container=app&context=dev")

https://testinfra.readthedocs.io/en/latest/backends.html
"""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import testinfra.backend
import yaml
from testinfra.backend.base import BaseBackend, CommandResult

from pytest_containerpolicy.errors import ContainerPolicyError, Unreachable
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.kubernetes_kubeconfig import find_access
from pytest_containerpolicy.targets.uri import Timeouts

if TYPE_CHECKING:
    from docker.models.containers import Container
    from kubernetes.client import ApiClient

_NOT_FOUND = 127
_NO_SHELL = ("/bin/sh", "no such file or directory")


class NoShell(ContainerPolicyError):
    """The container has no `/bin/sh`, which testinfra's modules are written in."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place} has no /bin/sh (a distroless image?): testinfra needs a shell;"
            " judge it by policies, or test what it serves from another container"
        )


class _ShellBackend(BaseBackend):  # type: ignore[misc]  # testinfra is not typed
    """A backend that runs `/bin/sh -c`; containers speak UTF-8."""

    def get_encoding(self) -> str:
        return "UTF-8"

    def _answer(self, command: str, code: int, output: bytes, errors: bytes) -> CommandResult:
        complaint = (output + errors).decode(errors="replace")
        if code in (126, _NOT_FOUND) and all(word in complaint for word in _NO_SHELL):
            raise NoShell(self.get_pytest_id())
        return self.result(code, self.encode(command), output, errors)


class EngineBackend(_ShellBackend):
    """A container of a Docker engine, through the engine's exec API."""

    NAME = "engine"

    def __init__(self, container: "Container") -> None:
        super().__init__(container.name)
        self._container = container

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        text = self.get_command(command, *args)
        answer: Any = self._container.exec_run(["/bin/sh", "-c", text], demux=True)
        output, errors = answer.output
        return self._answer(text, answer.exit_code, output or b"", errors or b"")


class PodBackend(_ShellBackend):
    """A container of a pod, through the Kubernetes API's exec."""

    NAME = "k8s"

    def __init__(
        self,
        name: str,
        namespace: str = "default",
        container: str | None = None,
        context: str = "",
        kubeconfig: str | None = None,
        connect: "Callable[[], ApiClient] | None" = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self.namespace = namespace
        self.container = container
        # Exec swaps a method of its client while it runs: it must not be anybody else's client.
        self._client = (connect or (lambda: _client(name, context, kubeconfig)))()

    def get_hostname(self) -> str:
        container = f", container {self.container}" if self.container else ""
        return f"{self.namespace}/{self.hostname}{container}"

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        text = self.get_command(command, *args)
        code, output, errors = self._exec(["/bin/sh", "-c", text])
        return self._answer(text, code, output, errors)

    def _exec(self, command: list[str]) -> tuple[int, bytes, bytes]:
        from kubernetes.client import CoreV1Api
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import stream
        from kubernetes.stream.ws_client import ERROR_CHANNEL

        options = {"container": self.container} if self.container else {}
        try:
            socket = stream(
                CoreV1Api(self._client).connect_get_namespaced_pod_exec,
                self.hostname,
                self.namespace,
                command=command,
                stdout=True,
                stderr=True,
                stdin=False,
                tty=False,
                binary=True,
                _preload_content=False,
                **options,
            )
        except ApiException as error:
            raise Unreachable(f"{self.get_pytest_id()}: exec refused: {_reason(error)}") from None
        with closing(socket):
            output, errors, status = _drain(socket, ERROR_CHANNEL)
        return _exit_code(status), output, errors + _message(status)


testinfra.backend.BACKENDS.setdefault("k8s", f"{__name__}.PodBackend")


def _client(name: str, context: str, kubeconfig: str | None) -> "ApiClient":
    uri = f"k8s://{name}"
    target = KubernetesTarget(uri, find_access(uri, context, kubeconfig))
    return target.connect(Timeouts()).client


def _drain(socket: Any, status_channel: int) -> tuple[bytes, bytes, dict[str, Any]]:
    output, errors, status = b"", b"", b""
    while socket.is_open():
        socket.update(timeout=1)
        output += socket.read_stdout() if socket.peek_stdout() else b""
        errors += socket.read_stderr() if socket.peek_stderr() else b""
    output += socket.read_stdout() if socket.peek_stdout() else b""
    errors += socket.read_stderr() if socket.peek_stderr() else b""
    status = socket.read_channel(status_channel)
    text = status.decode() if isinstance(status, bytes) else status
    return output, errors, yaml.safe_load(text) or {}


def _exit_code(status: dict[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes", ())
    codes = [int(c["message"]) for c in causes if c.get("reason") == "ExitCode"]
    return codes[0] if codes else _NOT_FOUND


def _message(status: dict[str, Any]) -> bytes:
    exited = status.get("status") == "Success" or status.get("reason") == "NonZeroExitCode"
    return b"" if exited else str(status.get("message", "")).encode()


def _reason(error: Any) -> str:
    return " ".join(str(error.body or error.reason or error).split())[:300]

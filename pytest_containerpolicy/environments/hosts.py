"""testinfra hosts inside containers and pods, over the API: no docker and no kubectl program.

    host = testinfra.get_host("k8s://web-0?namespace=shop&container=app&context=dev")

https://testinfra.readthedocs.io/en/latest/backends.html
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import testinfra.backend
from testinfra.backend.base import BaseBackend, CommandResult

from pytest_containerpolicy.errors import ContainerPolicyError, Unreachable
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.kubernetes_exec import execute
from pytest_containerpolicy.targets.kubernetes_failures import RequestFailed
from pytest_containerpolicy.targets.kubernetes_kubeconfig import find_access
from pytest_containerpolicy.targets.uri import Timeouts

if TYPE_CHECKING:
    from docker.models.containers import Container

    from pytest_containerpolicy.targets.kubernetes_connection import Connection

_NOT_FOUND = 127
_LONGEST = 3600.0
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
        connect: "Callable[[], Connection] | None" = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        self.namespace = namespace
        self.container = container
        self._connection = (connect or (lambda: _connect(name, context, kubeconfig)))()

    def get_hostname(self) -> str:
        container = f", container {self.container}" if self.container else ""
        return f"{self.namespace}/{self.hostname}{container}"

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        text = self.get_command(command, *args)
        shell = ["/bin/sh", "-c", text]
        try:
            answer = execute(
                self._connection,
                self.namespace,
                self.hostname,
                shell,
                container=self.container or "",
                seconds=_LONGEST,
            )
        except RequestFailed as error:
            raise Unreachable(
                f"{self.get_pytest_id()}: exec refused: {error.message or error}"
            ) from None
        return self._answer(text, answer.code, answer.out.encode(), answer.err.encode())


testinfra.backend.BACKENDS.setdefault("k8s", f"{__name__}.PodBackend")


def _connect(name: str, context: str, kubeconfig: str | None) -> "Connection":
    uri = f"k8s://{name}"
    target = KubernetesTarget(uri, find_access(uri, context, kubeconfig))
    return target.connect(Timeouts())

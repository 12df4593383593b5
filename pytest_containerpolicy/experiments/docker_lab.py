"""A Docker daemon as a laboratory: for plain containers, Compose projects and Swarms."""

import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.journal import Journal
from pytest_containerpolicy.experiments.lab import (
    PROTECTED_LABEL,
    RUN_LABEL,
    Away,
    Lab,
    LabOptions,
    undo,
)
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.docker_connection import Endpoint, connect
from pytest_containerpolicy.targets.kubernetes_exec import NOT_FOUND_CODE, Output
from pytest_containerpolicy.targets.uri import Target, Timeouts

if TYPE_CHECKING:
    from docker import DockerClient

Document = dict[str, Any]
_PROBER_SECONDS = 1800
_NO_PROGRAM = (126, NOT_FOUND_CODE)
_WAIT = ["python3", "-c", f"import time; time.sleep({_PROBER_SECONDS})"]


class DockerLab(Lab):
    """One daemon; of a Swarm one of its managers."""

    def __init__(
        self,
        target: Target,
        timeouts: Timeouts,
        options: LabOptions,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(target, timeouts, options, journal)
        self.endpoint: Endpoint = target.endpoint  # type: ignore[attr-defined]

    @cached_property
    def client(self) -> "DockerClient":
        """The SDK's client; `.api` is its low-level one. Raises `Unreachable`."""
        import docker

        client = docker.DockerClient.__new__(docker.DockerClient)
        client.api = connect(self.endpoint, self.timeouts)
        return client

    @cached_property
    def identity(self) -> str:
        """The daemon's own id: https://docs.docker.com/reference/api/engine/#tag/System"""
        with daemon_errors("info"):
            return str(self.client.api.info()["ID"])

    def close(self) -> None:
        super().close()
        if "client" in self.__dict__:
            self.client.close()

    def containers(self, workload: Workload) -> list[Document]:
        """The running containers of a workload on this daemon, as `inspect` shows them.

        Those of a Swarm service on other nodes are not among them.
        """
        with daemon_errors(f"containers of {workload.ref}"):
            rows = self.client.api.containers(filters=self._filters(workload))
        if self.platform == "docker":
            rows = [row for row in rows if f"/{workload.name}" in (row["Names"] or ())]
        found = [self.inspect(row["Id"]) for row in rows]
        return [document for document in found if document is not None]

    def _filters(self, workload: Workload) -> dict[str, Any]:
        if self.platform == "compose":
            project = self.target.project  # type: ignore[attr-defined]
            labels = ("project", project), ("service", workload.name), ("oneoff", "False")
            return {"label": [f"com.docker.compose.{key}={value}" for key, value in labels]}
        if self.platform == "swarm":
            return {"label": [f"com.docker.swarm.service.name={workload.name}"]}
        return {"name": [f"^/?{re.escape(workload.name)}$"]}

    def inspect(self, container: str) -> Document | None:
        """A container by name or id, None if it is gone."""
        from docker.errors import NotFound

        with daemon_errors(f"container {container}"):
            try:
                document: Document = self.client.api.inspect_container(container)
                return document
            except NotFound:
                return None

    def execute(
        self, container: str, argv: Sequence[str], *, user: str = "", seconds: float = 30
    ) -> Output:
        """Run a program in a container and wait for its end; 127 where there is no such program.

        Raises `CannotLook` if it does not end within `seconds`.
        """
        with daemon_errors(f"exec in container {container}"):
            api = self.client.api
            made = api.exec_create(container, list(argv), user=user)
            out, err = _everything(api.exec_start(made["Id"], stream=True, demux=True), seconds)
            state = api.exec_inspect(made["Id"])
        if state["Running"]:
            raise CannotLook(f"{argv[0]} in container {container} did not end within {seconds:g} s")
        missing = state["ExitCode"] in _NO_PROGRAM
        return Output(state["ExitCode"], "" if missing else out, out + err if missing else err)

    def start(self, container: str, argv: Sequence[str]) -> "ContainerProcess":
        """Start a program in a container, to talk to it line by line."""
        with daemon_errors(f"exec in container {container}"):
            api = self.client.api
            made = api.exec_create(container, list(argv), stdin=True)
            return ContainerProcess(api.exec_start(made["Id"], socket=True))

    @contextmanager
    def prober(self, network: str, **host_config: Any) -> Iterator[str]:
        """The id of a running container of the prober image in a network (or network mode).

        Raises `CannotLook` if it does not start.
        """
        name = f"containerpolicy-{secrets.token_hex(4)}"
        what = f"prober container {name} is left"
        with self.undoing(remove_container, what, name=name, run=self.run):
            with daemon_errors(f"prober container in network {network}"):
                self._start_prober(name, network, host_config)
            self._require_running(name)
            yield name

    def _require_running(self, name: str) -> None:
        state = (self.inspect(name) or {}).get("State", {})
        if state.get("Status") != "running":
            reason = state.get("Error") or f"exit code {state.get('ExitCode', '?')}"
            raise CannotLook(
                f"prober image {self.options.prober_image} ended at once ({reason}): it needs a"
                " python3"
            )

    def _start_prober(self, name: str, network: str, host_config: dict[str, Any]) -> None:
        from docker.errors import ImageNotFound

        api = self.client.api
        try:
            api.create_container(
                self.options.prober_image,
                _WAIT,
                name=name,
                entrypoint="",
                labels={RUN_LABEL: self.run},
                host_config=api.create_host_config(network_mode=network, init=True, **host_config),
            )
        except ImageNotFound:
            raise CannotLook(
                f"prober image {self.options.prober_image} is not on the daemon: pull it, or give"
                " another one with python3 with --cp-prober-image"
            ) from None
        api.start(name)

    @contextmanager
    def claim(self, workload: Workload) -> Iterator[None]:
        from pytest_containerpolicy.experiments.docker_locks import hold

        self.require_scope(workload)
        if any(each.get(PROTECTED_LABEL) == "false" for each in self._labels_of(workload)):
            raise CannotLook(f"{workload.ref} is labelled {PROTECTED_LABEL}=false")
        with hold(self, workload):
            yield

    def _labels_of(self, workload: Workload) -> list[dict[str, str]]:
        """The labels of a workload, and of each container that it has or will have."""
        if self.platform == "swarm":
            with daemon_errors(f"service {workload.name}"):
                api: Any = self.client.api
                spec = api.inspect_service(workload.name)["Spec"]
            # `docker stack deploy` puts a service's `labels` on its containers.
            container = spec["TaskTemplate"].get("ContainerSpec") or {}
            return [spec.get("Labels") or {}, container.get("Labels") or {}]
        return [document["Config"].get("Labels") or {} for document in self.containers(workload)]


class ContainerProcess:
    """A program that runs in a container, and its lines."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write_line(self, line: str) -> None:
        """Send a line to its standard input."""
        # What the SDK returns wraps the socket for unix and tcp, and is it for TLS and ssh.
        getattr(self._stream, "_sock", self._stream).sendall(line.encode() + b"\n")

    def lines(self) -> Iterator[str]:
        """Each line of its standard output, when it comes, to its end."""
        from docker.utils import socket

        rest, frames = b"", cast(Any, socket).frames_iter
        for channel, data in frames(self._stream, tty=False):
            if channel != 1:
                continue
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    def close(self) -> None:
        """Cut the connection."""
        self._stream.close()


@undo
def remove_container(lab: DockerLab, name: str, run: str) -> None:
    """Remove a container that a run created, and only that."""
    with daemon_errors(f"removal of container {name}"):
        document = lab.inspect(name)
        if document and (document["Config"].get("Labels") or {}).get(RUN_LABEL) == run:
            lab.client.api.remove_container(name, force=True, v=True)


@contextmanager
def daemon_errors(what: str) -> Iterator[None]:
    """Turn the SDK's errors into `CannotLook`, and into `Away` those that may pass."""
    import requests
    from docker.errors import APIError, DockerException

    try:
        yield
    except (DockerException, requests.RequestException, OSError) as error:
        answered = isinstance(error, DockerException)
        broken = isinstance(error, APIError) and error.is_server_error()
        kind = CannotLook if answered and not broken else Away
        raise kind(f"{what}: {' '.join(str(error).split())}") from None


def _everything(stream: Any, seconds: float) -> tuple[str, str]:
    """What an exec prints to its end, or for `seconds`: the SDK itself would wait for ever."""
    timer = threading.Timer(seconds, stream.close)
    timer.start()
    try:
        parts = list(stream)
    finally:
        timer.cancel()
        stream.close()
    out, err = (b"".join(part[channel] or b"" for part in parts) for channel in (0, 1))
    return out.decode(errors="replace"), err.decode(errors="replace")

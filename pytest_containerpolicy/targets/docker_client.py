"""The connection to one Docker daemon: the SDK's low-level client, raw bytes, clear errors."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import msgspec
import requests
from docker.errors import DockerException
from docker.tls import TLSConfig
from msgspec import Struct, field

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.decoders import decoder
from pytest_containerpolicy.targets.docker_connection import Endpoint, Tls
from pytest_containerpolicy.targets.uri import Timeouts

_CONNECTIONS = 10
# Every request is a session of its own, finished ones stay open in as many pools, and sshd allows
# ten (MaxSessions).
_SSH_CONNECTIONS = 4
OLDEST_API = "1.41"
_TLS_REMEDY = "for TLS add ?cert_path=FOLDER with ca.pem, cert.pem and key.pem"


class _Version(Struct):
    api_version: str = field(default="", name="ApiVersion")


class _ErrorBody(Struct):
    message: str = ""


class Refused(Exception):
    """The daemon answered a request with an error: the HTTP status and the daemon's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} ({status})")
        self.status = status


class NoAnswer(Exception):
    """The daemon did not answer a request: cut off, or not within the time."""


class EngineClient(docker.APIClient):
    """`docker.APIClient` with a negotiated version, plus `fetch` for undecoded answers.

    Whatever the SDK offers works on it (exec, create, remove); reading goes through `fetch`.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts) -> None:
        self.connections = _SSH_CONNECTIONS if endpoint.is_ssh else _CONNECTIONS
        # A fixed version keeps the SDK from asking before the timeouts are in force.
        super().__init__(
            base_url=endpoint.host,
            version=OLDEST_API,
            timeout=timeouts.read,  # type: ignore[arg-type]  # seconds, as requests takes them
            tls=_tls_config(endpoint.tls) if endpoint.tls else False,
            num_pools=self.connections,
            max_pool_size=self.connections,
        )
        self._timeouts = timeouts
        if endpoint.tls:
            # requests would let REQUESTS_CA_BUNDLE override the daemon's own CA.
            self.trust_env = False

    @classmethod
    def connected(cls, endpoint: Endpoint, timeouts: Timeouts) -> "EngineClient":
        """Connect and agree on a version. Raises `Unreachable`."""
        client = None
        failures: tuple[type[Exception], ...] = (
            DockerException,
            OSError,
            NoAnswer,
            Refused,
            *_ssh_errors(),
        )
        try:
            client = cls(endpoint, timeouts)
            client.negotiate()
        except failures as error:
            if client is not None:
                client.close()
            raise Unreachable(f"{endpoint.note}: {explain(error, endpoint, timeouts)}") from None
        return client

    def negotiate(self) -> None:
        """Speak the daemon's newest version from now on, as the SDK's `auto` does."""
        try:
            found = msgspec.json.decode(self._ask("/version"), type=_Version).api_version
        except msgspec.DecodeError:
            raise NoAnswer("what listens there is not a Docker daemon") from None
        if _numbers(found) < _numbers(OLDEST_API):
            raise NoAnswer(
                f"speaks API {found or '(none)'}, {OLDEST_API} (Docker 20.10) is needed: upgrade it"
            )
        self._version = found

    def fetch(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The body of a GET, undecoded. Raises `Refused` or `NoAnswer`."""
        return self._ask(f"/v{self._version}{quote(path, safe='/:@')}", params)

    def post_document(
        self, path: str, content: Any, params: Mapping[str, Any] | None = None
    ) -> bytes:
        """The answer to a POST of a document as it is; the SDK would drop what it does not know.

        Raises the SDK's `APIError` if the daemon refuses.
        """
        url = f"{self.base_url}/v{self._version}{quote(path, safe='/:@')}"
        response = self.post(url, json=content, params=params, timeout=self._timeouts.read)
        self._raise_for_status(response)  # type: ignore[attr-defined]
        return bytes(response.content)

    def _ask(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        waits = (self._timeouts.connect, self._timeouts.read)
        try:
            response = self.get(f"{self.base_url}{path}", params=params, timeout=waits)
        except requests.Timeout as error:
            if isinstance(error, requests.ConnectTimeout):
                raise
            raise NoAnswer(f"no answer within {self._timeouts.read:g} s") from None
        except _ssh_errors() as error:
            raise NoAnswer(f"ssh: {_last_words(error)}") from None
        if response.status_code >= 400:
            raise Refused(response.status_code, _message(response))
        return bytes(response.content)


def explain(error: BaseException, endpoint: Endpoint, timeouts: Timeouts) -> str:
    """What keeps us from a daemon and what to do about it, in one line."""
    for cause in _causes(error):
        if known := _socket_failure(cause, endpoint) or _protocol_failure(cause, endpoint):
            return known
        if isinstance(cause, requests.ConnectTimeout):
            return f"no connection within {timeouts.connect:g} s"
    return _last_words(error)


def _socket_failure(cause: BaseException, endpoint: Endpoint) -> str:
    place = endpoint.host.removeprefix("unix://")
    match cause:
        case FileNotFoundError():
            return f"there is no socket {place}: start the daemon, or name the right socket"
        case PermissionError():
            return f"permission denied on {place}: {_permission_remedy(place)}"
        case ConnectionRefusedError():
            return f"nothing listens on {place}: start the daemon"
        case socket.gaierror():
            return f"unknown host name in {place}: {cause.strerror}"
        case ConnectionResetError() if place.startswith("tcp:") and not endpoint.tls:
            return f"the connection was cut: {_TLS_REMEDY}"
    return ""


def _protocol_failure(cause: BaseException, endpoint: Endpoint) -> str:
    match cause:
        case NameError():  # the SDK's adapter is missing where paramiko is
            return "ssh needs paramiko: pip install 'pytest-containerpolicy[ssh]'"
        case _ if isinstance(cause, _ssh_errors()):
            there = endpoint.host.removeprefix("ssh://")
            return f"ssh: {_last_words(cause)}: make `ssh {there} docker version` work"
        case requests.exceptions.SSLError():
            return f"TLS: {_last_words(cause)}: check the CA and the client certificate"
        case Refused() if "HTTPS server" in str(cause):
            return f"it does not speak plain HTTP: {_TLS_REMEDY}"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and everything it stems from, the innermost first: it says most."""
    context = None if error.__suppress_context__ else error.__context__
    inner = [error.__cause__, context, getattr(error, "reason", None), *error.args]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)
    yield error


def _permission_remedy(place: str) -> str:
    try:
        group = Path(place).group()
    except (OSError, KeyError):
        return "run as a user who may open its folder"
    return f"run as root or as a member of group {group!r}"


def _ssh_errors() -> tuple[type[Exception], ...]:
    """What the ssh library raises; nothing where it is not installed."""
    try:
        from paramiko import SSHException
    except ImportError:
        return ()
    return (SSHException,)


def _last_words(error: BaseException) -> str:
    cause = next(_causes(error))
    text = (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__
    return " ".join(text.split())


def _message(response: requests.Response) -> str:
    try:
        message: str = decoder(_ErrorBody).decode(response.content).message
    except msgspec.DecodeError:
        message = response.text[:200] or response.reason
    return " ".join(message.split())


def _tls_config(tls: Tls) -> TLSConfig:
    certificate, key = tls.folder / "cert.pem", tls.folder / "key.pem"
    has_client_certificate = certificate.is_file() and key.is_file()
    return TLSConfig(
        client_cert=(str(certificate), str(key)) if has_client_certificate else None,
        ca_cert=str(tls.folder / "ca.pem"),
        verify=tls.verify,
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else ()

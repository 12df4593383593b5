"""A connection to an API server: the official client's credentials, raw bytes, bounded retries.

The official client loads credentials, certificates and proxies. Answers are read over its urllib3
pool, undecoded: its generated models take fifty times as long. `pool_manager` and `auth_settings`
are the same in kubernetes 36 and 37.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from msgspec import Struct
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.decoders import decoder
from pytest_containerpolicy.targets.kubernetes_failures import (
    FORBIDDEN,
    RequestFailed,
    explain,
    one_line,
    retries,
)
from pytest_containerpolicy.targets.kubernetes_kubeconfig import Access, Exec
from pytest_containerpolicy.targets.uri import Timeouts

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_WELL: Final = (200, 201, 202)
_HEADERS: Final = {"accept": "application/json", "user-agent": "pytest-containerpolicy"}


class _Version(Struct, rename="camel"):
    git_version: str


class _Cause(Struct):
    reason: str = ""
    message: str = ""


class _Details(Struct):
    causes: list[_Cause] = []


class _Status(Struct):
    message: str = ""
    details: _Details | None = None

    @property
    def causes(self) -> list[tuple[str, str]]:
        found = self.details.causes if self.details else []
        return [(cause.reason, cause.message) for cause in found]


class Connection:
    """One cluster's API server. Threads may share it."""

    def __init__(self, target: str, client: "ApiClient", timeouts: Timeouts) -> None:
        self.target = target
        self.client = client
        self._timeout = Timeout(connect=timeouts.connect, read=timeouts.read)
        self._retries = retries(timeouts)
        self._credentials = threading.Lock()

    @classmethod
    def open(cls, target: str, access: Access | None, timeouts: Timeouts) -> "Connection":
        """Load the credentials of a context; None is a pod's own service account.

        Raises `Unreachable` if they can't be loaded. Nothing is sent to the server yet.
        """
        try:
            client = _in_cluster() if access is None else _from_kubeconfig(access)
        except Unreachable as error:
            raise Unreachable(f"{target}: {error}") from None
        except Exception as error:
            # The client's loader raises whatever a malformed kubeconfig makes it stumble over.
            reason = one_line(str(error) or type(error).__name__)
            raise Unreachable(f"{target}: credentials can't be loaded: {reason}") from None
        return cls(target, client, timeouts)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self.client.configuration.host)

    @property
    def address(self) -> str:
        """The API server's host and port."""
        # A user and password may stand before the host.
        return urlsplit(self.server).netloc.rpartition("@")[2]

    def close(self) -> None:
        """Close what is open; a further request opens it again."""
        self.client.rest_client.pool_manager.clear()

    def version(self) -> str:
        """The API server's `gitVersion`; empty if one may not ask.

        Raises `Unreachable`, saying what to check, if this is no API server that answers.
        """
        try:
            version: _Version = decoder(_Version).decode(self.get("/version"))
            return version.git_version
        except RequestFailed as failure:
            if failure.status == FORBIDDEN:
                return ""
            raise Unreachable(f"{self.target}: {self.address}: {failure.reason}") from None
        except (ValueError, RecursionError):
            raise Unreachable(
                f"{self.target}: {self.address} answers, but not as a Kubernetes API server"
            ) from None

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> bytes:
        """The body of a GET. Raises `RequestFailed` unless the server gave all of it."""
        return self.send("GET", path, query=query)

    def send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str | int] | None = None,
    ) -> bytes:
        """The body of the answer. Raises `RequestFailed` unless all went well.

        Only what may safely be repeated (no POST, no PATCH) is tried again after a broken answer.
        """
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = _HEADERS | self.credentials()
        if content is not None:
            headers["content-type"] = content_type
        try:
            response = self.client.rest_client.pool_manager.request(
                method,
                url,
                body=content,
                headers=headers,
                timeout=self._timeout,
                retries=self._retries,
                redirect=False,
            )
        except Exception as error:
            raise explain(error, self._timeout) from None
        if response.status not in _WELL:
            raise _refusal(response)
        return bytes(response.data)

    def follow(self, path: str, query: Mapping[str, str | int], silence: float) -> Iterator[bytes]:
        """The lines of an answer that goes on and on, each when it comes, to its end.

        Raises `RequestFailed` if it is refused and, while reading, when it breaks off or nothing
        comes for `silence` seconds.
        """
        timeout = Timeout(connect=self._timeout.connect_timeout, read=silence)
        try:
            response = self.client.rest_client.pool_manager.request(
                "GET",
                f"{self.server}{path}?{urlencode(query)}",
                headers=_HEADERS | self.credentials(),
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except Exception as error:
            raise explain(error, timeout) from None
        if response.status not in _WELL:
            raise _refusal(response)
        return _lines(response, timeout)

    def websocket(self, path: str) -> Any:
        """A websocket to the API server, as exec needs it. Raises `RequestFailed`."""
        from kubernetes.stream.ws_client import create_websocket, get_websocket_url
        from websocket import WebSocketBadStatusException

        url = get_websocket_url(f"{self.server}{path}")
        try:
            return create_websocket(self.client.configuration, url, self.credentials())
        except WebSocketBadStatusException as refusal:
            raise RequestFailed.from_status(
                refusal.status_code, _status(refusal.resp_body or b"").message
            ) from None
        except Exception as error:
            raise RequestFailed(one_line(str(error) or type(error).__name__)) from None

    def credentials(self) -> dict[str, str]:
        """The headers that say who asks."""
        # Reading the settings refreshes an expired token, which threads must not do at once.
        with self._credentials:
            settings = self.client.configuration.auth_settings().values()
        return {setting["key"]: setting["value"].strip() for setting in settings}


def _lines(response: Any, timeout: Timeout) -> Iterator[bytes]:
    rest = b""
    with closing(response):
        try:
            for chunk in response.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
        except HTTPError as error:
            raise explain(error, timeout) from None


def _refusal(response: Any) -> RequestFailed:
    status = _status(response.data)
    return RequestFailed.from_status(response.status, status.message, status.causes)


def _status(content: bytes) -> _Status:
    try:
        status: _Status = decoder(_Status).decode(content)
    except (ValueError, RecursionError):
        return _Status()
    return status


def _in_cluster() -> "ApiClient":
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return client.ApiClient(configuration)


def _from_kubeconfig(access: Access) -> "ApiClient":
    from kubernetes import config

    with _logged_errors() as errors:
        client = config.new_client_from_config(
            config_file=access.location, context=access.context, persist_config=False
        )
    configuration = client.configuration
    if access.exec and not configuration.api_key and not configuration.cert_file:
        raise Unreachable(_plugin_failure(access.exec, errors))
    return client


def _plugin_failure(plugin: Exec, errors: list[str]) -> str:
    said = one_line("; ".join(errors)) or "it gave no credential"
    hint = f" ({one_line(plugin.install_hint)})" if plugin.install_hint else ""
    return f"credential plugin {plugin.command!r} failed: {said}{hint}"


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """What the root logger is told meanwhile: the client logs a plugin's failure and goes on."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Collect(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)

"""Which Docker daemon a target means, decided as the docker CLI decides it.

    engine://CONTEXT    engine+unix:///run/docker.sock    engine+tcp://host:2376?cert_path=DIR

Contexts are read from the CLI's own files, without the SDK: the SDK falls back to the local
daemon for a context that it does not know, and another host than the one meant would be judged.
Files: https://docs.docker.com/engine/manage-resources/contexts/
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.uri import TargetUri, Timeouts, suggestion

if TYPE_CHECKING:
    from pytest_containerpolicy.targets.docker_client import EngineClient

Content = TypeVar("Content")
DEFAULT_CONTEXT = "default"
_DEFAULT_HOST = (
    "npipe:////./pipe/docker_engine" if sys.platform == "win32" else "unix:///var/run/docker.sock"
)


class Tls(Struct, frozen=True):
    """A folder with `ca.pem`, `cert.pem` and `key.pem`; `verify` False trusts any server."""

    folder: Path
    verify: bool = True


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a daemon listens: `host` as in DOCKER_HOST; `chosen_by`, if not the URI, chose it."""

    host: str
    name: str
    chosen_by: str = ""
    tls: Tls | None = None

    def __str__(self) -> str:
        return self.host

    @property
    def is_ssh(self) -> bool:
        return self.host.startswith("ssh://")

    @property
    def note(self) -> str:
        """One line for the inventory's notes: which daemon, and who said so."""
        source = f" (from {self.chosen_by})" if self.chosen_by else ""
        return f"Docker daemon {self.host}{source}"


class _ContextEndpoint(Struct):
    host: str = field(default="", name="Host")
    skip_tls_verify: bool = field(default=False, name="SkipTLSVerify")


class _ContextFile(Struct):
    name: str = field(name="Name")
    endpoints: dict[str, _ContextEndpoint] = field(name="Endpoints", default_factory=dict)


class _ConfigFile(Struct):
    current_context: str = field(default="", name="currentContext")


def endpoint_of(uri: TargetUri) -> Endpoint:
    """The daemon that an `engine` or `swarm` URI names.

    Raises `TargetError` for an unknown context, an unknown key or a part that is missing.
    """
    if uri.is_file:
        raise TargetError(f"{uri.text}: write {uri.kind}://CONTEXT or {uri.kind}+unix:///PATH")
    uri.allow(("workload", "cert_path") if uri.transport == "tcp" else ("workload",))
    match uri.transport:
        case "unix":
            return _unix(uri)
        case "tcp":
            return _tcp(uri)
        case "ssh":
            return _ssh(uri)
    if uri.path.strip("/"):
        raise TargetError(f"{uri.text}: a socket is written {uri.kind}+unix://{uri.path}")
    return named_endpoint(uri.authority, uri.text)


def endpoint_uri(endpoint: Endpoint) -> str:
    """The `engine` URI of an endpoint, whatever chose it."""
    certificates = f"?cert_path={endpoint.tls.folder}" if endpoint.tls else ""
    return f"engine+{endpoint.host}{certificates}"


def named_endpoint(context: str, name_in_errors: str) -> Endpoint:
    """The daemon of a Docker context; of what the docker CLI would use if `context` is empty.

    The CLI's order: DOCKER_HOST, DOCKER_CONTEXT, `currentContext` of its config.json, the default
    socket. Raises `TargetError` for a context that does not exist.
    """
    if context:
        return _of_context(context, f"context {context}", name_in_errors)
    if os.environ.get("DOCKER_HOST"):
        return _default()
    if chosen := os.environ.get("DOCKER_CONTEXT"):
        return _of_context(chosen, f"context {chosen}, DOCKER_CONTEXT", name_in_errors)
    if chosen := _current_context():
        return _of_context(chosen, f"context {chosen}, {_config_file()}", name_in_errors)
    return _default()


def connect(endpoint: Endpoint, timeouts: Timeouts) -> "EngineClient":
    """A `docker.APIClient` for this daemon, its API version negotiated; the caller closes it.

    Raises `Unreachable`, in one line that says what to do.
    """
    # Imported late: a run without Docker targets should not pay for the SDK.
    from pytest_containerpolicy.targets.docker_client import EngineClient

    return EngineClient.connected(endpoint, timeouts)


def _unix(uri: TargetUri) -> Endpoint:
    if uri.authority or not uri.path.strip("/"):
        raise TargetError(
            f"{uri.text}: write {uri.scheme}:///PATH of the socket, with three slashes"
        )
    return Endpoint(host=f"unix://{uri.path}", name=uri.path)


def _tcp(uri: TargetUri) -> Endpoint:
    parts = urlsplit(f"tcp://{uri.authority}")
    if not parts.hostname or not _port(parts.netloc, uri) or uri.path.strip("/"):
        raise TargetError(f"{uri.text}: write {uri.scheme}://HOST:PORT, for TLS ?cert_path=FOLDER")
    folder = uri.value("cert_path")
    return Endpoint(
        host=f"tcp://{uri.authority}",
        name=_short(uri.authority),
        tls=_tls(Path(folder), uri.text) if folder else None,
    )


def _tls(folder: Path, name: str) -> Tls:
    if not (folder / "ca.pem").is_file():
        raise TargetError(f"{name}: cert_path: {folder / 'ca.pem'} does not exist")
    return Tls(folder)


def _ssh(uri: TargetUri) -> Endpoint:
    parts = urlsplit(f"ssh://{uri.authority}")
    if not parts.hostname or parts.password or uri.path.strip("/"):
        raise TargetError(f"{uri.text}: write {uri.scheme}://USER@HOST[:PORT], without a path")
    _port(parts.netloc, uri)
    return Endpoint(host=f"ssh://{uri.authority}", name=_short(uri.authority))


def _port(netloc: str, uri: TargetUri) -> int | None:
    try:
        return urlsplit(f"//{netloc}").port
    except ValueError:
        raise TargetError(f"{uri.text}: the port is not a number from 1 to 65535") from None


def _short(authority: str) -> str:
    # Node ids end at "::" and at "[": an IPv6 address must hold neither.
    return authority.replace("[", "").replace("]", "").replace("::", "-")


def _default() -> Endpoint:
    host = os.environ.get("DOCKER_HOST", "")
    if not host:
        return Endpoint(host=_DEFAULT_HOST, name=DEFAULT_CONTEXT, chosen_by="the default socket")
    secured = bool(os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_TLS"))
    folder = Path(os.environ.get("DOCKER_CERT_PATH") or _config_folder())
    tls = Tls(folder, bool(os.environ.get("DOCKER_TLS_VERIFY"))) if secured else None
    host = host if "://" in host else f"tcp://{host}"
    return Endpoint(host=host, name=DEFAULT_CONTEXT, chosen_by="DOCKER_HOST", tls=tls)


def _of_context(context: str, chosen_by: str, name: str) -> Endpoint:
    if context == DEFAULT_CONTEXT:
        return _default()
    file = _meta_folder() / _key(context) / "meta.json"
    if not file.is_file():
        hint = suggestion(context, [DEFAULT_CONTEXT, *_contexts()])
        raise TargetError(f"{name}: no Docker context {context!r} ({chosen_by}){hint}")
    docker = _read(file, _ContextFile).endpoints.get("docker")
    if docker is None or not docker.host:
        raise TargetError(f"{name}: Docker context {context!r} names no Docker host ({file})")
    folder = _config_folder() / "contexts" / "tls" / _key(context) / "docker"
    tls = Tls(folder, verify=not docker.skip_tls_verify) if folder.is_dir() else None
    return Endpoint(host=docker.host, name=context, chosen_by=chosen_by, tls=tls)


def _contexts() -> list[str]:
    files = _meta_folder().glob("*/meta.json")
    return sorted(_read(file, _ContextFile).name for file in files)


def _current_context() -> str:
    file = _config_file()
    return _read(file, _ConfigFile).current_context if file.is_file() else ""


def _read(file: Path, kind: type[Content]) -> Content:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise TargetError(f"{file}: not a readable file of the docker CLI: {error}") from None


def _config_folder() -> Path:
    named = os.environ.get("DOCKER_CONFIG")
    return Path(named) if named else Path.home() / ".docker"


def _config_file() -> Path:
    return _config_folder() / "config.json"


def _meta_folder() -> Path:
    return _config_folder() / "contexts" / "meta"


def _key(context: str) -> str:
    return hashlib.sha256(context.encode()).hexdigest()

"""What a kubeconfig says, read locally: which contexts there are and where they lead.

Only names and addresses are read here; credentials are the official client's business.
Files of KUBECONFIG merge as kubectl does: the first file that has a value wins
(https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml
from msgspec import Struct

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.uri import suggestion

_Entry = TypeVar("_Entry")


class Exec(Struct, rename="camel"):
    """The program that gives a user's credentials."""

    command: str = ""
    install_hint: str | None = None


class User(Struct):
    exec: Exec | None = None


class Cluster(Struct):
    server: str = ""


class Context(Struct):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class NamedUser(Struct):
    name: str
    user: User | None = None


class NamedCluster(Struct):
    name: str
    cluster: Cluster | None = None


class NamedContext(Struct):
    name: str
    context: Context | None = None


class Kubeconfig(Struct, rename="kebab"):
    """One file."""

    current_context: str | None = None
    contexts: list[NamedContext] | None = None
    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None


class Merged(Struct):
    """All files; `location` names them as KUBECONFIG does."""

    location: str
    current_context: str
    contexts: dict[str, Context]
    clusters: dict[str, Cluster]
    users: dict[str, User]


class Access(Struct, frozen=True, kw_only=True):
    """How to reach the cluster of one context; nothing here is secret."""

    context: str
    location: str
    server: str
    namespace: str = ""
    exec: Exec | None = None


def find_access(uri: str, context: str, path: str | None) -> Access:
    """The access that a context gives; an empty name is the current context.

    Raises `TargetError` if there is no such file, context, cluster or user.
    """
    merged = _merge(uri, path)
    name = context or merged.current_context
    if not name:
        allowed = suggestion("", merged.contexts)
        raise TargetError(f"{uri}: {merged.location} has no current-context: name one{allowed}")
    return _access(uri, merged, name)


def _access(uri: str, merged: Merged, name: str) -> Access:
    context = _lookup(f"{uri}: {merged.location}", "context", name, merged.contexts)
    where = f"{uri}: {merged.location}: context {name!r}"
    cluster = _lookup(where, "cluster", context.cluster, merged.clusters)
    if not cluster.server:
        raise TargetError(f"{where}: cluster {context.cluster!r} has no server")
    user = _lookup(where, "user", context.user, merged.users) if context.user else User()
    return Access(
        context=name,
        location=merged.location,
        server=cluster.server,
        namespace=context.namespace,
        exec=user.exec,
    )


def _lookup(where: str, noun: str, name: str, entries: Mapping[str, _Entry]) -> _Entry:
    if name not in entries:
        raise TargetError(f"{where}: unknown {noun} {name!r}{suggestion(name, entries)}")
    return entries[name]


def _merge(uri: str, path: str | None) -> Merged:
    files = _existing(uri, path)
    merged = Merged(os.pathsep.join(map(str, files)), "", {}, {}, {})
    for config in [_load(uri, file) for file in files]:
        merged.current_context = merged.current_context or config.current_context or ""
        for context in config.contexts or ():
            merged.contexts.setdefault(context.name, context.context or Context())
        for cluster in config.clusters or ():
            merged.clusters.setdefault(cluster.name, cluster.cluster or Cluster())
        for user in config.users or ():
            merged.users.setdefault(user.name, user.user or User())
    return merged


def _existing(uri: str, path: str | None) -> list[Path]:
    texts = [path] if path else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    wanted = [Path(text).expanduser() for text in texts if text] or [
        Path("~/.kube/config").expanduser()
    ]
    found = [file for file in wanted if file.exists()]
    if not found:
        names = ", ".join(map(str, wanted))
        raise TargetError(
            f"{uri}: no kubeconfig at {names}: set KUBECONFIG or add ?kubeconfig=PATH"
        )
    return found


def _load(uri: str, file: Path) -> Kubeconfig:
    try:
        content = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
        return msgspec.convert(content, Kubeconfig)
    except OSError as error:
        raise TargetError(f"{uri}: {file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise TargetError(f"{uri}: {_place(file, error)}: not YAML: {_problem(error)}") from None
    except msgspec.ValidationError as error:
        raise TargetError(f"{uri}: {file}: not a kubeconfig: {error}") from None


def _place(file: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{file}:{mark.line + 1}" if mark else str(file)


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or str(error).partition("\n")[0]

"""Several Compose files as one: what a later file adds to, replaces in or takes out of the others.

https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pytest_containerpolicy.targets.compose_canonical import FormError, Json, volume_target

Steps = tuple[str, ...]
Merger = Callable[[Any, Any, Steps], Any]
Kind = TypeVar("Kind")
_ANY = "*"


class MergeError(ValueError):
    """A place where two files can't be merged, such as a list over a mapping."""

    def __init__(self, path: Steps, problem: str) -> None:
        super().__init__(problem)
        self.path = path


def merge(base: Any, other: Any, path: Steps = ()) -> Any:
    """`other` over `base`, which may be changed. Raises `MergeError`."""
    merger = _merger(path)
    if merger is not None:
        return merger(base, other, path)
    if other is None:
        return base
    if isinstance(base, dict):
        return _mappings(base, _same(dict, other, path), path)
    if isinstance(base, list):
        return base + _same(list, other, path)
    return other


def drop(content: Json, paths: Iterable[Steps]) -> None:
    """Take out what `!reset` and `!override` name."""
    for path in paths:
        parent: Any = content
        for step in path[:-1]:
            parent = parent.get(step) if isinstance(parent, dict) else None
        if isinstance(parent, dict) and path:
            parent.pop(path[-1], None)


def remove_repeated(content: Json) -> None:
    """Of list entries that mean the same thing keep the last, in the first one's place.

    Raises `FormError` for an entry whose meaning can't be told.
    """
    services = content.get("services")
    for name, service in services.items() if isinstance(services, dict) else ():
        if not isinstance(service, dict):
            continue
        for key, identity in _IDENTITIES.items():
            entries = service.get(key)
            if isinstance(entries, list) and len(entries) > 1:
                try:
                    service[key] = _last_of_each(entries, identity)
                except FormError as error:
                    error.key = ("services", name, *error.key)
                    raise


def _merger(path: Steps) -> Merger | None:
    if len(path) == 3 and path[0] == "services":
        return _SERVICE.get(path[2])
    if len(path) == 4 and path[0] == "services":
        return _SERVICE_PARTS.get(path[2:]) or _SERVICE_PARTS.get((path[2], _ANY))
    if len(path) == 3 and path[0] in ("networks", "volumes") and path[2] == "labels":
        return _sequence
    return None


def _same(kind: type[Kind], other: Any, path: Steps) -> Kind:
    if not isinstance(other, kind):
        word = "mapping" if kind is dict else "list"
        raise MergeError(path, f"must be a {word} here, as in the files before")
    return other


def _mappings(base: Json, other: Json, path: Steps) -> Json:
    for key, value in other.items():
        base[key] = merge(base[key], value, (*path, key)) if key in base else value
    return base


def _override(_base: Any, other: Any, _path: Steps) -> Any:
    return other


def _sequence(base: Any, other: Any, _path: Steps) -> list[Any]:
    return _as_sequence(base) + _as_sequence(other)


def _as_sequence(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return sorted(key if item is None else f"{key}={item}" for key, item in value.items())
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _extra_hosts(base: Any, other: Any, _path: Steps) -> list[Any]:
    first = _as_sequence(base)
    return first + [entry for entry in _as_sequence(other) if entry not in first]


def _build(base: Any, other: Any, path: Steps) -> Any:
    long = [{"context": value} if isinstance(value, str) else value for value in (base, other)]
    return _mappings(_same(dict, long[0], path), _same(dict, long[1] or {}, path), path)


def _depends_on(base: Any, other: Any, path: Steps) -> Any:
    plain = {"condition": "service_started", "required": True}
    return _mappings(_as_mapping(base, plain, path), _as_mapping(other, plain, path), path)


def _named(base: Any, other: Any, path: Steps) -> Any:
    return _mappings(_as_mapping(base, None, path), _as_mapping(other, None, path), path)


def _as_mapping(value: Any, default: Json | None, path: Steps) -> Json:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: dict(default) if default else None for name in value}
    return _same(dict, value or {}, path)


def _logging(base: Any, other: Any, path: Steps) -> Any:
    # Options belong to a driver: another driver starts without them.
    drivers = [value["driver"] for value in (base, other) if value and "driver" in value]
    if len(set(drivers)) > 1:
        return other
    return _mappings(_same(dict, base, path), other or {}, path)


_SERVICE: dict[str, Merger] = {
    **dict.fromkeys(
        (
            "annotations",
            "dns",
            "dns_opt",
            "dns_search",
            "env_file",
            "environment",
            "label_file",
            "labels",
            "sysctls",
            "tmpfs",
        ),
        _sequence,
    ),
    "build": _build,
    "command": _override,
    "depends_on": _depends_on,
    "entrypoint": _override,
    "extra_hosts": _extra_hosts,
    "logging": _logging,
    "models": _named,
    "networks": _named,
}
_SERVICE_PARTS: dict[Steps, Merger] = {
    ("build", "args"): _sequence,
    ("build", "additional_contexts"): _sequence,
    ("build", "extra_hosts"): _extra_hosts,
    ("build", "labels"): _sequence,
    ("deploy", "labels"): _sequence,
    ("healthcheck", "test"): _override,
    ("ulimits", _ANY): _override,
}


def _last_of_each(entries: list[Any], identity: Callable[[Any, int], Any]) -> list[Any]:
    kept: dict[Any, Any] = {}
    for index, entry in enumerate(entries):
        kept[identity(entry, index)] = entry
    return list(kept.values())


def _key_of_pair(entry: Any, index: int) -> Any:
    return entry.partition("=")[0] if isinstance(entry, str) else ("other", index)


def _port(entry: Any, _index: int) -> Any:
    if not isinstance(entry, dict):
        return str(entry)
    keys = (("host_ip", "0.0.0.0"), ("published", None), ("target", None), ("protocol", "tcp"))
    # As for Compose, 8080 and "8080" differ here.
    return tuple(repr(entry.get(key, default)) for key, default in keys)


def _file_target(entry: Any, index: int) -> Any:
    if isinstance(entry, dict):
        return entry.get("target") or f"/{entry.get('source')}"
    return f"/{entry}" if isinstance(entry, str) else index


def _path(entry: Any, index: int) -> Any:
    return entry.get("path", index) if isinstance(entry, dict) else entry


def _text(entry: Any, _index: int) -> Any:
    return str(entry)


_IDENTITIES: dict[str, Callable[[Any, int], Any]] = {
    **dict.fromkeys(
        (
            "annotations",
            "cap_add",
            "cap_drop",
            "dns",
            "dns_opt",
            "dns_search",
            "environment",
            "labels",
            "links",
            "profiles",
            "sysctls",
            "tmpfs",
        ),
        _key_of_pair,
    ),
    "configs": _file_target,
    "env_file": _path,
    "expose": _text,
    "ports": _port,
    "secrets": _file_target,
    "volumes": volume_target,
}

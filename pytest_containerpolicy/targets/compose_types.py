"""Text that Compose takes for numbers, booleans, byte values and durations.

A variable makes everything text (`replicas: ${REPLICAS}`), so Compose casts by place.
https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.compose_canonical import FormError, Json
from pytest_containerpolicy.targets.compose_values import compose_bytes, compose_seconds

Cast = Callable[[Any], Any]
_TRUE = ("true", "y", "yes", "on")
_FALSE = ("false", "n", "no", "off")
_WHOLE = re.compile(r"[+-]?[0-9]+")


def cast_types(content: Json) -> None:
    """Give the values of the places below their type. Raises `FormError` for what has another."""
    for name, service in content.get("services", {}).items():
        try:
            _cast(service, _SERVICE)
        except FormError as error:
            error.key = ("services", name, *error.key)
            raise
    for section in ("volumes", "networks"):
        for name, resource in content.get(section, {}).items():
            try:
                _cast(resource or {}, _RESOURCE)
            except FormError as error:
                error.key = (section, name, *error.key)
                raise


def _cast(mapping: Json, casts: Mapping[str, Any]) -> None:
    for key in casts.keys() & mapping.keys():
        cast, value = casts[key], mapping[key]
        try:
            if callable(cast):
                mapping[key] = cast(value)
            else:
                for part in _parts(value):
                    _cast(part, cast)
        except FormError as error:
            error.key = (key, *error.key)
            raise
        except UsageError as error:
            raise FormError((key,), str(error)) from None


def _parts(value: Any) -> Iterator[Json]:
    items = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, dict))


def _boolean(value: Any) -> bool:
    word = str(value).lower()
    if word not in _TRUE + _FALSE:
        raise UsageError(f"{value!r} is not true or false")
    return word in _TRUE


def _whole(value: Any) -> int:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise UsageError(f"{value!r} is not a whole number")
    return int(value)


def _natural(value: Any) -> int:
    number = _whole(value)
    if number < 0:
        raise UsageError(f"{value!r} is negative, 0 or more is allowed")
    return number


def _number(value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{value!r} is not a number") from None


def _size(value: Any) -> int:
    # Compose reads a number with a fraction (1e9, 1024.0) as none at all.
    return 0 if isinstance(value, float) else compose_bytes(value)


def _duration(value: Any) -> Any:
    compose_seconds(value)
    return value


def _text(value: Any) -> str:
    return str(value)


def _command(value: Any) -> list[str]:
    return ["CMD-SHELL", value] if isinstance(value, str) else value


_UPDATE: Mapping[str, Cast] = {
    "parallelism": _natural,
    "delay": _duration,
    "monitor": _duration,
    "max_failure_ratio": _number,
}
_RESOURCES: Mapping[str, Cast] = {"cpus": _number, "memory": _size, "pids": _whole}
_SERVICE: Mapping[str, Any] = {
    **dict.fromkeys(
        ("init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"), _boolean
    ),
    **dict.fromkeys(("cpu_period", "cpu_quota", "cpu_shares", "pids_limit", "scale"), _whole),
    **dict.fromkeys(("mem_limit", "mem_reservation", "memswap_limit", "shm_size"), _size),
    "cpus": _number,
    "stop_grace_period": _duration,
    "tmpfs": lambda value: [value] if isinstance(value, str) else value,
    "healthcheck": {
        "test": _command,
        "disable": _boolean,
        "retries": _natural,
        **dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), _duration),
    },
    "deploy": {
        "replicas": _whole,
        "resources": {"limits": _RESOURCES, "reservations": _RESOURCES},
        "restart_policy": {"max_attempts": _natural, "delay": _duration, "window": _duration},
        "update_config": _UPDATE,
        "rollback_config": _UPDATE,
        "placement": {"max_replicas_per_node": _natural},
    },
    "ports": {"target": _natural, "published": _text},
    "volumes": {"read_only": _boolean, "volume": {"nocopy": _boolean}, "tmpfs": {"size": _size}},
}
_RESOURCE: Mapping[str, Cast] = {
    **dict.fromkeys(("attachable", "enable_ipv4", "enable_ipv6", "external", "internal"), _boolean)
}

"""The short forms of Compose files in their long form, as `docker compose config` prints them.

https://github.com/compose-spec/compose-spec/blob/main/05-services.md
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

Json = dict[str, Any]
_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST_PORT = 65535
_BIND_OPTIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
_WINDOWS_DRIVE = re.compile(r"[a-zA-Z]:")


class FormError(ValueError):
    """A short form that can't be read; `key` leads from the service to it."""

    def __init__(self, key: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        self.key = key


def make_canonical(content: Json) -> None:
    """Replace every short form that matters to the model. Raises `FormError`."""
    for name, service in (content.get("services") or {}).items():
        if isinstance(service, dict):
            try:
                _service(service)
            except FormError as error:
                error.key = ("services", name, *error.key)
                raise
    for section in ("volumes", "networks", "secrets", "configs"):
        for name, resource in (content.get(section) or {}).items():
            if isinstance(resource, dict) and isinstance(resource.get("external"), dict):
                _old_external(resource, (section, name))


def _service(service: Json) -> None:
    for key in _LONG_FORMS.keys() & service.keys():
        service[key] = _LONG_FORMS[key](service[key])


def _old_external(resource: Json, path: tuple[str, str]) -> None:
    name = resource["external"].get("name")
    if name is not None and resource.setdefault("name", name) != name:
        raise FormError((*path, "name"), "name and external.name differ: write name only")
    resource["external"] = True


def _build(value: Any) -> Any:
    return {"context": value} if isinstance(value, str) else value


def _depends_on(value: Any) -> Json:
    entries = dict.fromkeys(value) if isinstance(value, list) else value
    plain = {"condition": "service_started", "required": True}
    return {name: plain | (entry or {}) for name, entry in entries.items()}


def _networks(value: Any) -> Any:
    return dict.fromkeys(value) if isinstance(value, list) else value


def _env_file(value: Any) -> list[Json]:
    entries = [value] if isinstance(value, str) else value
    return [
        {"path": entry, "required": True} if isinstance(entry, str) else {"required": True} | entry
        for entry in entries
    ]


def _strings(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _file_mounts(value: list[Any]) -> list[Json]:
    return [{"source": entry} if isinstance(entry, str) else entry for entry in value]


def _ports(value: list[Any]) -> list[Json]:
    ports: list[Json] = []
    for index, entry in enumerate(value):
        if isinstance(entry, dict):
            ports.append(entry)
        else:
            ports.extend(_port(str(entry), index))
    return ports


def _port(text: str, index: int) -> Iterator[Json]:
    address, published, target, protocol = _port_parts(text, index)
    first, last = _range(target, text, index)
    if not published:
        outside, final = 0, 0
    else:
        outside, final = _range(published, text, index)
        if final - outside != last - first and last != first:
            raise _port_error(text, index, "its two ranges differ in length")
    # Compose sorts the ports of a range as text.
    for offset in sorted(range(last - first + 1), key=lambda step: str(first + step)):
        number = str(outside + offset) if published else ""
        if published and first == last and outside != final:
            number = f"{outside}-{final}"
        port = {"mode": "ingress", "target": first + offset, "protocol": protocol}
        yield (
            port
            | ({"published": number} if number else {})
            | ({"host_ip": address} if address else {})
        )


def _port_parts(text: str, index: int) -> tuple[str, str, str, str]:
    *front, target = text.split(":")
    published = front.pop() if front else ""
    address = ":".join(front)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    target, _, protocol = target.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise _port_error(text, index, f"{protocol} is not one of {', '.join(_PROTOCOLS)}")
    if address and not _is_address(address):
        raise _port_error(text, index, f"{address} is not an IP address")
    return address, published, target, protocol


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _range(text: str, port: str, index: int) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if not first <= last <= _HIGHEST_PORT:
        raise _port_error(port, index, f"{text or 'an empty port'} is not a port or a range")
    return first, last


def _port_error(text: str, index: int, problem: str) -> FormError:
    return FormError(
        ("ports", index), f"{text!r} is not [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]: {problem}"
    )


def _volumes(value: list[Any]) -> list[Json]:
    mounts = [
        _volume(entry, index) if isinstance(entry, str) else entry
        for index, entry in enumerate(value)
    ]
    for mount in mounts:
        if mount.get("target"):
            mount["target"] = posixpath.normpath(mount["target"])
    return mounts


def _volume(text: str, index: int) -> Json:
    if len(text) <= 2 and text:
        return {"type": "volume", "target": text}
    parts = _volume_parts(text)
    if not all(parts) or len(parts) > 3:
        raise FormError(("volumes", index), f"{text!r} is not [SOURCE:]TARGET[:OPTIONS]")
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    mount: Json = {"type": "volume", "target": target}
    if source:
        mount["source"] = source
    if is_file_path(source):
        mount |= {"type": "bind", "bind": {"create_host_path": True}}
    for option in parts[2].split(",") if len(parts) == 3 else ():
        _apply_option(mount, option)
    return mount


def _volume_parts(text: str) -> list[str]:
    """The text cut at colons, but not at the colon of a Windows drive."""
    parts: list[str] = []
    for part in text.split(":"):
        if parts and len(parts[-1]) == 1 and parts[-1].isalpha():
            parts[-1] += ":" + part
        else:
            parts.append(part)
    return parts


def _apply_option(mount: Json, option: str) -> None:
    if option == "ro":
        mount["read_only"] = True
    elif option in _BIND_OPTIONS:
        mount["bind"] = {**mount.get("bind", {}), "propagation": option}


def is_file_path(source: str) -> bool:
    """Whether the source of a short volume is a path; otherwise it is the name of a volume."""
    return source.startswith((".", "/", "~", "\\\\")) or bool(_WINDOWS_DRIVE.match(source))


def volume_target(entry: Any, index: int) -> str:
    """Where an entry of `volumes` is mounted, in whichever form it is. Raises `FormError`."""
    mount = _volume(entry, index) if isinstance(entry, str) else entry
    if not isinstance(mount, dict) or not isinstance(mount.get("target"), str):
        raise FormError(("volumes", index), "needs a target")
    return str(mount["target"])


_LONG_FORMS: Mapping[str, Callable[[Any], Any]] = {
    "build": _build,
    "depends_on": _depends_on,
    "networks": _networks,
    "env_file": _env_file,
    "label_file": _strings,
    "dns": _strings,
    "secrets": _file_mounts,
    "configs": _file_mounts,
    "ports": _ports,
    "volumes": _volumes,
}

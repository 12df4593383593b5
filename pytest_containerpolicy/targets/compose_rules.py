"""What Compose demands of a project beyond its shape: names that exist, values that agree.

These are the rules of `docker compose config`; a file that breaks one never runs.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pytest_containerpolicy.targets.compose_canonical import FormError, Json

Broken = Iterator[tuple[tuple[str | int, ...], str]]
_TEST_FORMS = ("CMD", "CMD-SHELL", "NONE")
_SAME_VALUE = (
    ("cpus", "limits", "cpus"),
    ("mem_limit", "limits", "memory"),
    ("mem_reservation", "reservations", "memory"),
    ("pids_limit", "limits", "pids"),
)
# What `config` lets pass here, `up` refuses.
_PORTS = re.compile(r"[0-9]+(-[0-9]+)?")
_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")


def check_rules(project: Json) -> None:
    """Raise `FormError` at the first rule that is broken.

    `project["disabled"]` are the services that no active profile starts.
    """
    for name, service in project["services"].items():
        for key, problem in _broken(service, project):
            raise FormError(("services", name, *key), problem)
    _check_container_names(project["services"])
    _check_volumes(project)
    _check_secrets(project)
    _check_cycles(project["services"])


def _broken(service: Json, project: Json) -> Broken:
    for rule in _RULES:
        yield from rule(service)
    for reference in _REFERENCES:
        yield from reference(service, project)


def _has_origin(service: Json) -> Broken:
    if not any(service.get(key) for key in ("image", "build", "provider")):
        yield (), "has neither an image nor a build context"


def _networks(service: Json, project: Json) -> Broken:
    mode, networks = service.get("network_mode"), service.get("networks") or {}
    if mode and networks:
        yield ("network_mode",), "excludes networks: keep one of them"
    for name in networks:
        if name not in project["networks"]:
            yield ("networks", name), _undefined("network", name, project["networks"])


def _healthcheck(service: Json) -> Broken:
    test = (service.get("healthcheck") or {}).get("test")
    if test and test[0] not in _TEST_FORMS:
        yield (
            ("healthcheck", "test"),
            f"must start with {', '.join(_TEST_FORMS)}, found {test[0]!r}",
        )


def _dependencies(service: Json, project: Json) -> Broken:
    services, disabled = project["services"], project["disabled"]
    for name, entry in dependencies(service).items():
        optional = name in disabled and not entry.get("required", True)
        if name not in services and not optional:
            hint = "only an inactive profile starts it" if name in disabled else ""
            problem = hint or _undefined("service", name, services)
            declared = name in (service.get("depends_on") or {})
            yield ("depends_on", name) if declared else (), problem


def dependencies(service: Json) -> Json:
    """What a service depends on: `depends_on`, links, shared namespaces and volumes."""
    found: Json = dict(service.get("depends_on") or {})
    for link in service.get("links") or ():
        found.setdefault(link.partition(":")[0], {})
    for key in _NAMESPACES:
        kind, _, name = str(service.get(key) or "").partition(":")
        if kind == "service":
            found.setdefault(name, {})
    for source in service.get("volumes_from") or ():
        if not source.startswith("container:"):
            found.setdefault(source.partition(":")[0], {})
    return found


def _references(service: Json, project: Json) -> Broken:
    for index, volume in enumerate(service.get("volumes") or ()):
        source = volume.get("source")
        if volume.get("type") == "volume" and source and source not in project["volumes"]:
            yield ("volumes", index), _undefined("volume", source, project["volumes"])
    for section in ("configs", "secrets"):
        known = project.get(section) or {}
        for index, entry in enumerate(service.get(section) or ()):
            if entry.get("source") not in known:
                yield (
                    (section, index),
                    _undefined(section[:-1], str(entry.get("source")), known),
                )


def _amounts(service: Json) -> Broken:
    deploy = service.get("deploy") or {}
    scale, replicas = service.get("scale"), deploy.get("replicas")
    if scale is not None and replicas is not None and scale != replicas:
        yield ("scale",), f"is {scale}, deploy.replicas is {replicas}: write one of them"
    copies = scale if scale is not None else replicas
    if copies is not None and copies < 0:
        yield ("scale",) if scale is not None else ("deploy", "replicas"), "must be 0 or more"
    if copies is not None and copies > 1 and service.get("container_name"):
        yield ("container_name",), f"names one container, {copies} are wanted: remove it"
    for key, side, part in _SAME_VALUE:
        values = (deploy.get("resources") or {}).get(side)
        if service.get(key) and values is not None and values.get(part, 0) != service[key]:
            yield (key,), f"differs from deploy.resources.{side}.{part}: write one of them"


def _mounts(service: Json) -> Broken:
    seen: set[str] = set()
    for key in ("tmpfs", "volumes"):
        for index, entry in enumerate(service.get(key) or ()):
            target = entry.partition(":")[0] if isinstance(entry, str) else entry.get("target")
            if target in seen:
                yield (key, index), f"{target} is mounted twice"
            seen.add(target)
            if isinstance(entry, dict) and entry["type"] == "bind" and "source" not in entry:
                yield (key, index), "a bind needs a source"


def _ports(service: Json) -> Broken:
    for index, port in enumerate(service.get("ports") or ()):
        if "target" not in port:
            yield ("ports", index), "needs a target"
        if port.get("host_ip"):
            try:
                ip_address(port["host_ip"])
            except ValueError:
                yield ("ports", index, "host_ip"), f"{port['host_ip']!r} is not an IP address"
        published = str(port.get("published") or 0)
        if not _PORTS.fullmatch(published):
            yield ("ports", index, "published"), _no_port(published)
    for index, entry in enumerate(service.get("expose") or ()):
        if not _PORTS.fullmatch(str(entry).partition("/")[0]):
            yield ("expose", index), _no_port(str(entry))


def _no_port(found: str) -> str:
    return f"{found!r} is neither a port nor a range of ports, as 8080 and 8080-8090 are"


def _files(service: Json) -> Broken:
    for index, entry in enumerate(service.get("env_file") or ()):
        if str(entry.get("required", True)).lower() == "true" and not Path(entry["path"]).exists():
            yield ("env_file", index), f"{entry['path']} does not exist"
    for index, file in enumerate(service.get("label_file") or ()):
        if not Path(file).exists():
            yield ("label_file", index), f"{file} does not exist"


_RULES: tuple[Callable[[Json], Broken], ...] = (
    _has_origin,
    _healthcheck,
    _amounts,
    _mounts,
    _ports,
    _files,
)
_REFERENCES: tuple[Callable[[Json, Json], Broken], ...] = (_networks, _dependencies, _references)


def _undefined(kind: str, name: str, known: Mapping[str, Any]) -> str:
    return f"there is no {kind} {name!r} (declared: {', '.join(sorted(known)) or 'none'})"


def _check_container_names(services: Json) -> None:
    seen: dict[str, str] = {}
    for name, service in services.items():
        fixed = service.get("container_name")
        if fixed and seen.setdefault(fixed, name) != name:
            raise FormError(
                ("services", name, "container_name"), f"{fixed!r} is service {seen[fixed]}'s, too"
            )


def _check_volumes(project: Json) -> None:
    for name, volume in project["volumes"].items():
        extra = [key for key in volume if key not in ("name", "external") and key[:2] != "x-"]
        if volume.get("external") and extra:
            raise FormError(("volumes", name, extra[0]), "an external volume has a name only")


def _check_secrets(project: Json) -> None:
    for section, keys in (
        ("secrets", ("file", "environment")),
        ("configs", ("file", "environment", "content")),
    ):
        for name, entry in (project.get(section) or {}).items():
            given = [key for key in keys if key in entry]
            if len(given) > 1:
                raise FormError((section, name), f"{' and '.join(given)} exclude each other")
            if not given and "external" not in entry and "driver" not in entry:
                raise FormError((section, name), f"needs one of {', '.join(keys)}")


def _check_cycles(services: Json) -> None:
    finished: set[str] = set()
    for name in sorted(services):
        _visit(name, services, (), finished)


def _visit(name: str, services: Json, above: tuple[str, ...], finished: set[str]) -> None:
    if name in above:
        chain = " -> ".join((*above[above.index(name) :], name))
        raise FormError(("services", name, "depends_on"), f"a cycle: {chain}")
    if name in finished or name not in services:
        return
    for dependency in sorted(dependencies(services[name])):
        _visit(dependency, services, (*above, name), finished)
    finished.add(name)

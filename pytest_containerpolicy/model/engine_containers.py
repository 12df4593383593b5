"""A container of a Docker engine as the model's container, whoever keeps it.

Zero and -1 mean "not set" in most of the API's numbers; `MemorySwap` is memory and swap together.
https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Container/operation/ContainerInspect
"""

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.container import Container, ContainerPort, Mount, Probe
from pytest_containerpolicy.model.docker_volumes import (
    bound_directory,
    named_volume_lifetime,
    tmpfs,
    tmpfs_size,
)
from pytest_containerpolicy.model.logs import log_limit
from pytest_containerpolicy.model.quantities import compose_bytes
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets.inventory import Inventory

DEFAULT_GRACE_PERIOD = 10.0
_CPU_PERIOD = 100_000
_NANOSECONDS = 1e9
_GENERATED_NAME = re.compile("[0-9a-f]{64}")
_PORT = re.compile(r"([0-9]+)(?:-[0-9]+)?(?:/(\w+))?")


class Surroundings(Struct, frozen=True):
    """What a container refers to on its engine.

    Volumes and networks by name, images by id, containers by both.
    """

    volumes: Mapping[str, docker.Volume]
    images: Mapping[str, docker.Image]
    networks: Mapping[str, docker.Network]
    containers: Mapping[str, docker.Container]

    @classmethod
    def of(cls, inventory: Inventory) -> "Surroundings":
        return cls(
            {volume.name: volume for volume in inventory.documents("volumes")},
            {image.id: image for image in inventory.documents("images")},
            {network.name: network for network in inventory.documents("networks")},
            {
                key: container
                for container in inventory.documents("containers")
                for key in (container.id, container_name(container))
            },
        )


def build_container(
    document: docker.Container,
    workload: Workload,
    surroundings: Surroundings,
    *,
    name: str = "",
    path: str = "",
) -> Container:
    """The container of a workload as it was created, its image's configuration merged in.

    `name` and `path` are what findings call the container and where it is declared, by default
    the engine's own.
    """
    host, config = document.host_config, document.config
    log = host.log_config or docker.LogConfig()
    return Container(
        name=name or container_name(document),
        path=path,
        workload=workload,
        image=config.image,
        image_digest=_digest(config.image, surroundings.images.get(document.image)),
        memory_limit=host.memory or None,
        memory_request=host.memory_reservation or None,
        cpu_limit=_cpu_limit(host),
        pids_limit=_positive(host.pids_limit),
        swap_limit=host.memory_swap or None,
        writable_layer_limit=_writable_layer_limit(host),
        log_driver=log.type,
        log_limit=_log_limit(log),
        health=probe_of(config.healthcheck),
        health_disabled=health_disabled(config.healthcheck),
        stop_signal=config.stop_signal or "",
        mounts=tuple(_mounts(document, surroundings.volumes)),
        ports=tuple(ports_of(*(config.exposed_ports or ()), *(host.port_bindings or ()))),
        privileged=host.privileged,
        read_only_root=host.readonly_rootfs,
        user=config.user,
    )


def container_name(document: docker.Container) -> str:
    """The container's name without the API's leading slash."""
    return document.name.removeprefix("/")


def grace_period(document: docker.Container) -> float:
    """Seconds between the stop signal and the kill."""
    timeout = document.config.stop_timeout
    return DEFAULT_GRACE_PERIOD if timeout is None else float(timeout)


def restart_of(document: docker.Container) -> str:
    """`no`, `always`, `unless-stopped` or `on-failure`."""
    policy = document.host_config.restart_policy
    return (policy.name if policy else "") or "no"


def restart_attempts_of(document: docker.Container) -> int:
    """How often `on-failure` restarts it at most; 0 for ever."""
    policy = document.host_config.restart_policy
    return (policy.maximum_retry_count if policy else 0) or 0


def probe_of(check: docker.Healthcheck | None) -> Probe | None:
    """The health check with the engine's defaults; None without one or where it is disabled.

    https://docs.docker.com/reference/dockerfile/#healthcheck
    """
    if check is None or not check.test or health_disabled(check):
        return None
    return Probe(
        handler="exec",
        start_period=(check.start_period or 0) / _NANOSECONDS,
        period=(check.interval or 0) / _NANOSECONDS or 30,
        timeout=(check.timeout or 0) / _NANOSECONDS or 30,
        failure_threshold=check.retries or 3,
    )


def health_disabled(check: docker.Healthcheck | None) -> bool:
    """Whether somebody switched the image's health check off."""
    return check is not None and check.test == ["NONE"]


def _digest(reference: str, image: docker.Image | None) -> str:
    """The digest that the container's repository has for its image; empty if built here."""
    repository = reference.partition("@")[0].rpartition("/")
    name = repository[2].partition(":")[0]
    wanted = f"{repository[0]}{repository[1]}{name}@"
    known = (image.repo_digests if image else None) or ()
    return next((one.partition("@")[2] for one in known if one.startswith(wanted)), "")


def _cpu_limit(host: docker.HostConfig) -> float | None:
    if host.nano_cpus > 0:
        return host.nano_cpus / _NANOSECONDS
    if host.cpu_quota > 0:
        return host.cpu_quota / (host.cpu_period or _CPU_PERIOD)
    return None


def _positive(number: int | None) -> int | None:
    return number if number and number > 0 else None


def _writable_layer_limit(host: docker.HostConfig) -> int | None:
    size = host.storage_opt.size if host.storage_opt else None
    return compose_bytes(size) if size else None


def _log_limit(log: docker.LogConfig) -> int | None:
    options = log.config or docker.LogOptions()
    given = {"max-size": options.max_size, "max-file": options.max_file}
    return log_limit(log.type, {name: value for name, value in given.items() if value})


def ports_of(*texts: str) -> Iterator[ContainerPort]:
    """The ports of texts such as `8080/tcp`."""
    for number, protocol in sorted({parse_port(text) for text in texts}):
        yield ContainerPort(number=number, protocol=protocol)


def parse_port(text: str) -> tuple[int, str]:
    """Number and protocol of `8080/tcp`. Raises `UsageError` for another text."""
    match = _PORT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a port such as 8080/tcp")
    return int(match[1]), (match[2] or "tcp").upper()


def _mounts(document: docker.Container, volumes: Mapping[str, docker.Volume]) -> Iterator[Mount]:
    # The API lists mounts in no order.
    for mount in sorted(document.mounts or (), key=lambda mount: mount.destination):
        yield Mount(
            destination=mount.destination,
            volume=_volume(document, mount, volumes, f"Mounts[{mount.destination}]"),
            read_only=not mount.rw,
            propagation=mount.propagation,
        )
    for destination, options in sorted((document.host_config.tmpfs or {}).items()):
        yield Mount(
            destination=destination,
            volume=tmpfs(destination, tmpfs_size(options), "HostConfig.Tmpfs"),
            read_only="ro" in options.split(","),
        )


def _volume(
    document: docker.Container,
    mount: docker.MountPoint,
    volumes: Mapping[str, docker.Volume],
    path: str,
) -> Volume:
    match mount.type:
        case "bind":
            return Volume(
                name=mount.source, kind="bind", lifetime="node", path=path, host_path=mount.source
            )
        case "tmpfs":
            return tmpfs(mount.destination, _requested_size(document, mount), path)
        case "volume" if is_anonymous(document, mount):
            return Volume(
                name=mount.destination,
                kind="anonymous",
                lifetime="container",
                path=path,
                driver=mount.driver,
            )
        case "volume":
            return _named(mount, volumes.get(mount.name), path)
        case "cluster":
            return Volume(name=mount.name, kind="cluster", lifetime="external", path=path)
    # An image or a named pipe: what is in it comes with the deployment, it is not data.
    return Volume(name=mount.source, kind=mount.type, lifetime="config", path=path)


def is_generated(volume_name: str) -> bool:
    """Whether the engine made the name up."""
    return _GENERATED_NAME.fullmatch(volume_name) is not None


def is_anonymous(document: docker.Container, mount: docker.MountPoint) -> bool:
    """Whether a volume got its name from the engine, so that a new container gets another one.

    Who names it when creating the container keeps it. Compose names the old container's
    anonymous volumes when it recreates one, but only then.
    """
    return is_generated(mount.name) and (
        bool(document.labels.project) or mount.name not in _named_by_user(document.host_config)
    )


def _named_by_user(host: docker.HostConfig) -> set[str]:
    sources = {bind.partition(":")[0] for bind in host.binds or ()}
    return sources | {request.source for request in host.mounts or ()}


def _named(mount: docker.MountPoint, document: docker.Volume | None, path: str) -> Volume:
    options = document.options if document else None
    file_system = (options.type if options else None) or ""
    device = (options.device if options else None) or ""
    return Volume(
        name=mount.name,
        kind="volume",
        lifetime=named_volume_lifetime(mount.driver, file_system),
        path=path,
        host_path=bound_directory(file_system, device),
        in_memory=file_system == "tmpfs",
        driver=mount.driver or "local",
    )


def _requested_size(document: docker.Container, mount: docker.MountPoint) -> int | None:
    for request in document.host_config.mounts or ():
        if request.target == mount.destination and request.tmpfs_options:
            return request.tmpfs_options.size_bytes
    return None

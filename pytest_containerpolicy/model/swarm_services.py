"""A Swarm service's task as the model's container.

Durations are nanoseconds; 0 means "not set" in the API's limits.
https://docs.docker.com/reference/api/engine/version/v1.51/#tag/Service/operation/ServiceInspect
"""

from collections.abc import Iterator

from msgspec import Struct

from pytest_containerpolicy.model.container import Container, ContainerPort, Mount
from pytest_containerpolicy.model.docker_volumes import (
    bound_directory,
    named_volume_lifetime,
    tmpfs,
)
from pytest_containerpolicy.model.engine_containers import health_disabled, ports_of, probe_of
from pytest_containerpolicy.model.logs import log_limit
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets import swarm_documents as swarm
from pytest_containerpolicy.targets.inventory import Inventory

NANOSECONDS = 1e9
_CONTAINER = "Spec.TaskTemplate.ContainerSpec"
_DECLARES_NOTHING = docker.ImageConfig()


class Images(Struct, frozen=True):
    """The images that the manager holds, by every name; None where nobody looked for any."""

    by_name: dict[str, docker.Image] | None = None

    @classmethod
    def of(cls, inventory: Inventory) -> "Images":
        if "images" not in inventory.kinds:
            return cls()
        found: dict[str, docker.Image] = {}
        for image in inventory.documents("images"):
            for name in (*(image.repo_tags or ()), *(image.repo_digests or ())):
                found[name] = image
        return cls(found)

    def config(self, reference: str) -> docker.ImageConfig | None:
        """What an image declares; None where it may declare something that is not known."""
        if self.by_name is None:
            return _DECLARES_NOTHING
        image = self.by_name.get(_lookup_name(reference))
        return (image.config or _DECLARES_NOTHING) if image else None


def build_container(
    service: swarm.Service, workload: Workload, images: Images, default_log: swarm.LogDriver | None
) -> Container:
    """The container of each task of a service, what its image declares merged in."""
    task = service.spec.task_template
    spec = task.container_spec or swarm.ContainerSpec()
    resources = task.resources or swarm.Resources()
    limits = resources.limits or swarm.Limits()
    reservations = resources.reservations or swarm.Limits()
    log = task.log_driver or default_log or swarm.LogDriver()
    image = images.config(spec.image)
    check = _merged(spec.healthcheck, image.healthcheck if image else None)
    return Container(
        name=workload.name,
        path="",
        workload=workload,
        image=spec.image,
        image_digest=spec.image.partition("@")[2],
        image_gap="" if image else _gap(spec.image),
        memory_limit=limits.memory_bytes or None,
        memory_request=reservations.memory_bytes or None,
        cpu_limit=limits.nano_cpus / NANOSECONDS or None,
        cpu_request=reservations.nano_cpus / NANOSECONDS or None,
        pids_limit=limits.pids or None,
        log_driver=log.name,
        log_limit=_log_limit(log),
        health=probe_of(check),
        health_disabled=health_disabled(check),
        stop_signal=spec.stop_signal,
        mounts=tuple(_mounts(spec, image or _DECLARES_NOTHING)),
        ports=tuple(_ports(service.spec, image or _DECLARES_NOTHING)),
        read_only_root=spec.read_only,
        user=spec.user,
    )


def _lookup_name(reference: str) -> str:
    name, _, digest = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    bare, _, tag = last.partition(":")
    return (
        f"{folder}{slash}{bare}@{digest}" if digest else f"{folder}{slash}{bare}:{tag or 'latest'}"
    )


def _gap(image: str) -> str:
    return (
        f"image {image} is not on this manager, so the health check and volumes that it declares"
        " are not known: pull it there"
    )


def _merged(
    own: docker.Healthcheck | None, inherited: docker.Healthcheck | None
) -> docker.Healthcheck | None:
    """What a task gets: the service's own check, its empty fields taken from the image's."""
    if own is None or inherited is None:
        return own or inherited
    return docker.Healthcheck(
        test=own.test or inherited.test,
        interval=own.interval or inherited.interval,
        timeout=own.timeout or inherited.timeout,
        start_period=own.start_period or inherited.start_period,
        retries=own.retries or inherited.retries,
    )


def _log_limit(log: swarm.LogDriver) -> int | None:
    options = log.options or docker.LogOptions()
    given = {"max-size": options.max_size, "max-file": options.max_file}
    return log_limit(log.name, {name: value for name, value in given.items() if value})


def _ports(spec: swarm.ServiceSpec, image: docker.ImageConfig) -> Iterator[ContainerPort]:
    published = (spec.endpoint_spec.ports if spec.endpoint_spec else None) or ()
    own = (f"{port.target_port}/{port.protocol or 'tcp'}" for port in published)
    yield from ports_of(*own, *(image.exposed_ports or ()))


def _mounts(spec: swarm.ContainerSpec, image: docker.ImageConfig) -> Iterator[Mount]:
    declared = set()
    for position, mount in enumerate(spec.mounts or ()):
        declared.add(mount.target)
        yield Mount(
            destination=mount.target,
            volume=volume_of(mount, f"{_CONTAINER}.Mounts[{position}]"),
            read_only=mount.read_only,
            sub_path=mount.volume_options.subpath if mount.volume_options else "",
            propagation=mount.bind_options.propagation if mount.bind_options else "",
        )
    for destination in sorted(set(image.volumes or ()) - declared):
        yield Mount(destination=destination, volume=_anonymous(destination, f"{_CONTAINER}.Image"))
    yield from _files(spec)


def volume_of(mount: swarm.Mount, path: str) -> Volume:
    """The volume that a mount of a service asks for."""
    match mount.type:
        case "bind":
            return Volume(
                name=mount.source, kind="bind", lifetime="node", path=path, host_path=mount.source
            )
        case "tmpfs":
            options = mount.tmpfs_options
            return tmpfs(mount.target, options.size_bytes if options else None, path)
        case "volume" | "" if not mount.source:
            return _anonymous(mount.target, path)
        case "volume" | "":
            return _named(mount, path)
        case "cluster":
            return Volume(name=mount.source, kind="cluster", lifetime="external", path=path)
    # An image or a named pipe: what is in it comes with the deployment, it is not data.
    return Volume(name=mount.source, kind=mount.type, lifetime="config", path=path)


def driver_of(mount: swarm.Mount) -> tuple[str, str]:
    """The driver of a mounted volume, and what the local driver mounts (`nfs`, `tmpfs`)."""
    driver = mount.volume_options.driver_config if mount.volume_options else None
    if driver is None:
        return "local", ""
    return driver.name or "local", (driver.options.type if driver.options else None) or ""


def _device_of(mount: swarm.Mount) -> str:
    driver = mount.volume_options.driver_config if mount.volume_options else None
    return (driver.options.device if driver and driver.options else None) or ""


def _named(mount: swarm.Mount, path: str) -> Volume:
    driver, file_system = driver_of(mount)
    return Volume(
        name=mount.source,
        kind="volume",
        lifetime=named_volume_lifetime(driver, file_system),
        path=path,
        host_path=bound_directory(file_system, _device_of(mount)),
        in_memory=file_system == "tmpfs",
        driver=driver,
    )


def _anonymous(destination: str, path: str) -> Volume:
    return Volume(
        name=destination, kind="anonymous", lifetime="container", path=path, driver="local"
    )


def _files(spec: swarm.ContainerSpec) -> Iterator[Mount]:
    secrets = [("secret", "/run/secrets/", one.secret_name, one.file) for one in spec.secrets or ()]
    configs = [("config", "/", one.config_name, one.file) for one in spec.configs or ()]
    for kind, folder, name, file in (*secrets, *configs):
        # Without a file the content goes elsewhere: into the runtime, not the container's tree.
        if file:
            yield Mount(
                destination=file.name if file.name.startswith("/") else folder + file.name,
                volume=Volume(
                    name=name, kind=kind, lifetime="config", path=f"{_CONTAINER}.{kind.title()}s"
                ),
                read_only=True,
            )

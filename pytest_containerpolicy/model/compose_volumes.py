"""The volumes and mounts of a Compose service.

What a replacement destroys, measured with Docker Compose 2.40.3: `up` re-attaches anonymous
volumes to the container it recreates, but `up --renew-anon-volumes`, `down` and `rm` followed by
`up` start with a new one, so their lifetime is the container's.
https://github.com/compose-spec/compose-spec/blob/main/05-services.md#volumes
"""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from pytest_containerpolicy.model.container import Mount
from pytest_containerpolicy.model.docker_volumes import named_volume_lifetime, tmpfs, tmpfs_size
from pytest_containerpolicy.model.quantities import compose_bytes
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.targets import compose_documents as compose

_NO_OPTIONS = compose.Volume()


def mounts_of(project: compose.Project, name: str) -> tuple[Mount, ...]:
    """What a service mounts, `volumes_from` included; later mounts win a destination."""
    found = {mount.destination: mount for mount in _mounts(project, name, frozenset())}
    return tuple(found.values())


def _mounts(project: compose.Project, name: str, seen: frozenset[str]) -> Iterator[Mount]:
    service = project.services.get(name)
    if service is None or name in seen:
        return
    for reference in service.volumes_from:
        yield from _borrowed(project, name, reference, seen | {name})
    yield from _own_mounts(project, service, f"services.{name}")


def _borrowed(
    project: compose.Project, name: str, reference: str, seen: frozenset[str]
) -> Iterator[Mount]:
    # `container:NAME` lends what another project declares: nothing is known of it here.
    if reference.startswith("container:"):
        return
    path = f"services.{name}.volumes_from"
    # Compose drops the mode: what `db:ro` lends can be written to.
    for mount in _mounts(project, reference.partition(":")[0], seen):
        if mount.volume.kind == "tmpfs":
            continue
        yield replace(mount, volume=replace(mount.volume, path=path))


def _own_mounts(project: compose.Project, service: compose.Service, path: str) -> Iterator[Mount]:
    for entry in service.volumes:
        yield _mount(entry, volume_of(entry, project.volumes, f"{path}.volumes"))
    for text in service.tmpfs:
        yield _tmpfs_mount(text, f"{path}.tmpfs")
    for kind, files in (("config", service.configs), ("secret", service.secrets)):
        yield from (_file_mount(kind, file, f"{path}.{kind}s") for file in files)


def _mount(entry: compose.ServiceVolume, volume: Volume) -> Mount:
    return Mount(
        destination=entry.target,
        volume=volume,
        read_only=entry.read_only,
        sub_path=entry.volume.subpath if entry.volume else "",
        propagation=entry.bind.propagation if entry.bind else "",
    )


def volume_of(
    entry: compose.ServiceVolume, declared: Mapping[str, compose.Volume], path: str
) -> Volume:
    """The volume that an entry of `volumes` mounts."""
    match entry.type:
        case "bind":
            return Volume(
                name=entry.source, kind="bind", lifetime="node", path=path, host_path=entry.source
            )
        case "tmpfs":
            size = compose_bytes(entry.tmpfs.size or 0) if entry.tmpfs else 0
            return tmpfs(entry.target, size, path)
        case "volume" if not entry.source:
            return Volume(name=entry.target, kind="anonymous", lifetime="container", path=path)
        case "volume":
            return _named(entry.source, declared.get(entry.source, _NO_OPTIONS), path)
        case "cluster":
            return Volume(name=entry.source, kind="cluster", lifetime="external", path=path)
    # An image or a named pipe: what is in it comes with the deployment, it is not data.
    return Volume(name=entry.source, kind=entry.type, lifetime="config", path=path)


def _named(name: str, document: compose.Volume, path: str) -> Volume:
    options = document.driver_opts
    return Volume(
        name=name,
        kind="volume",
        lifetime=named_volume_lifetime(document.driver, options.type),
        path=path,
        host_path=options.device if options.type in ("", "none") else "",
        in_memory=options.type == "tmpfs",
        driver=document.driver or "local",
    )


def _tmpfs_mount(text: str, path: str) -> Mount:
    target, _, options = text.partition(":")
    return Mount(
        destination=target,
        volume=tmpfs(target, tmpfs_size(options), path),
        read_only="ro" in options.split(","),
    )


def _file_mount(kind: str, file: compose.FileMount, path: str) -> Mount:
    folder = "/run/secrets/" if kind == "secret" else "/"
    target = file.target or file.source
    return Mount(
        destination=target if target.startswith("/") else folder + target,
        volume=Volume(name=file.source, kind=kind, lifetime="config", path=path),
        read_only=True,
    )

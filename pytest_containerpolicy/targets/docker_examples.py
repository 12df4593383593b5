"""Hand-written documents of an engine or a Swarm: what a policy's examples are made of.

    containers:
      - Name: /web
        Config: {Image: "example/web:1"}
        HostConfig: {Memory: 268435456}

A mapping from kind to documents in the API's own shape. What the daemon fills in when a container
is created may be left out; what only `docker inspect` can tell (`Mounts`) may not.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.docker_documents import (
    Container,
    HostConfig,
    LogConfig,
    NetworkSettings,
    Presence,
)
from pytest_containerpolicy.targets.documents import document_types
from pytest_containerpolicy.targets.inventory import Header, Inventory, Platform
from pytest_containerpolicy.targets.uri import suggestion

_DEFAULT_NETWORKS = ("", "default", "bridge")


def read_example_documents(content: Any, platform: Platform, name: str) -> Inventory:
    """The inventory that hand-written documents stand for; `name` is the file's, for errors.

    Raises `UsageError` that names the document and the field.
    """
    if not isinstance(content, dict):
        raise UsageError(f"{name}: write a mapping from kinds to lists of documents")
    documents = {kind: list(_documents(content[kind], kind, platform, name)) for kind in content}
    for position, container in enumerate(documents.get("containers", ())):
        _complete(container, f"{name}: containers[{position}]")
    return Inventory(Header(target=name, platform=platform, live=False), documents)


def _documents(found: Any, kind: Any, platform: Platform, name: str) -> Iterator[Any]:
    kinds = document_types(platform)
    if kind not in kinds:
        raise UsageError(f"{name}: unknown kind {kind!r}{suggestion(str(kind), kinds)}")
    if not isinstance(found, list):
        raise UsageError(f"{name}: {kind}: write a list of documents")
    for position, document in enumerate(found):
        try:
            yield msgspec.convert(document, kinds[kind])
        except msgspec.ValidationError as error:
            raise UsageError(f"{name}: {kind}[{position}]: {error}") from None


def _complete(container: Container, place: str) -> None:
    """Fill in what the daemon fills in when it creates a container."""
    host = container.host_config
    asked = bool(host.binds or host.mounts or container.config.volumes)
    if asked and container.mounts is None:
        raise UsageError(f"{place}: has volumes but no Mounts: copy them from `docker inspect`")
    host.log_config = host.log_config or LogConfig(type="json-file")
    if host.memory and not host.memory_swap:
        host.memory_swap = 2 * host.memory
    if container.network_settings is None:
        container.network_settings = NetworkSettings(networks=_joined(host))


def _joined(host: HostConfig) -> dict[str, Presence]:
    if host.network_mode.startswith("container:"):
        return {}
    is_default = host.network_mode in _DEFAULT_NETWORKS
    return {"bridge" if is_default else host.network_mode: Presence()}

"""The policies' examples are what a real engine and a real Swarm answer.

Every container and service of an example is created (not started) and read back: its values must
be those that the example gives. Images are replaced by one that declares nothing; what the
example's image declares moves into the container's own configuration.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.policies import builtin_pack
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets.docker_examples import read_example_documents
from pytest_containerpolicy.targets.inventory import Inventory, Platform
from pytest_containerpolicy.targets.yaml_files import load_documents
from tests.live import docker_specimens, swarm_specimens
from tests.nouns import workload_values
from tests.testbed import Engine, Swarm

FOLDER = builtin_pack().folder
PREFIX = "example-"
IMAGE = "testbed/pause:1"
ENGINES_OWN = ("default", "bridge", "host", "none")
# Names and images are replaced; the engine fills in the propagation of every bind mount.
REPLACED = ("ref", "name", "image", "image_digest", "propagation")
# How many nodes there are decides what a global service has.
BY_NODES = ("replicas", "max_unavailable", "max_surge")


def examples(platform: Platform) -> list[Any]:
    """The examples of a platform, but for those of what could not be read."""
    files = sorted(FOLDER.glob(f"*/*/*.{platform}.yaml"))
    return [
        pytest.param(file, id=file.relative_to(FOLDER).as_posix())
        for file in files
        if not file.name.startswith("unknown-")
    ]


@pytest.fixture(params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("file", examples("docker"))
def test_containers(engine: Engine, file: Path) -> None:
    """An example's containers, created and read back, have the values of the example."""
    content = load_documents(file)[0].content
    example = read_example_documents(content, "docker", file.name)
    with containers(engine, content, example):
        live = docker_specimens.read(engine)

    # What only a running container has is the example's word alone.
    unknown = {"published_ports"} if "Ports:" in file.read_text() else set()
    assert example_values(example, unknown) == live_values(live, example, unknown)


@pytest.mark.parametrize("file", examples("swarm"))
def test_services(testbed_swarm: Swarm, file: Path) -> None:
    """An example's services, created and read back, have the values of the example."""
    manager = testbed_swarm.managers[0]
    content = load_documents(file)[0].content
    example = read_example_documents(content, "swarm", file.name)
    with services(manager, content):
        live = swarm_specimens.read(manager)

    is_global = "Global" in file.read_text()
    unknown = set(BY_NODES) if is_global else set()
    expected, found = example_values(example, unknown), live_values(live, example, unknown)
    for values in found.values():
        values["placement"]["required"].pop()
    assert expected == found


def example_values(example: Inventory, unknown: set[str]) -> dict[str, Any]:
    """The values of an example's workloads."""
    return workload_values(build_model(example), {*REPLACED, *unknown})


def live_values(live: Inventory, example: Inventory, unknown: set[str]) -> dict[str, Any]:
    """The values of the workloads that were created, by the names that the example gives them."""
    found = workload_values(build_model(live), {*REPLACED, *unknown})
    names = workload_values(build_model(example))
    return {name: found[PREFIX + name] for name in names}


@contextmanager
def containers(engine: Engine, content: Mapping[str, Any], example: Inventory) -> Iterator[None]:
    """The containers of an example, with the volumes and networks that they name."""
    ids: dict[str, str] = {}
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(engine.client())).api
        for document in example.documents("containers"):
            for name in sorted(networks_of(document) - set(ENGINES_OWN)):
                if not api.networks(names=[f"^{name}$"]):
                    undo.callback(api.remove_network, api.create_network(name)["Id"])
        for volume in content.get("volumes", ()):
            api.create_volume(volume["Name"], volume["Driver"], volume.get("Options"))
        for written, document in zip(
            content["containers"], example.documents("containers"), strict=True
        ):
            undo.callback(remove_volumes, api, document)
            image = stand_in(api, written, document, undo)
            created = create_container(api, written, document, ids, image)
            undo.callback(api.remove_container, created, v=True, force=True)
            ids[document.id or document.name] = created
            join(api, created, networks_of(document))
        yield


def networks_of(document: docker.Container) -> set[str]:
    """The networks that a container must be on."""
    settings = document.network_settings
    return set((settings.networks if settings else None) or ())


def stand_in(
    api: Any, written: Mapping[str, Any], document: docker.Container, undo: ExitStack
) -> str:
    """The image of a container: one that exposes its ports, where only an image may do that."""
    ports = written.get("Config", {}).get("ExposedPorts")
    if not ports or not document.host_config.network_mode.startswith("container:"):
        return IMAGE
    source = api.create_container_from_config({"Image": IMAGE, "ExposedPorts": ports})["Id"]
    image = str(api.commit(source)["Id"])
    api.remove_container(source)
    undo.callback(api.remove_image, image, force=True)
    return image


def create_container(
    api: Any,
    written: Mapping[str, Any],
    document: docker.Container,
    ids: Mapping[str, str],
    image: str = IMAGE,
) -> str:
    """Create a container as an example writes it; its id."""
    config, host = dict(written.get("Config", {})), dict(written.get("HostConfig", {}))
    shared = document.host_config.network_mode.partition("container:")[2]
    if shared:
        host["NetworkMode"] = f"container:{ids[shared]}"
    named = {bind.partition(":")[0] for bind in document.host_config.binds or ()}
    declared: dict[str, dict[str, str]] = {
        mount.destination: {}
        for mount in document.mounts or ()
        if mount.type == "volume" and mount.name not in named
    }
    if image != IMAGE:
        del config["ExposedPorts"]
    body = {**config, "Image": image, "HostConfig": host}
    body["Volumes"] = {**config.get("Volumes", {}), **declared}
    name = PREFIX + document.name.removeprefix("/")
    return str(api.create_container_from_config(body, name)["Id"])


def join(api: Any, container: str, wanted: set[str]) -> None:
    """Connect a container to the networks it must be on, and disconnect it from the others."""
    joined = set(api.inspect_container(container)["NetworkSettings"]["Networks"] or ())
    for name in wanted - joined:
        api.connect_container_to_network(container, name)
    for name in joined - wanted:
        api.disconnect_container_from_network(container, name)


def remove_volumes(api: Any, document: docker.Container) -> None:
    """Remove the volumes that a container had by name."""
    existing = {volume["Name"] for volume in api.volumes()["Volumes"] or ()}
    for mount in document.mounts or ():
        if mount.type == "volume" and mount.name in existing:
            api.remove_volume(mount.name)


@contextmanager
def services(manager: Engine, content: Mapping[str, Any]) -> Iterator[None]:
    """The services of an example, with the networks and images that they name; none runs."""
    names = {network["Id"]: network["Name"] for network in content.get("networks", ())}
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(manager.client())).api
        for name in sorted(set(names.values()) - set(ENGINES_OWN)):
            undo.enter_context(swarm_specimens.overlay_network(api, name))
        images = {}
        for image in content.get("images", ()):
            images.update(import_image(api, image))
        for name in images.values():
            undo.callback(api.remove_image, name)
        for service in content["services"]:
            spec = runnable(service["Spec"], names, images)
            made = swarm_specimens.create_service(api, PREFIX + service["Spec"]["Name"], spec)
            undo.callback(api.remove_service, made)
        yield


def runnable(
    spec: Mapping[str, Any], names: Mapping[str, str], images: Mapping[str, str]
) -> dict[str, Any]:
    """A service's specification with an image that exists, and no node to run on."""
    task = spec["TaskTemplate"]
    container = {**task["ContainerSpec"]}
    container["Image"] = images.get(container["Image"], IMAGE)
    placement = dict(task.get("Placement", {}))
    constraints = [*placement.get("Constraints", ()), *swarm_specimens.NOWHERE["Constraints"]]
    attached = [{"Target": names[one["Target"]]} for one in task.get("Networks", ())]
    changed = {
        **task,
        "ContainerSpec": container,
        "Placement": {**placement, "Constraints": constraints},
        "Networks": attached,
    }
    return {**{key: spec[key] for key in spec if key != "Name"}, "TaskTemplate": changed}


def import_image(api: Any, image: Mapping[str, Any]) -> dict[str, str]:
    """An empty image that declares the same volumes, by the name that stands in the example."""
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    config = image.get("Config") or {}
    assert {"Volumes"} >= set(config), "only volumes can be declared so far"
    changes = [f"VOLUME {path}" for path in config.get("Volumes", {})]
    names = {}
    for tag in image["RepoTags"]:
        repository, _, version = f"{PREFIX}{tag}".partition(":")
        api.import_image_from_data(empty.getvalue(), repository, version, changes)
        names[tag] = f"{PREFIX}{tag}"
    return names

"""Hand-written documents: the shortest that is unambiguous is enough, and errors name the place."""

from typing import Any

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.docker_examples import read_example_documents
from pytest_containerpolicy.targets.inventory import Platform

FILE = "fail-x.docker.yaml"


def read(content: Any, platform: Platform = "docker") -> Workload:
    """The only workload of an example."""
    (workload,) = build_model(read_example_documents(content, platform, FILE)).all(Workload)
    return workload


def a_container(**more: Any) -> dict[str, Any]:
    """The documents of an example with one container."""
    return {"containers": [{"Name": "/web", "Config": {"Image": "web:1"}, **more}]}


def test_shortest_container() -> None:
    """A name is enough; the rest is what the engine fills in."""
    workload = read({"containers": [{"Name": "/web"}]})
    (container,) = workload.containers

    assert ("web", ("bridge",), "no") == (workload.name, workload.networks, workload.restart)
    assert ("json-file", None) == (container.log_driver, container.swap_limit)


def test_shortest_service() -> None:
    """A name is enough for a service that nobody runs, an image for one that has a container."""
    spec = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "web:1"}}}

    assert 1 == read({"services": [{"Spec": spec}]}, "swarm").replicas


def test_swap_that_comes_with_memory() -> None:
    """The engine gives a container with a memory limit as much swap again."""
    (container,) = read(a_container(HostConfig={"Memory": 1024})).containers

    assert 2048 == container.swap_limit


@pytest.mark.parametrize(
    ("mode", "networks"),
    [("shop", ("shop",)), ("host", ("host",)), ("container:4f1d", ()), ("default", ("bridge",))],
)
def test_network_that_comes_with_the_mode(mode: str, networks: tuple[str, ...]) -> None:
    """The network mode says which network a container joins first."""
    assert networks == read(a_container(HostConfig={"NetworkMode": mode})).networks


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([], "write a mapping from kinds to lists of documents"),
        (None, "write a mapping from kinds to lists of documents"),
        ({"container": []}, "unknown kind 'container'; did you mean 'containers'?"),
        ({"services": []}, "unknown kind 'services'"),
        ({7: []}, "unknown kind 7"),
        ({"containers": {"Name": "/web"}}, "containers: write a list of documents"),
        ({"containers": [{}]}, "containers[0]: Object missing required field `Name`"),
        (
            {"containers": [{"Name": "/a"}, {"Name": "/b", "HostConfig": {"Memory": "1g"}}]},
            "containers[1]: Expected `int`, got `str` - at `$.HostConfig.Memory`",
        ),
        (
            a_container(HostConfig={"Binds": ["data:/data"]}),
            "containers[0]: has volumes but no Mounts: copy them from `docker inspect`",
        ),
    ],
)
def test_mistakes(content: Any, complaint: str) -> None:
    """A mistake names the file, the document and the field."""
    with pytest.raises(UsageError) as error:
        read_example_documents(content, "docker", FILE)

    assert str(error.value).startswith(f"{FILE}: {complaint}")

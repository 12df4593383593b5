"""What the answers of a Docker engine mean, on recordings of the current and the oldest one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook, UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.cluster import Engine, Node
from pytest_containerpolicy.model.container import Container, ContainerPort, Probe
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets import docker_documents as docker
from pytest_containerpolicy.targets.inventory import Header, Inventory, Unreadable
from tests.nouns import workload_values

RECORDED = Path(__file__).parent / "recorded" / "docker"
RECORDINGS = sorted(RECORDED.glob("engine-*.json"))
MIB = 2**20
ENGINES_OWN = ("image_digest",)


@pytest.fixture(params=RECORDINGS, ids=lambda file: file.stem)
def model(request: pytest.FixtureRequest) -> Model:
    """The model of one recorded engine."""
    return recorded(request.param)


def recorded(file: Path) -> Model:
    """The model of a recording."""
    return build_model(Inventory.from_bytes(file.read_bytes(), file.name))


def workload(model: Model, name: str) -> Workload:
    """The workload of a specimen."""
    found = model.get(Workload, f"specimen-{name}")
    assert found is not None
    return found


def container(model: Model, name: str) -> Container:
    """The only container of a specimen."""
    return workload(model, name).containers[0]


def an_engine(
    containers: Iterable[docker.Container] = (),
    unreadable: tuple[Unreadable, ...] = (),
    **more: Any,
) -> Model:
    """The model of an engine with these containers."""
    header = Header(target="engine:test", platform="docker", unreadable=unreadable)
    return build_model(Inventory(header, {"containers": list(containers), **more}))


def test_both_engines_mean_the_same() -> None:
    """The oldest engine's containers have the same values as the current one's."""
    oldest, current = (workload_values(recorded(file), ENGINES_OWN) for file in RECORDINGS)

    assert current == oldest


def test_only_plain_containers_that_are_kept(model: Model) -> None:
    """Compose's, Swarm's, Kubernetes' and stopped containers are no workloads of the engine."""
    names = {one.name.removeprefix("specimen-") for one in model.all(Workload)}

    assert set() == names & {"of-compose", "of-swarm", "of-kubernetes", "exited"}
    assert {"defaults", "exited-always"} <= names


def test_nothing_set(model: Model) -> None:
    """A container without any option has no limit, no health check and Docker's defaults."""
    plain, one = workload(model, "defaults"), container(model, "defaults")

    assert (None, None, None, None, None) == (
        one.memory_limit,
        one.memory_request,
        one.cpu_limit,
        one.pids_limit,
        one.swap_limit,
    )
    assert ("json-file", None) == (one.log_driver, one.log_limit)
    assert (None, False) == (one.gate, one.health_disabled)
    assert (10.0, "no", ("bridge",)) == (plain.grace_period, plain.restart, plain.networks)
    assert ((), ()) == (plain.published_ports, plain.volumes)


def test_limits(model: Model) -> None:
    """Limits are bytes and cores; MemorySwap is memory and swap together."""
    one = container(model, "limits")

    assert (64 * MIB, 32 * MIB, 64 * MIB) == (
        one.memory_limit,
        one.memory_request,
        one.swap_limit,
    )
    assert (0.5, 100) == (one.cpu_limit, one.pids_limit)


def test_cpu_quota(model: Model) -> None:
    """A CPU quota is a share of its period, 100 ms by default; swap is twice the memory."""
    one = container(model, "quota")

    assert (0.5, 128 * MIB) == (one.cpu_limit, one.swap_limit)


@pytest.mark.parametrize("name", ["quota", "swapping"])
def test_no_pids_limit(model: Model, name: str) -> None:
    """A PIDs limit of -1 or 0 is none."""
    assert container(model, name).pids_limit is None


def test_unlimited_swap(model: Model) -> None:
    """-1 is swap without bound."""
    assert container(model, "swapping").swap_limit == -1


def test_health_of_the_image(model: Model) -> None:
    """A health check that the image brings is the container's."""
    expected = Probe(handler="exec", period=2, timeout=2, failure_threshold=3)

    assert expected == container(model, "healthy").gate


def test_health_switched_off(model: Model) -> None:
    """NONE switches the image's health check off."""
    one = container(model, "unwatched")

    assert (None, True) == (one.gate, one.health_disabled)


def test_health_with_defaults(model: Model) -> None:
    """What a health check leaves out is Docker's default: every 30 s, 30 s to answer."""
    expected = Probe(handler="exec", start_period=20, period=30, timeout=30, failure_threshold=5)

    assert expected == container(model, "watched").gate


def test_stopping(model: Model) -> None:
    """The stop signal and the seconds until the kill are the container's own."""
    assert container(model, "stopping").stop_signal == "SIGQUIT"
    assert workload(model, "stopping").grace_period == 30


def test_restart(model: Model) -> None:
    """The restart policy keeps the engine's word, and how often it is tried."""
    failing = workload(model, "failing")
    assert ("on-failure", 5) == (failing.restart, failing.restart_attempts)


def test_published_ports(model: Model) -> None:
    """An absent address is every address, an absent number one that the engine picks."""
    ports = [
        (port.container_port, port.number, port.address, port.protocol)
        for port in workload(model, "published").published_ports
    ]

    assert [
        (8080, 18080, "", "TCP"),
        (8081, None, "127.0.0.1", "UDP"),
        (8082, 18082, "::1", "TCP"),
    ] == ports


def test_container_ports(model: Model) -> None:
    """What is exposed and what is published are the container's ports."""
    assert (
        ContainerPort(number=8080),
        ContainerPort(number=8081, protocol="UDP"),
        ContainerPort(number=8082),
    ) == container(model, "published").ports


def test_publish_all(model: Model) -> None:
    """-P publishes every exposed port under a number that the engine picks."""
    (port,) = workload(model, "published-all").published_ports

    assert (8080, None, True) == (port.container_port, port.number, port.on_all_interfaces)


def test_binding_address_of_the_network(model: Model) -> None:
    """Where a port names no address, the network's default address is meant."""
    (port,) = workload(model, "published-inside").published_ports

    assert port.on_loopback


def test_host_network(model: Model) -> None:
    """On the host's network nothing is published, whatever the bindings say."""
    host = workload(model, "host-network")

    assert (True, ()) == (host.host_network, host.published_ports)


def test_no_network(model: Model) -> None:
    """The network `none` is the only one joined."""
    assert workload(model, "no-network").networks == ("none",)


def test_log_limits(model: Model) -> None:
    """json-file is bounded by its options, local by its own defaults; sizes are decimal."""
    assert container(model, "rotating").log_limit == 30_000_000
    assert container(model, "local-log").log_limit == 100_000_000


def test_security(model: Model) -> None:
    """User, privileges and a read-only root are the container's own."""
    one = container(model, "privileged")

    assert ("65532", True, True) == (one.user, one.privileged, one.read_only_root)


@pytest.mark.parametrize(
    ("destination", "kind", "lifetime"),
    [
        ("/host", "bind", "node"),
        ("/named", "volume", "node"),
        ("/nfs", "volume", "external"),
        ("/memory", "volume", "container"),
        ("/nameless", "anonymous", "container"),
        ("/data", "anonymous", "container"),
        ("/run", "tmpfs", "container"),
        ("/scratch", "tmpfs", "container"),
    ],
)
def test_lifetimes(model: Model, destination: str, kind: str, lifetime: str) -> None:
    """What a replacement destroys follows from what is mounted and from the volume's driver."""
    mounts = {mount.destination: mount.volume for mount in container(model, "mounts").mounts}

    assert (kind, lifetime) == (mounts[destination].kind, mounts[destination].lifetime)


def test_mount_options(model: Model) -> None:
    """Read-only mounts and the sizes of memory file systems are known."""
    mounts = {mount.destination: mount for mount in container(model, "mounts").mounts}

    assert {"/host", "/run"} == {name for name, mount in mounts.items() if mount.read_only}
    assert (MIB, MIB) == (
        mounts["/run"].volume.size_limit,
        mounts["/scratch"].volume.size_limit,
    )
    assert mounts["/host"].volume.host_path == "/tmp"  # noqa: S108


def test_named_volumes(model: Model) -> None:
    """Only volumes with a name of their own are listed; their passwords are not."""
    volumes = {volume.ref.name: volume.driver_options for volume in model.all(NamedVolume)}

    assert {
        "specimen-data": (),
        "specimen-nfs": ("type=nfs",),
        "specimen-memory": ("type=tmpfs",),
    } == volumes


def test_platform(model: Model) -> None:
    """The engine, its host and its networks are nouns of their own."""
    (engine,), (host,) = model.all(Engine), model.all(Node)

    assert model.header.version == engine.version
    assert "inactive" == engine.swarm_state
    assert (True, True) == (host.memory > 0, host.cpu > 0)
    assert {"bridge", "host", "none"} <= {network.ref.name for network in model.all(Network)}


def test_digest_of_the_repository() -> None:
    """The running digest is the one under which the container's own repository knows the image."""
    image = docker.Image(
        id="sha256:1",
        repo_digests=["mirror.example/web@sha256:aa", "example.org:5000/web@sha256:bb"],
    )
    web = docker.Container(
        name="/web", image="sha256:1", config=docker.ContainerConfig(image="example.org:5000/web:1")
    )
    (workload,) = an_engine([web], images=[image]).all(Workload)

    assert "sha256:bb" == workload.containers[0].image_digest


@pytest.mark.parametrize(("project", "kind"), [(None, "volume"), ("shop", "anonymous")])
def test_generated_name_that_is_asked_for(project: str | None, kind: str) -> None:
    """Who names an old anonymous volume keeps it; Compose only does so when it recreates."""
    from pytest_containerpolicy.model.engine_containers import is_anonymous

    name = "9c" * 32
    web = docker.Container(
        name="/web",
        config=docker.ContainerConfig(labels=docker.Labels(project=project)),
        host_config=docker.HostConfig(binds=[f"{name}:/data"]),
    )
    mount = docker.MountPoint(type="volume", name=name, destination="/data", driver="local")

    assert (kind == "anonymous") == is_anonymous(web, mount)


def test_unreadable_volumes() -> None:
    """Without the volumes nothing is said of containers: NFS would look like a local disk."""
    model = an_engine(unreadable=(Unreadable("volumes", "GET /volumes: forbidden (403)"),))

    with pytest.raises(CannotLook, match="forbidden"):
        model.require(Workload)


def test_odd_port() -> None:
    """A port that is none is an error that shows it."""
    web = docker.Container(
        name="/web", config=docker.ContainerConfig(exposed_ports={"http": docker.Presence()})
    )

    with pytest.raises(UsageError, match="'http' is not a port"):
        an_engine([web])

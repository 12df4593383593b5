"""What the answers of a Swarm's manager mean, on a recording and on hand-made nodes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.cluster import Engine, Node, Swarm
from pytest_containerpolicy.model.container import Container, Probe
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import Network
from pytest_containerpolicy.model.volume import NamedVolume
from pytest_containerpolicy.model.workload import Rollout, Workload
from pytest_containerpolicy.targets import swarm_documents as swarm
from pytest_containerpolicy.targets.docker_documents import Presence
from pytest_containerpolicy.targets.inventory import Header, Inventory, Unreadable

RECORDING = Path(__file__).parent / "recorded" / "docker" / "swarm-1.56.json"
MIB = 2**20


@pytest.fixture(scope="module")
def model() -> Model:
    """The model of the recorded Swarm of three managers."""
    return build_model(Inventory.from_bytes(RECORDING.read_bytes(), RECORDING.name))


def workload(model: Model, name: str) -> Workload:
    """The workload of a specimen."""
    found = model.get(Workload, f"specimen-{name}")
    assert found is not None
    return found


def container(model: Model, name: str) -> Container:
    """The only container of a specimen."""
    return workload(model, name).containers[0]


def rollout(model: Model, name: str) -> Rollout:
    """How a specimen is updated."""
    found = workload(model, name).rollout
    assert found is not None
    return found


def a_swarm(
    service: swarm.Service,
    nodes: Iterable[swarm.Node] = (),
    unreadable: tuple[Unreadable, ...] = (),
) -> Model:
    """The model of a Swarm with one service."""
    header = Header(target="swarm:test", platform="swarm", unreadable=unreadable)
    return build_model(Inventory(header, {"services": [service], "nodes": list(nodes)}))


def a_node(name: str, address: str = "10.0.0.1", **spec: object) -> swarm.Node:
    """A node that is ready."""
    return swarm.Node(
        id=f"id-{name}",
        spec=swarm.NodeSpec(**spec),  # type: ignore[arg-type]
        description=swarm.NodeDescription(
            hostname=name,
            platform=swarm.Platform(architecture="x86_64", os="linux"),
            engine=swarm.NodeEngine(labels={"Disk": "SSD"}),
        ),
        status=swarm.NodeStatus(state="ready", addr=address),
    )


def a_service(*constraints: str) -> swarm.Service:
    """A global service with these constraints."""
    task = swarm.TaskTemplate(
        container_spec=swarm.ContainerSpec(image="web:1"),
        placement=swarm.Placement(constraints=list(constraints)),
    )
    mode = swarm.Mode(global_=Presence())
    return swarm.Service(spec=swarm.ServiceSpec(name="web", task_template=task, mode=mode))


NODES = (
    a_node("alpha", "10.0.0.1", role="manager", labels={"zone": "EU"}),
    a_node("beta", "10.0.1.2", labels={"zone": "us"}),
    a_node("gamma", "10.0.1.3"),
)


def test_nothing_set(model: Model) -> None:
    """A service without any option has one replica and swarmkit's defaults."""
    plain, one = workload(model, "defaults"), container(model, "defaults")

    assert (1, 10.0, "always") == (plain.replicas, plain.grace_period, plain.restart)
    assert (None, None, None, None, None) == (
        one.memory_limit,
        one.memory_request,
        one.cpu_limit,
        one.cpu_request,
        one.pids_limit,
    )
    assert ("", None, None) == (one.log_driver, one.log_limit, one.gate)


def test_default_update(model: Model) -> None:
    """Without UpdateConfig one task after the other is stopped first; a failure pauses."""
    update = rollout(model, "defaults")

    assert ("stop-first", 1, 0) == (update.order, update.max_unavailable, update.max_surge)
    assert ("pause", 5.0, 0.0) == (update.failure_action, update.monitor, update.settle)
    assert (False, False) == (update.is_declared, update.rollback_configured)


def test_start_first(model: Model) -> None:
    """start-first turns parallelism into surge; declared values are kept."""
    update = rollout(model, "start-first")

    assert ("start-first", 0, 2) == (update.order, update.max_unavailable, update.max_surge)
    assert ("rollback", 30.0, 10.0) == (update.failure_action, update.monitor, update.settle)
    assert (True, True) == (update.is_declared, update.rollback_configured)


@pytest.mark.parametrize(("name", "together"), [("all-at-once", 4), ("too-parallel", 2)])
def test_parallelism(model: Model, name: str, together: int) -> None:
    """A parallelism of 0, or above the replicas, takes all tasks at once."""
    assert together == rollout(model, name).max_unavailable


def test_no_replicas(model: Model) -> None:
    """Zero replicas are zero, not the default of one."""
    assert workload(model, "none").replicas == 0


@pytest.mark.parametrize(("name", "replicas"), [("everywhere", 3), ("on-one-node", 1)])
def test_global(model: Model, name: str, replicas: int) -> None:
    """A global service has a task on each node that its constraints allow."""
    one = workload(model, name)

    assert (replicas, True) == (one.replicas, one.one_per_node)


@pytest.mark.parametrize("name", ["job", "global-job"])
def test_jobs(model: Model, name: str) -> None:
    """Jobs run to completion and are not rolled out."""
    one = workload(model, name)

    assert (True, None) == (one.runs_to_completion, one.rollout)


def test_job_replicas(model: Model) -> None:
    """As many tasks of a job as may run at once."""
    assert workload(model, "job").replicas == 2


def test_limits(model: Model) -> None:
    """Limits and reservations are bytes and cores."""
    one = container(model, "limits")

    assert (64 * MIB, 32 * MIB) == (one.memory_limit, one.memory_request)
    assert (0.5, 0.25, 100) == (one.cpu_limit, one.cpu_request, one.pids_limit)


def test_spread(model: Model) -> None:
    """Replicas per node block scheduling; preferences do not."""
    spread = [
        (one.kind, one.topology_key, one.required, one.at_most)
        for one in workload(model, "placed").spread
    ]

    assert [
        ("replicas-per-node", "node.id", True, 1),
        ("topology-spread", "node.labels.zone", False, None),
    ] == spread


def test_published_ports(model: Model) -> None:
    """Ports are published by the routing mesh or by each node, on every address."""
    ports = [
        (port.container_port, port.number, port.protocol, port.mode, port.on_all_interfaces)
        for port in workload(model, "published").published_ports
    ]

    assert [
        (8080, 18080, "TCP", "ingress", True),
        (8081, None, "UDP", "host", True),
    ] == ports


def test_networks(model: Model) -> None:
    """Networks are called by name; encryption is known."""
    encrypted = {network.ref.name for network in model.all(Network) if network.encrypted}

    assert ("specimen-plain", "specimen-secret") == workload(model, "joined").networks
    assert {"specimen-secret"} == encrypted


def test_host_network(model: Model) -> None:
    """The nodes' own network is known, though the Swarm does not list it."""
    assert (False, True) == (
        workload(model, "joined").host_network,
        workload(model, "host-network").host_network,
    )


def test_health_of_the_image(model: Model) -> None:
    """The image's health check is the task's, its empty fields filled by the service's."""
    inherited = Probe(handler="exec", period=2, timeout=2, failure_threshold=3)
    slower = Probe(handler="exec", period=9, timeout=2, failure_threshold=3)

    assert (inherited, slower) == (
        container(model, "healthy").gate,
        container(model, "slower").gate,
    )


def test_health_switched_off(model: Model) -> None:
    """NONE switches the image's health check off."""
    one = container(model, "unwatched")

    assert (None, True) == (one.gate, one.health_disabled)


def test_image_on_other_nodes(model: Model) -> None:
    """Whether an image that this manager does not hold has a health check is not guessed."""
    with pytest.raises(CannotLook, match="image testbed/absent:1 is not on this manager"):
        _ = container(model, "elsewhere").gate


def test_stopping(model: Model) -> None:
    """The stop signal and the seconds until the kill are the service's own."""
    assert container(model, "stopping").stop_signal == "SIGQUIT"
    assert workload(model, "stopping").grace_period == 30


@pytest.mark.parametrize(("name", "restart"), [("failing", "on-failure"), ("once", "no")])
def test_restart(model: Model, name: str, restart: str) -> None:
    """Restart conditions are the engine's policies by another name."""
    assert restart == workload(model, name).restart


def test_log_limit(model: Model) -> None:
    """A log driver's options bound the log."""
    one = container(model, "rotating")

    assert ("json-file", 30_000_000) == (one.log_driver, one.log_limit)


def test_security(model: Model) -> None:
    """User and a read-only root are the service's own."""
    one = container(model, "confined")

    assert ("65532", True) == (one.user, one.read_only_root)


@pytest.mark.parametrize(
    ("destination", "kind", "lifetime"),
    [
        ("/named", "volume", "node"),
        ("/nameless", "anonymous", "container"),
        ("/nfs", "volume", "external"),
        ("/host", "bind", "node"),
        ("/scratch", "tmpfs", "container"),
        ("/data", "anonymous", "container"),
        ("/run/secrets/key.pem", "secret", "config"),
        ("/etc/app.conf", "config", "config"),
    ],
)
def test_lifetimes(model: Model, destination: str, kind: str, lifetime: str) -> None:
    """What a new task finds again follows from what is mounted, the image's volumes included."""
    mounts = {mount.destination: mount.volume for mount in container(model, "mounts").mounts}

    assert (kind, lifetime) == (mounts[destination].kind, mounts[destination].lifetime)


def test_named_volumes(model: Model) -> None:
    """The volumes that services name, with what their driver mounts."""
    volumes = {volume.ref.name: volume.driver_options for volume in model.all(NamedVolume)}

    assert {"specimen-data": (), "specimen-nfs": ("type=nfs",)} == volumes


def test_platform(model: Model) -> None:
    """Managers, the leader, the Swarm's settings and the manager that was asked are known."""
    nodes = model.nodes
    (settings,), (engine,) = model.all(Swarm), model.all(Engine)

    assert ["manager1", "manager2", "manager3"] == sorted(node.name for node in nodes)
    assert ({True}, {"reachable"}, 1) == (
        {node.is_manager for node in nodes},
        {node.reachability for node in nodes},
        sum(node.is_leader for node in nodes),
    )
    assert (False, 90 * 86400.0) == (settings.autolock, settings.certificate_expiry)
    assert ("active", model.header.version) == (engine.swarm_state, engine.version)


@pytest.mark.parametrize(
    ("constraints", "names"),
    [
        ([], "alpha beta gamma"),
        (["node.role == manager"], "alpha"),
        (["node.role!=manager"], "beta gamma"),
        (["node.hostname == BETA"], "beta"),
        (["NODE.HOSTNAME == beta"], "beta"),
        (["node.id == id-gamma"], "gamma"),
        (["node.labels.zone == eu"], "alpha"),
        (["node.labels.zone != eu"], "beta gamma"),
        (["node.labels.Zone == eu"], ""),
        (["engine.labels.Disk == ssd"], "alpha beta gamma"),
        (["node.platform.os == linux", "node.labels.zone == us"], "beta"),
        (["node.platform.arch == aarch64"], ""),
        (["node.ip == 10.0.1.3"], "gamma"),
        (["node.ip == 10.0.1.0/24"], "beta gamma"),
        (["node.ip != 10.0.1.0/24"], "alpha"),
        (["node.ip != home"], ""),
        (["node.colour != red"], ""),
    ],
)
def test_constraints(constraints: list[str], names: str) -> None:
    """Constraints match nodes as swarmkit matches them."""
    model = a_swarm(a_service(*constraints), NODES)
    (one,) = model.all(Workload)

    assert names.split() == [node.name for node in one.eligible_nodes]
    assert len(names.split()) == one.replicas


@pytest.mark.parametrize(("availability", "eligible"), [("active", 1), ("pause", 0), ("drain", 0)])
def test_availability(availability: str, eligible: int) -> None:
    """Only active nodes take new tasks."""
    model = a_swarm(a_service(), [a_node("alpha", availability=availability)])

    assert eligible == len(model.all(Workload)[0].eligible_nodes)


def test_down_node() -> None:
    """A node that is down takes no task."""
    node = a_node("alpha")
    node.status = swarm.NodeStatus(state="down")

    assert [False] == [one.ready for one in a_swarm(a_service(), [node]).all(Node)]


def test_default_log_of_the_swarm() -> None:
    """A service without a log driver has the Swarm's default one."""
    log = swarm.LogDriver(name="local")
    settings = swarm.Swarm(spec=swarm.SwarmSpec(task_defaults=swarm.TaskDefaults(log_driver=log)))
    header = Header(target="swarm:test", platform="swarm")
    documents: dict[str, list[Any]] = {"services": [a_service()], "swarm": [settings]}
    (one,) = build_model(Inventory(header, documents)).all(Workload)

    assert "local" == one.containers[0].log_driver


def test_unreadable_nodes() -> None:
    """Without the nodes nothing is said of services: a global one would have no replicas."""
    gap = Unreadable("nodes", "GET /nodes: forbidden (403)")

    with pytest.raises(CannotLook, match="forbidden"):
        a_swarm(a_service(), unreadable=(gap,)).require(Workload)

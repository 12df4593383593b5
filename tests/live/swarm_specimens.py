"""Services that show how a Swarm answers: each sets what one row of the model comes from.

`python -m tests.live.swarm_specimens` records what a manager says of them for the unit tests; the
live tests compare the recording with what it says today.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError

from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.docker_specimens import RECORDED
from tests.testbed import Engine, swarm
from tests.testbed.shell import wait_until

PREFIX = "specimen-"
MIB = 2**20
SECOND = 10**9
PAUSE, STATEFUL = "testbed/pause:1", "testbed/stateful:1"
ZONE = {f"{PREFIX}zone": "eu"}
# Nothing runs there: most services only have to be known.
NOWHERE = {"Constraints": [f"node.labels.{PREFIX}zone == nowhere"]}
NETWORKS: dict[str, dict[str, str]] = {f"{PREFIX}plain": {}, f"{PREFIX}secret": {"encrypted": ""}}
_SECRET_ENVIRONMENT = {"Env": ["PASSWORD=hunter2"], "Command": ["/pause", "hunter2"]}


def container(image: str = PAUSE, **spec: Any) -> dict[str, Any]:
    """A ContainerSpec."""
    return {"Image": image, **_SECRET_ENVIRONMENT, **spec}


def service(task: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A ServiceSpec; without a placement of its own it runs nowhere."""
    return {
        "TaskTemplate": {"ContainerSpec": container(), "Placement": NOWHERE, **(task or {})},
        **spec,
    }


def mounted(client: Any) -> dict[str, Any]:
    """A ContainerSpec with a mount of every kind."""
    nfs = {"Name": "local", "Options": {"type": "nfs", "o": "addr=192.0.2.1,password=hunter2"}}
    secret = {"SecretID": client.secrets()[0]["ID"], "SecretName": f"{PREFIX}key"}
    config = {"ConfigID": client.configs()[0]["ID"], "ConfigName": f"{PREFIX}conf"}
    owner = {"UID": "0", "GID": "0", "Mode": 0o444}
    return container(
        STATEFUL,
        Mounts=[
            {"Type": "volume", "Source": f"{PREFIX}data", "Target": "/named"},
            {"Type": "volume", "Target": "/nameless"},
            {
                "Type": "volume",
                "Source": f"{PREFIX}nfs",
                "Target": "/nfs",
                "VolumeOptions": {"DriverConfig": nfs},
            },
            {"Type": "bind", "Source": "/srv", "Target": "/host", "ReadOnly": True},
            {"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": MIB}},
        ],
        Secrets=[{**secret, "File": {"Name": "key.pem", **owner}}],
        Configs=[{**config, "File": {"Name": "/etc/app.conf", **owner}}],
    )


SPECIMENS: dict[str, dict[str, Any]] = {
    "defaults": {"TaskTemplate": {"ContainerSpec": container()}},
    "start-first": service(
        Mode={"Replicated": {"Replicas": 5}},
        UpdateConfig={
            "Parallelism": 2,
            "Delay": 10 * SECOND,
            "FailureAction": "rollback",
            "Monitor": 30 * SECOND,
            "Order": "start-first",
        },
        RollbackConfig={"Parallelism": 1, "Order": "stop-first"},
    ),
    "all-at-once": service(Mode={"Replicated": {"Replicas": 4}}, UpdateConfig={"Delay": 0}),
    "too-parallel": service(Mode={"Replicated": {"Replicas": 2}}, UpdateConfig={"Parallelism": 9}),
    "none": service(Mode={"Replicated": {"Replicas": 0}}),
    "everywhere": service({"Placement": {}}, Mode={"Global": {}}),
    "on-one-node": service(
        {"Placement": {"Constraints": ["node.hostname == manager2"]}}, Mode={"Global": {}}
    ),
    "job": service(Mode={"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 4}}),
    "global-job": service(Mode={"GlobalJob": {}}),
    "limits": service(
        {
            "Resources": {
                "Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 64 * MIB, "Pids": 100},
                "Reservations": {"NanoCPUs": 250_000_000, "MemoryBytes": 32 * MIB},
            }
        }
    ),
    "placed": service(
        {
            "Placement": {
                **NOWHERE,
                "MaxReplicas": 1,
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}],
            }
        }
    ),
    "published": service(
        EndpointSpec={
            "Ports": [
                {"TargetPort": 8080, "PublishedPort": 18080, "Protocol": "tcp"},
                {"TargetPort": 8081, "Protocol": "udp", "PublishMode": "host"},
            ]
        }
    ),
    "joined": service({"Networks": [{"Target": name} for name in NETWORKS]}),
    "host-network": service({"Networks": [{"Target": "host"}]}),
    "healthy": service({"ContainerSpec": container(STATEFUL)}),
    "unwatched": service({"ContainerSpec": container(STATEFUL, Healthcheck={"Test": ["NONE"]})}),
    "slower": service({"ContainerSpec": container(STATEFUL, Healthcheck={"Interval": 9 * SECOND})}),
    "elsewhere": service({"ContainerSpec": container("testbed/absent:1")}),
    "stopping": service(
        {"ContainerSpec": container(StopSignal="SIGQUIT", StopGracePeriod=30 * SECOND)}
    ),
    "failing": service({"RestartPolicy": {"Condition": "on-failure"}}),
    "once": service({"RestartPolicy": {"Condition": "none"}}),
    "rotating": service(
        {"LogDriver": {"Name": "json-file", "Options": {"max-size": "10m", "max-file": "3"}}}
    ),
    "confined": service({"ContainerSpec": container(User="65532", ReadOnly=True)}),
}


@contextmanager
def specimens(manager: Engine) -> Iterator[None]:
    """All specimens, and what they refer to, until the end."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(manager.client())).api
        _label(client, manager, ZONE)
        undo.callback(_label, client, manager, {})
        for name, options in NETWORKS.items():
            undo.enter_context(overlay_network(client, name, options=options))
        undo.callback(client.remove_secret, client.create_secret(f"{PREFIX}key", b"hunter2"))
        undo.callback(client.remove_config, client.create_config(f"{PREFIX}conf", b"hunter2"))
        mounts = service({"ContainerSpec": mounted(client)})
        for name, spec in {**SPECIMENS, "mounts": mounts}.items():
            undo.callback(client.remove_service, create_service(client, PREFIX + name, spec))
        yield


def create_service(client: Any, name: str, spec: dict[str, Any]) -> str:
    """Create a service just as it is written; its id."""
    labels = {"token": "hunter2"}
    url = f"{client.base_url}/v{client.api_version}/services/create"
    response = client.post(url, json={"Name": name, "Labels": labels, **spec})
    assert response.status_code == 201, response.text
    return str(response.json()["ID"])


@contextmanager
def overlay_network(client: Any, name: str, **options: Any) -> Iterator[str]:
    """An overlay network, its id; it is removed as soon as the services in it are gone."""
    network = client.create_network(name, driver="overlay", **options)["Id"]

    def is_removed() -> bool:
        try:
            client.remove_network(network)
        except APIError:
            return False
        return True

    try:
        yield network
    finally:
        wait_until(f"network {name} to be unused", is_removed, 60)


def _label(client: Any, manager: Engine, labels: dict[str, str]) -> None:
    node = next(n for n in client.nodes() if n["Description"]["Hostname"] == manager.name)
    spec = {**node["Spec"], "Labels": labels}
    client.update_node(node["ID"], node["Version"]["Index"], spec)


def read(manager: Engine) -> Inventory:
    """What a target reads of the Swarm."""
    return parse_target(f"swarm+unix://{manager.socket}").read(Timeouts())


def only_specimens(inventory: Inventory) -> Inventory:
    """The inventory without the services that others have in the Swarm at the same time."""
    kinds = {kind: list(inventory.documents(kind)) for kind in inventory.kinds}
    kinds["services"] = [one for one in kinds["services"] if one.spec.name.startswith(PREFIX)]
    return Inventory(inventory.header, kinds)


def recording(manager: Engine) -> Path:
    """The file that the specimens are recorded in."""
    return RECORDED / f"swarm-{manager.api_version}.json"


def _record() -> None:
    with swarm() as testbed:
        manager = testbed.managers[0]
        with specimens(manager):
            content = only_specimens(read(manager)).to_bytes().decode()
        recording(manager).write_text(content.replace(str(manager.folder), "/var/lib/docker"))


if __name__ == "__main__":
    _record()

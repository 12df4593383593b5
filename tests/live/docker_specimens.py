"""Containers that show how an engine answers: each sets what one row of the model comes from.

`python -m tests.live.docker_specimens` records what both engines say of them for the unit tests;
the live tests compare the recordings with what the engines say today.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.testbed import Engine, docker_engine
from tests.testbed.engine import Version

RECORDED = Path(__file__).parents[1] / "unit" / "recorded" / "docker"
PREFIX = "specimen-"
MIB = 2**20
SECOND = 10**9
SERVER, STATEFUL = "testbed/server:1", "testbed/stateful:1"
NETWORK = f"{PREFIX}loopback"
NETWORK_OPTIONS = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
VOLUMES: dict[str, dict[str, str]] = {
    f"{PREFIX}data": {},
    f"{PREFIX}nfs": {"type": "nfs", "o": "addr=192.0.2.1,rw", "device": ":/exports"},
    f"{PREFIX}memory": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
}
_SERVED = {"8080/tcp": [{"HostIp": "", "HostPort": "18080"}]}
SPECIMENS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "limits": {
        "HostConfig": {
            "Memory": 64 * MIB,
            "MemoryReservation": 32 * MIB,
            "MemorySwap": 64 * MIB,
            "NanoCpus": 500_000_000,
            "PidsLimit": 100,
        }
    },
    "quota": {"HostConfig": {"CpuQuota": 50_000, "Memory": 64 * MIB, "PidsLimit": -1}},
    "swapping": {"HostConfig": {"Memory": 64 * MIB, "MemorySwap": -1, "PidsLimit": 0}},
    "healthy": {"Image": STATEFUL},
    "unwatched": {"Image": STATEFUL, "Healthcheck": {"Test": ["NONE"]}},
    "watched": {
        "Healthcheck": {
            "Test": ["CMD-SHELL", "curl --user admin:secret localhost"],
            "StartPeriod": 20 * SECOND,
            "Retries": 5,
        }
    },
    "stopping": {"StopSignal": "SIGQUIT", "StopTimeout": 30},
    "failing": {"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}}},
    "published": {
        "HostConfig": {
            "PortBindings": {
                **_SERVED,
                "8081/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
                "8082/tcp": [{"HostIp": "::1", "HostPort": "18082"}],
            }
        }
    },
    "published-all": {"HostConfig": {"PublishAllPorts": True}},
    "published-inside": {"HostConfig": {"NetworkMode": NETWORK, "PortBindings": _SERVED}},
    "host-network": {"HostConfig": {"NetworkMode": "host", "PortBindings": _SERVED}},
    "no-network": {"HostConfig": {"NetworkMode": "none"}},
    "rotating": {
        "HostConfig": {
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
        }
    },
    "local-log": {"HostConfig": {"LogConfig": {"Type": "local", "Config": {}}}},
    "privileged": {
        "User": "65532",
        "HostConfig": {"Privileged": True, "ReadonlyRootfs": True},
    },
    "mounts": {
        "Image": STATEFUL,
        "HostConfig": {
            "Binds": ["/tmp:/host:ro", f"{PREFIX}data:/named"],  # noqa: S108  # only mounted
            "Tmpfs": {"/run": "size=1m,ro"},
            "Mounts": [
                {"Type": "volume", "Source": f"{PREFIX}nfs", "Target": "/nfs"},
                {"Type": "volume", "Source": f"{PREFIX}memory", "Target": "/memory"},
                {"Type": "volume", "Target": "/nameless"},
                {"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": MIB}},
            ],
        },
    },
    "of-compose": {
        "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    },
    "of-swarm": {"Labels": {"com.docker.swarm.service.name": "shop_web"}},
    "of-kubernetes": {"Labels": {"io.kubernetes.pod.name": "web-0"}},
    "exited": {},
    "exited-always": {"HostConfig": {"RestartPolicy": {"Name": "always"}}},
}
_STOPPED = ("exited", "exited-always")
_SECRETS = {"Env": ["PASSWORD=hunter2"], "Cmd": ["--token", "hunter2"]}


@contextmanager
def specimens(engine: Engine, names: Iterable[str] = tuple(SPECIMENS)) -> Iterator[None]:
    """The specimens, there until the end; the stopped ones have run."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(engine.client()))
        network = client.api.create_network(NETWORK, driver="bridge", options=NETWORK_OPTIONS)
        undo.callback(client.api.remove_network, network["Id"])
        for name, options in VOLUMES.items():
            client.api.create_volume(name, driver="local", driver_opts=options)
            undo.callback(client.api.remove_volume, name)
        for name in names:
            body = SPECIMENS[name]
            labels = {"token": "hunter2", **body.get("Labels", {})}
            config = {"Image": SERVER, **_SECRETS, **body, "Labels": labels}
            created = client.api.create_container_from_config(config, PREFIX + name)
            undo.callback(client.api.remove_container, created["Id"], v=True, force=True)
            if name in _STOPPED:
                client.api.start(created)
                client.api.stop(created, timeout=0)
        yield


def read(engine: Engine) -> Inventory:
    """What a target reads of the engine."""
    return parse_target(f"engine+unix://{engine.socket}").read(Timeouts())


def only_specimens(inventory: Inventory) -> Inventory:
    """The inventory without what others have on the engine at the same time."""
    kinds = {kind: list(inventory.documents(kind)) for kind in inventory.kinds}
    kinds["containers"] = [one for one in kinds["containers"] if PREFIX in one.name]
    images = {container.image for container in kinds["containers"]}
    kinds["images"] = [one for one in kinds["images"] if one.id in images]
    mounted = {mount.name for one in kinds["containers"] for mount in one.mounts or ()}
    kinds["volumes"] = [one for one in kinds["volumes"] if one.name in mounted]
    joined = {name for one in kinds["containers"] for name in one.network_settings.networks or ()}
    kinds["networks"] = [one for one in kinds["networks"] if one.name in joined]
    return Inventory(inventory.header, kinds)


def recording(engine: Engine) -> Path:
    """The file that an engine's specimens are recorded in."""
    return RECORDED / f"engine-{engine.api_version}.json"


def _record(version: Version) -> None:
    with docker_engine(version) as engine, specimens(engine):
        content = only_specimens(read(engine)).to_bytes().decode()
        recording(engine).write_text(content.replace(str(engine.folder), "/var/lib/docker"))


if __name__ == "__main__":
    _record("current")
    _record("oldest")

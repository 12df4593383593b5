"""What the files of a Compose project mean in the model."""

from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.logs import log_limit
from pytest_containerpolicy.model.workload import Rollout, Workload
from pytest_containerpolicy.targets.compose_values import compose_bytes, compose_seconds
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

MIB = 2**20


def _workload(folder: Path, service: str, rest: str = "") -> Workload:
    file = folder / "compose.yaml"
    file.write_text(f"services:\n  web: {{image: x, {service}}}\n{rest}")
    model = build_model(parse_target(f"compose:{file}").read(Timeouts()))
    return next(workload for workload in model.all(Workload) if workload.name == "web")


def _container(folder: Path, service: str, rest: str = "") -> Container:
    return _workload(folder, service, rest).containers[0]


@pytest.mark.parametrize(
    ("service", "attribute", "value"),
    [
        ("mem_limit: 64m", "memory_limit", 64 * MIB),
        ("deploy: {resources: {limits: {memory: 1g}}}", "memory_limit", 1024 * MIB),
        ("mem_limit: 0", "memory_limit", None),
        ("mem_limit: 1e9", "memory_limit", None),
        ("mem_reservation: 32m", "memory_request", 32 * MIB),
        ("cpus: 0.5", "cpu_limit", 0.5),
        ("cpu_quota: 50000", "cpu_limit", 0.5),
        ("cpu_quota: 50000, cpu_period: 25000", "cpu_limit", 2.0),
        ("cpu_quota: -1", "cpu_limit", None),
        ("deploy: {resources: {reservations: {cpus: '1'}}}", "cpu_request", None),
        ("pids_limit: -1", "pids_limit", None),
        ("deploy: {resources: {limits: {pids: 7}}}", "pids_limit", 7),
        ("memswap_limit: -1", "swap_limit", -1),
        ("memswap_limit: 0", "swap_limit", None),
        ("storage_opt: {size: 1G}", "writable_layer_limit", 1024 * MIB),
        ("logging: {driver: local}", "log_limit", 100_000_000),
        ("logging: {options: {max-size: 10m}}", "log_limit", 10_000_000),
        ("logging: {driver: json-file}", "log_limit", None),
        ("healthcheck: {test: [NONE]}", "health_disabled", True),
        ("healthcheck: {disable: true, test: x}", "health", None),
        ("healthcheck: {interval: 5s}", "health", None),
    ],
)
def test_container_value(tmp_path: Path, service: str, attribute: str, value: Any) -> None:
    """Each key gives the value that is in force after `docker compose up`."""
    assert value == getattr(_container(tmp_path, service), attribute)


@pytest.mark.parametrize(
    ("service", "restart"),
    [
        ("user: x", "no"),
        ("restart: on-failure:3", "on-failure"),
        ("restart: always, deploy: {restart_policy: {condition: none}}", "no"),
        ("restart: always, deploy: {restart_policy: {}}", "no"),
        ("deploy: {restart_policy: {condition: any}}", "always"),
    ],
)
def test_restart(tmp_path: Path, service: str, restart: str) -> None:
    """`deploy.restart_policy` replaces `restart`, even when it is empty."""
    assert restart == _workload(tmp_path, service).restart


@pytest.mark.parametrize(
    ("service", "attempts"),
    [
        ("restart: on-failure:3", 3),
        ("restart: on-failure", 0),
        ("restart: on-failure:3, deploy: {restart_policy: {condition: on-failure}}", 0),
        ("deploy: {restart_policy: {condition: on-failure, max_attempts: 5}}", 5),
    ],
)
def test_restart_attempts(tmp_path: Path, service: str, attempts: int) -> None:
    """How often `on-failure` restarts it, from where Compose takes the policy itself."""
    assert attempts == _workload(tmp_path, service).restart_attempts


def test_update_config_is_not_honoured(tmp_path: Path) -> None:
    """Every copy is stopped before new ones start, whatever `update_config` says."""
    service = "deploy: {replicas: 3, update_config: {order: start-first, parallelism: 1}}"
    wanted = Rollout(strategy="recreate", order="stop-first", max_unavailable=3, max_surge=0)
    assert wanted == _workload(tmp_path, service).rollout


@pytest.mark.parametrize(
    ("volume", "options", "kind", "lifetime"),
    [
        ("/data", "", "anonymous", "container"),
        ("data:/data", "{}", "volume", "node"),
        ("data:/data", "{driver: rexray}", "volume", "external"),
        ("data:/data", "{driver_opts: {type: nfs, device: ':/x'}}", "volume", "external"),
        ("data:/data", "{driver_opts: {type: tmpfs, device: x}}", "volume", "container"),
        ("data:/data", "{external: true}", "volume", "node"),
        ("./data:/data", "", "bind", "node"),
    ],
)
def test_volume_lifetime(
    tmp_path: Path, volume: str, options: str, kind: str, lifetime: str
) -> None:
    """A replacement, or the loss of the node, destroys what the kind of volume says."""
    rest = f"volumes: {{data: {options}}}\n" if options else ""
    mount = _container(tmp_path, f"volumes: ['{volume}']", rest).mounts[0]
    assert (kind, lifetime) == (mount.volume.kind, mount.volume.lifetime)


def test_volumes_from_lends_the_mounts(tmp_path: Path) -> None:
    """A service has the mounts of the services in `volumes_from`, writable; its own win."""
    rest = "  db: {image: y, volumes: [/a, /b]}\n"
    mounts = _container(tmp_path, "volumes_from: ['db:ro'], tmpfs: /b", rest).mounts
    assert {"/a": ("anonymous", False), "/b": ("tmpfs", False)} == {
        mount.destination: (mount.volume.kind, mount.read_only) for mount in mounts
    }


def test_awaited_service_runs_to_completion(tmp_path: Path) -> None:
    """A service whose successful end another one waits for is a job."""
    rest = "  app: {image: y, depends_on: {web: {condition: service_completed_successfully}}}\n"
    assert _workload(tmp_path, "user: x", rest).runs_to_completion


@pytest.mark.parametrize(
    ("text", "size"),
    [("512m", 512 * MIB), ("1.5GiB", 1536 * MIB), ("10 kb", 10240), ("7", 7), ("1b", 1), (5, 5)],
)
def test_byte_values(text: str | int, size: int) -> None:
    """Units are binary, whatever their spelling."""
    assert size == compose_bytes(text)


@pytest.mark.parametrize("text", ["lots", "-1", "1mm", "512Mx", "", "m"])
def test_text_that_is_no_byte_value(text: str) -> None:
    """What is not a size is an error that shows it."""
    with pytest.raises(UsageError, match="is not a size such as 512m"):
        compose_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90), ("1.5h", 5400), ("2d", 172800), ("0", 0), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    """Units add up; days and weeks are known."""
    assert seconds == compose_seconds(text)


@pytest.mark.parametrize("text", ["10", "1 minute", "s", "", "1m 30s"])
def test_text_that_is_no_duration(text: str) -> None:
    """A number without a unit is no duration."""
    with pytest.raises(UsageError, match="is not a duration such as 10s"):
        compose_seconds(text)


@pytest.mark.parametrize(
    ("driver", "options", "limit"),
    [
        ("", {}, None),
        ("json-file", {"max-size": "10m", "max-file": "3"}, 30_000_000),
        ("json-file", {"max-size": "-1"}, None),
        ("local", {"max-size": "1k"}, 5000),
        ("syslog", {"max-size": "1k"}, None),
    ],
)
def test_log_limit(driver: str, options: dict[str, object], limit: int | None) -> None:
    """Only the two drivers that keep logs on the engine's disk bound them, in decimal units."""
    assert limit == log_limit(driver, options)

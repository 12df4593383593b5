"""What a Swarm manager answers about services, nodes and the Swarm itself.

Only the fields that the model uses: environment values, commands, the contents of configs and
secrets and the join tokens are dropped while decoding and never enter an inventory.
Names are the API's own (https://docs.docker.com/reference/api/engine/), in snake case; durations
are nanoseconds.
"""

from typing import Any

from msgspec import field

from pytest_containerpolicy.targets.docker_documents import (
    Document,
    Healthcheck,
    Image,
    Info,
    Labels,
    LogOptions,
    Network,
    Presence,
    TmpfsOptions,
    VolumeOptions,
)


class BindOptions(Document):
    propagation: str = ""


class VolumeDriver(Document):
    name: str = ""
    options: VolumeOptions | None = None


class MountVolumeOptions(Document):
    driver_config: VolumeDriver | None = None
    subpath: str = ""


class Mount(Document):
    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    bind_options: BindOptions | None = None
    volume_options: MountVolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class FileTarget(Document):
    name: str = ""


class SecretReference(Document):
    secret_name: str = ""
    file: FileTarget | None = None


class ConfigReference(Document):
    config_name: str = ""
    file: FileTarget | None = None


class ContainerSpec(Document):
    image: str = ""
    user: str = ""
    healthcheck: Healthcheck | None = None
    stop_signal: str = ""
    stop_grace_period: int | None = None
    read_only: bool = False
    mounts: list[Mount] | None = None
    secrets: list[SecretReference] | None = None
    configs: list[ConfigReference] | None = None


class Limits(Document):
    """Limits and reservations of one task; 0 is "not set"."""

    nano_cpus: int = field(default=0, name="NanoCPUs")
    memory_bytes: int = 0
    pids: int = 0


class Resources(Document):
    limits: Limits | None = None
    reservations: Limits | None = None


class RestartPolicy(Document):
    condition: str = ""


class SpreadOver(Document):
    spread_descriptor: str = ""


class Preference(Document):
    spread: SpreadOver | None = None


class Placement(Document):
    constraints: list[str] | None = None
    preferences: list[Preference] | None = None
    max_replicas: int = 0


class NetworkAttachment(Document):
    """A network by id, or by name in a hand-written service."""

    target: str = ""


class LogDriver(Document):
    name: str = ""
    options: LogOptions | None = None


class TaskTemplate(Document):
    container_spec: ContainerSpec | None = None
    resources: Resources | None = None
    restart_policy: RestartPolicy | None = None
    placement: Placement | None = None
    networks: list[NetworkAttachment] | None = None
    log_driver: LogDriver | None = None


class Replicated(Document):
    replicas: int | None = None


class ReplicatedJob(Document):
    max_concurrent: int | None = None


class Mode(Document):
    replicated: Replicated | None = None
    global_: Presence | None = field(default=None, name="Global")
    replicated_job: ReplicatedJob | None = None
    global_job: Presence | None = None


class UpdateConfig(Document):
    """How tasks are replaced; a missing `parallelism` is 0, and that is all at once."""

    parallelism: int = 0
    delay: int = 0
    failure_action: str = ""
    monitor: int = 0
    max_failure_ratio: float = 0
    order: str = ""


class PortConfig(Document):
    target_port: int = 0
    published_port: int = 0
    protocol: str = ""
    publish_mode: str = ""


class EndpointSpec(Document):
    mode: str = ""
    ports: list[PortConfig] | None = None


class ServiceSpec(Document):
    name: str
    labels: Labels | None = None
    task_template: TaskTemplate = field(default_factory=TaskTemplate)
    mode: Mode | None = None
    update_config: UpdateConfig | None = None
    rollback_config: UpdateConfig | None = None
    networks: list[NetworkAttachment] | None = None
    endpoint_spec: EndpointSpec | None = None


class Service(Document):
    """`GET /services/{id}`."""

    spec: ServiceSpec
    id: str = field(default="", name="ID")


class NodeSpec(Document):
    labels: dict[str, str] | None = None
    role: str = "worker"
    availability: str = "active"


class Platform(Document):
    architecture: str = ""
    os: str = field(default="", name="OS")


class NodeEngine(Document):
    engine_version: str = ""
    labels: dict[str, str] | None = None


class NodeDescription(Document):
    hostname: str = ""
    platform: Platform | None = None
    resources: Limits | None = None
    engine: NodeEngine | None = None


class NodeStatus(Document):
    state: str = ""
    addr: str = ""


class ManagerStatus(Document):
    leader: bool = False
    reachability: str = ""


class Node(Document):
    """`GET /nodes/{id}`."""

    id: str = field(name="ID")
    spec: NodeSpec = field(default_factory=NodeSpec)
    description: NodeDescription | None = None
    status: NodeStatus | None = None
    manager_status: ManagerStatus | None = None


class CertificateConfig(Document):
    node_cert_expiry: int = 0


class EncryptionConfig(Document):
    auto_lock_managers: bool = False


class TaskDefaults(Document):
    log_driver: LogDriver | None = None


class SwarmSpec(Document):
    task_defaults: TaskDefaults | None = None
    ca_config: CertificateConfig | None = field(default=None, name="CAConfig")
    encryption_config: EncryptionConfig | None = None


class Swarm(Document):
    """`GET /swarm`, without its join tokens."""

    spec: SwarmSpec = field(default_factory=SwarmSpec)
    id: str = field(default="", name="ID")


DOCUMENT_TYPES: dict[str, Any] = {
    "services": Service,
    "nodes": Node,
    "networks": Network,
    "images": Image,
    "swarm": Swarm,
    "info": Info,
}

"""What the Docker Engine API answers about containers, images, volumes, networks and itself.

Only the fields that the model uses. Environment values, commands, foreign labels (they may hold
passwords) and a health check's command are dropped while decoding and never enter an inventory.
Names are the API's own (https://docs.docker.com/reference/api/engine/), in snake case.
"""

from typing import Any

from msgspec import Struct, field


class Document(Struct, rename="pascal", omit_defaults=True, kw_only=True):
    """Base: Pascal case on the wire, absent fields stay absent."""


class Presence(Document):
    """An object of which only its being there counts."""


class Labels(Document):
    """The labels by which Compose, Swarm, Kubernetes and the engine mark what is theirs."""

    project: str | None = field(default=None, name="com.docker.compose.project")
    service: str | None = field(default=None, name="com.docker.compose.service")
    container_number: str | None = field(default=None, name="com.docker.compose.container-number")
    oneoff: str | None = field(default=None, name="com.docker.compose.oneoff")
    config_files: str | None = field(default=None, name="com.docker.compose.project.config_files")
    working_dir: str | None = field(default=None, name="com.docker.compose.project.working_dir")
    depends_on: str | None = field(default=None, name="com.docker.compose.depends_on")
    compose_volume: str | None = field(default=None, name="com.docker.compose.volume")
    compose_network: str | None = field(default=None, name="com.docker.compose.network")
    swarm_service: str | None = field(default=None, name="com.docker.swarm.service.name")
    stack: str | None = field(default=None, name="com.docker.stack.namespace")
    pod: str | None = field(default=None, name="io.kubernetes.pod.name")
    anonymous: str | None = field(default=None, name="com.docker.volume.anonymous")


NO_LABELS = Labels()


class Healthcheck(Document):
    """A health check, times in ns; of `test` only NONE, CMD or CMD-SHELL is kept."""

    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        # The command itself may hold passwords.
        self.test = self.test[:1] if self.test else None


class ContainerConfig(Document):
    """What the container was made with, the image's own configuration merged in."""

    image: str = ""
    user: str = ""
    labels: Labels | None = None
    healthcheck: Healthcheck | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    exposed_ports: dict[str, Presence] | None = None
    volumes: dict[str, Presence] | None = None


class LogConfig(Document):
    type: str = ""
    config: "LogOptions | None" = None


class LogOptions(Document, rename="kebab"):
    """The options that bound a container's log; others may hold tokens of log services."""

    max_size: str | None = None
    max_file: str | None = None


class RestartPolicy(Document):
    name: str = ""
    maximum_retry_count: int | None = None


class PortBinding(Document):
    host_ip: str = ""
    host_port: str = ""


class TmpfsOptions(Document):
    size_bytes: int | None = None


class MountRequest(Document):
    """A mount as it was asked for (`--mount`), in HostConfig."""

    type: str = ""
    target: str = ""
    source: str = ""
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Document):
    memory: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    nano_cpus: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    pids_limit: int | None = None
    storage_opt: "StorageOptions | None" = None
    log_config: LogConfig | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool = False
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    publish_all_ports: bool = False
    privileged: bool = False
    readonly_rootfs: bool = False
    binds: list[str] | None = None
    mounts: list[MountRequest] | None = None
    tmpfs: dict[str, str] | None = None


class StorageOptions(Document, rename="lower"):
    size: str | None = None


class MountPoint(Document):
    """A mount as it is: `name` and `driver` for volumes, `source` the path on the host."""

    destination: str
    type: str = ""
    name: str = ""
    source: str = ""
    driver: str = ""
    rw: bool = field(default=True, name="RW")
    propagation: str = ""


class NetworkSettings(Document):
    networks: dict[str, Presence] | None = None
    ports: dict[str, list[PortBinding] | None] | None = None


class State(Document):
    status: str = ""


class Container(Document):
    """`GET /containers/{id}/json`."""

    name: str
    id: str = ""
    image: str = ""
    state: State | None = None
    config: ContainerConfig = field(default_factory=ContainerConfig)
    host_config: HostConfig = field(default_factory=HostConfig)
    mounts: list[MountPoint] | None = None
    network_settings: NetworkSettings | None = None

    @property
    def labels(self) -> Labels:
        return self.config.labels or NO_LABELS

    @property
    def is_plain(self) -> bool:
        """Whether nobody but the engine keeps it: not Compose, a Swarm or a kubelet."""
        labels = self.labels
        return not (labels.project or labels.swarm_service or labels.pod)

    @property
    def is_one_off(self) -> bool:
        """Whether `docker compose run` made it, for one command."""
        return self.labels.oneoff == "True"

    @property
    def is_kept(self) -> bool:
        """Whether it runs, waits to run, or is started again with the daemon.

        A stopped container that only a person would start is history, not a workload:
        https://docs.docker.com/engine/containers/start-containers-automatically/
        """
        if self.state is None or self.state.status not in ("exited", "dead", "removing"):
            return True
        policy = self.host_config.restart_policy
        return policy is not None and policy.name == "always"


class ContainerSummary(Document):
    """One row of `GET /containers/json`: enough to ask for the rest."""

    id: str
    names: list[str] | None = None


class ImageConfig(Document):
    healthcheck: Healthcheck | None = None
    volumes: dict[str, Presence] | None = None
    exposed_ports: dict[str, Presence] | None = None


class Image(Document):
    """`GET /images/{id}/json`."""

    id: str
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    config: ImageConfig | None = None


class VolumeOptions(Document, rename="lower"):
    """What the `local` driver mounts (`nfs`, `tmpfs`, ...); other options may hold passwords."""

    type: str | None = None
    device: str | None = None


class Volume(Document):
    name: str
    driver: str = "local"
    labels: Labels | None = None
    options: VolumeOptions | None = None


class VolumeList(Document):
    volumes: list[Volume] | None = None


class NetworkOptions(Document, rename="lower"):
    encrypted: str | None = None
    host_binding: str | None = field(
        default=None, name="com.docker.network.bridge.host_binding_ipv4"
    )


class Network(Document):
    name: str
    id: str = ""
    driver: str = "bridge"
    scope: str = "local"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    options: NetworkOptions | None = None
    labels: Labels | None = None


class RemoteManager(Document):
    addr: str = ""


class SwarmInfo(Document):
    local_node_state: str = "inactive"
    control_available: bool = False
    remote_managers: list[RemoteManager] | None = None


class Info(Document):
    """`GET /info`: the daemon and its host."""

    name: str = ""
    server_version: str = ""
    api_version: str = ""
    driver: str = ""
    cgroup_version: str = ""
    logging_driver: str = ""
    live_restore_enabled: bool = False
    ncpu: int = field(default=0, name="NCPU")
    mem_total: int = 0
    swarm: SwarmInfo | None = None


DOCUMENT_TYPES: dict[str, Any] = {
    "containers": Container,
    "images": Image,
    "volumes": Volume,
    "networks": Network,
    "info": Info,
}

"""A Compose project in the normalised form that `docker compose config --format json` prints.

Only the fields that the model uses: environment values, labels, commands and build arguments are
not here, so they never enter an inventory. Byte values are numbers or text such as `512m`,
durations are text such as `1m30s`.
https://github.com/compose-spec/compose-spec/blob/main/spec.md
"""

from typing import Any

from msgspec import Struct, field

from pytest_containerpolicy.targets import docker_documents

Size = int | str
Number = int | float | str


class Document(Struct, omit_defaults=True, kw_only=True):
    """Base: absent fields stay absent."""


class Presence(Document):
    """Something of which only the presence matters."""


class Origin(Document):
    """Where something is declared first: the file, and the line of its name."""

    file: str
    line: int


class Limits(Document):
    """`deploy.resources.limits` and `.reservations`."""

    cpus: Number | None = None
    memory: Size | None = None
    pids: int | None = None


class Resources(Document):
    limits: Limits | None = None
    reservations: Limits | None = None


class RestartPolicy(Document):
    condition: str = ""
    max_attempts: int | None = None


class Deploy(Document):
    replicas: int | None = None
    resources: Resources = field(default_factory=Resources)
    restart_policy: RestartPolicy | None = None


class Healthcheck(Document):
    """A health check; of `test` only NONE, CMD or CMD-SHELL is kept."""

    test: list[str] | None = None
    interval: str | None = None
    timeout: str | None = None
    start_period: str | None = None
    retries: int | None = None
    disable: bool = False

    def __post_init__(self) -> None:
        # The command itself may hold passwords.
        self.test = self.test[:1] if self.test else None


class LogOptions(Document):
    """The options that bound a log; the others may hold tokens."""

    max_size: Number | None = field(default=None, name="max-size")
    max_file: Number | None = field(default=None, name="max-file")


class Logging(Document):
    driver: str = ""
    options: LogOptions = field(default_factory=LogOptions)


class StorageOptions(Document):
    size: Size | None = None


class Port(Document):
    """A published port; `published` is a number, a range to pick from, or absent."""

    target: int
    published: str | None = None
    host_ip: str = ""
    protocol: str = "tcp"


class BindOptions(Document):
    propagation: str = ""


class VolumeOptions(Document):
    subpath: str = ""


class TmpfsOptions(Document):
    size: Size | None = None


class ServiceVolume(Document):
    """A mount; a `volume` without a source is anonymous."""

    type: str
    target: str = ""
    source: str = ""
    read_only: bool = False
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None


class FileMount(Document):
    """A config or a secret in a container."""

    source: str
    target: str = ""


class Dependency(Document):
    condition: str = "service_started"


class Service(Document):
    """A service. `origin`, here and below, is not Compose's: the reader adds it."""

    origin: Origin | None = None
    image: str = ""
    build: Presence | None = None
    provider: Presence | None = None
    container_name: str = ""
    scale: int | None = None
    deploy: Deploy | None = None
    mem_limit: Size | None = None
    mem_reservation: Size | None = None
    memswap_limit: Size | None = None
    cpus: Number | None = None
    cpu_quota: Number | None = None
    cpu_period: Number | None = None
    pids_limit: int | None = None
    storage_opt: StorageOptions | None = None
    healthcheck: Healthcheck | None = None
    logging: Logging | None = None
    ports: list[Port] = field(default_factory=list)
    expose: list[str | int] = field(default_factory=list)
    volumes: list[ServiceVolume] = field(default_factory=list)
    volumes_from: list[str] = field(default_factory=list)
    tmpfs: list[str] = field(default_factory=list)
    configs: list[FileMount] = field(default_factory=list)
    secrets: list[FileMount] = field(default_factory=list)
    networks: dict[str, Presence | None] | None = None
    network_mode: str = ""
    depends_on: dict[str, Dependency] | None = None
    restart: str = ""
    stop_signal: str = ""
    stop_grace_period: str | None = None
    privileged: bool = False
    read_only: bool = False
    user: str = ""


class VolumeDriverOptions(Document):
    """What the local driver mounts; its option `o` may hold a password."""

    type: str = ""
    device: str = ""


class Volume(Document):
    origin: Origin | None = None
    name: str = ""
    driver: str = ""
    external: bool = False
    driver_opts: VolumeDriverOptions = field(default_factory=VolumeDriverOptions)


class NetworkDriverOptions(Document):
    encrypted: str | int | float | None = None
    host_binding: str = field(default="", name="com.docker.network.bridge.host_binding_ipv4")


class Network(Document):
    origin: Origin | None = None
    name: str = ""
    driver: str = ""
    external: bool = False
    internal: bool = False
    driver_opts: NetworkDriverOptions = field(default_factory=NetworkDriverOptions)


class Project(Document):
    """One project: what its files say together, services of inactive profiles left out."""

    name: str
    services: dict[str, Service] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)


# A project read from files is one document; one that runs is what its engine answers.
DOCUMENT_TYPES: dict[str, Any] = {"projects": Project, **docker_documents.DOCUMENT_TYPES}

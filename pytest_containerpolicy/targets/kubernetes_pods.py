"""Kubernetes objects' common parts, and pods.

Only the fields that the model uses: ten times faster than decoding everything, and what is
not here - environment values, secret data, commands, managedFields - never enters an inventory.
Names are the API's own (https://kubernetes.io/docs/reference/kubernetes-api/), in snake case.
"""

import re

from msgspec import Struct, field

IntOrString = int | str
Quantity = int | float | str
Labels = dict[str, str]
_SLEEP = re.compile(
    r"(?:(?:/bin/|/usr/bin/)?(?:ba|da|a)?sh -e?c )?(?:/bin/|/usr/bin/)?sleep ([0-9.]+)s?"
)


class Document(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base: camel case on the wire, absent fields stay absent."""


class OwnerReference(Document):
    kind: str
    name: str
    api_version: str = ""
    controller: bool | None = None


class Origin(Document):
    """Where a document of a file target stands: file, and the line its document starts at."""

    file: str
    line: int


class Metadata(Document):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: Labels | None = None
    owner_references: list[OwnerReference] | None = None


class KubernetesObject(Document):
    """An object. `origin` is not the API's: whoever reads files adds it."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    origin: Origin | None = field(default=None, name="$origin")


class SelectorRequirement(Document):
    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Document):
    match_labels: Labels | None = None
    match_expressions: list[SelectorRequirement] | None = None


class ResourceRequirements(Document):
    limits: dict[str, Quantity] | None = None
    requests: dict[str, Quantity] | None = None


class HttpGet(Document):
    port: IntOrString = 0
    path: str = ""


class PortHandler(Document):
    port: IntOrString = 0


class Exec(Document):
    """An exec handler; its command may hold passwords: only a plain sleep's seconds are kept."""

    command: list[str] | None = None
    sleep_seconds: float | None = field(default=None, name="$sleepSeconds")

    def __post_init__(self) -> None:
        if self.command:
            match = _SLEEP.fullmatch(" ".join(self.command).strip())
            self.sleep_seconds = float(match[1]) if match else None
        self.command = None


class Sleep(Document):
    seconds: int = 0


class Probe(Document):
    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: PortHandler | None = None
    grpc: PortHandler | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    timeout_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None


class LifecycleHandler(Document):
    exec: Exec | None = None
    http_get: HttpGet | None = None
    sleep: Sleep | None = None


class Lifecycle(Document):
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


class ContainerPort(Document):
    container_port: int
    name: str = ""
    protocol: str | None = None
    host_port: int | None = None
    host_ip: str | None = field(default=None, name="hostIP")


class VolumeMount(Document):
    name: str
    mount_path: str
    read_only: bool | None = None
    sub_path: str | None = None
    mount_propagation: str | None = None


class SecurityContext(Document):
    privileged: bool | None = None
    run_as_user: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None


class Container(Document):
    name: str
    image: str = ""
    restart_policy: str | None = None
    resources: ResourceRequirements | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    ports: list[ContainerPort] | None = None
    volume_mounts: list[VolumeMount] | None = None
    security_context: SecurityContext | None = None


class ClaimReference(Document):
    claim_name: str
    read_only: bool | None = None


class EmptyDir(Document):
    medium: str | None = None
    size_limit: Quantity | None = None


class HostPath(Document):
    path: str
    type: str | None = None


class ClaimSpec(Document):
    access_modes: list[str] | None = None
    resources: ResourceRequirements | None = None
    storage_class_name: str | None = None
    volume_name: str | None = None
    volume_mode: str | None = None


class ClaimTemplate(Document):
    metadata: Metadata = field(default_factory=Metadata)
    spec: ClaimSpec = field(default_factory=ClaimSpec)


class EphemeralVolume(Document):
    volume_claim_template: ClaimTemplate | None = None


class Presence(Document):
    """A volume source of which only the presence counts."""


class CsiVolume(Document):
    driver: str = ""


class PodVolume(Document):
    name: str
    persistent_volume_claim: ClaimReference | None = None
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    ephemeral: EphemeralVolume | None = None
    config_map: Presence | None = None
    secret: Presence | None = None
    projected: Presence | None = None
    downward_api: Presence | None = field(default=None, name="downwardAPI")
    csi: CsiVolume | None = None
    image: Presence | None = None
    git_repo: Presence | None = None
    nfs: Presence | None = None
    iscsi: Presence | None = None
    fc: Presence | None = None
    cephfs: Presence | None = None
    rbd: Presence | None = None
    glusterfs: Presence | None = None
    cinder: Presence | None = None
    flex_volume: Presence | None = None
    flocker: Presence | None = None
    quobyte: Presence | None = None
    storageos: Presence | None = None
    azure_disk: Presence | None = None
    azure_file: Presence | None = None
    vsphere_volume: Presence | None = None
    portworx_volume: Presence | None = None
    photon_persistent_disk: Presence | None = None
    gce_persistent_disk: Presence | None = None
    aws_elastic_block_store: Presence | None = None
    scale_io: Presence | None = field(default=None, name="scaleIO")


class Toleration(Document):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class NodeSelectorTerm(Document):
    match_expressions: list[SelectorRequirement] | None = None
    match_fields: list[SelectorRequirement] | None = None


class NodeSelector(Document):
    node_selector_terms: list[NodeSelectorTerm] = field(default_factory=list)


class NodeAffinity(Document):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Document):
    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None


class WeightedPodAffinityTerm(Document):
    pod_affinity_term: PodAffinityTerm


class PodAntiAffinity(Document):
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None
    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] | None = (
        None
    )


class Affinity(Document):
    node_affinity: NodeAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class TopologySpreadConstraint(Document):
    topology_key: str
    when_unsatisfiable: str
    max_skew: int = 1
    min_domains: int | None = None
    label_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None


class PodSecurityContext(Document):
    run_as_user: int | None = None


class PodSpec(Document):
    containers: list[Container] = field(default_factory=list)
    init_containers: list[Container] | None = None
    ephemeral_containers: list[Container] | None = None
    volumes: list[PodVolume] | None = None
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None
    host_network: bool | None = None
    node_name: str | None = None
    node_selector: Labels | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    priority_class_name: str | None = None
    resources: ResourceRequirements | None = None
    overhead: dict[str, Quantity] | None = None
    security_context: PodSecurityContext | None = None


class PodTemplate(Document):
    metadata: Metadata = field(default_factory=Metadata)
    spec: PodSpec = field(default_factory=PodSpec)


class Condition(Document):
    type: str
    status: str
    reason: str = ""


class PodStatus(Document):
    phase: str = ""
    pod_ip: str = field(default="", name="podIP")
    conditions: list[Condition] | None = None


class Pod(KubernetesObject):
    spec: PodSpec = field(default_factory=PodSpec)
    status: PodStatus | None = None

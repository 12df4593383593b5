"""Storage, quotas, nodes and namespaces of Kubernetes.

Only the fields that the model uses: ten times faster than decoding everything, and what is
not here - environment values, secret data, commands, managedFields - never enters an inventory.
Names are the API's own (https://kubernetes.io/docs/reference/kubernetes-api/), in snake case.
"""

from msgspec import field

from pytest_containerpolicy.targets.kubernetes_pods import (
    ClaimSpec,
    Condition,
    Document,
    HostPath,
    KubernetesObject,
    Metadata,
    NodeSelector,
    Presence,
    Quantity,
)


class ClaimStatus(Document):
    phase: str = ""
    access_modes: list[str] | None = None


class PersistentVolumeClaim(KubernetesObject):
    spec: ClaimSpec = field(default_factory=ClaimSpec)
    status: ClaimStatus | None = None


class VolumeNodeAffinity(Document):
    required: NodeSelector | None = None


class PersistentVolumeSpec(Document):
    access_modes: list[str] | None = None
    capacity: dict[str, Quantity] | None = None
    persistent_volume_reclaim_policy: str | None = None
    storage_class_name: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    host_path: HostPath | None = None
    local: Presence | None = None


class PersistentVolume(KubernetesObject):
    spec: PersistentVolumeSpec = field(default_factory=PersistentVolumeSpec)


class ClassAnnotations(Document):
    """The annotation of a StorageClass that has meaning for the API, by both its names."""

    is_default_class: str | None = field(
        default=None, name="storageclass.kubernetes.io/is-default-class"
    )
    is_default_class_beta: str | None = field(
        default=None, name="storageclass.beta.kubernetes.io/is-default-class"
    )


class ClassMetadata(Metadata):
    annotations: ClassAnnotations | None = None


class StorageClass(KubernetesObject):
    metadata: ClassMetadata = field(default_factory=ClassMetadata)
    provisioner: str = ""
    reclaim_policy: str | None = None
    volume_binding_mode: str | None = None
    allow_volume_expansion: bool | None = None


class QuotaScope(Document):
    scope_name: str = ""


class QuotaScopeSelector(Document):
    match_expressions: list[QuotaScope] | None = None


class QuotaSpec(Document):
    hard: dict[str, Quantity] | None = None
    scopes: list[str] | None = None
    scope_selector: QuotaScopeSelector | None = None


class QuotaStatus(Document):
    hard: dict[str, Quantity] | None = None
    used: dict[str, Quantity] | None = None


class ResourceQuota(KubernetesObject):
    spec: QuotaSpec = field(default_factory=QuotaSpec)
    status: QuotaStatus | None = None


class LimitRangeItem(Document):
    type: str
    default: dict[str, Quantity] | None = None
    default_request: dict[str, Quantity] | None = None
    max: dict[str, Quantity] | None = None
    min: dict[str, Quantity] | None = None


class LimitRangeSpec(Document):
    limits: list[LimitRangeItem] = field(default_factory=list)


class LimitRange(KubernetesObject):
    spec: LimitRangeSpec = field(default_factory=LimitRangeSpec)


class Taint(Document):
    key: str
    effect: str
    value: str = ""


class NodeSpec(Document):
    unschedulable: bool | None = None
    taints: list[Taint] | None = None


class NodeInfo(Document):
    kubelet_version: str = ""
    container_runtime_version: str = ""


class NodeStatus(Document):
    capacity: dict[str, Quantity] | None = None
    allocatable: dict[str, Quantity] | None = None
    conditions: list[Condition] | None = None
    node_info: NodeInfo = field(default_factory=NodeInfo)


class Node(KubernetesObject):
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus | None = None


class NamespaceStatus(Document):
    phase: str = ""


class Namespace(KubernetesObject):
    status: NamespaceStatus | None = None

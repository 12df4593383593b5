"""Pods and nodes of a cluster as its scheduler and its autoscalers see them.

More of a pod than an inventory keeps: read for an experiment, at the moment it is needed, and
written nowhere. Names are the API's own (https://kubernetes.io/docs/reference/kubernetes-api/).
"""

from msgspec import field

from pytest_containerpolicy.targets import kubernetes_cluster as cluster
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets.kubernetes_documents import BY_NAME, Kind
from pytest_containerpolicy.targets.kubernetes_pods import Document, KubernetesObject

_AUTOSCALER = "cluster-autoscaler.kubernetes.io"


class EvictionAnnotations(Document):
    """What Cluster Autoscaler and the kubelet write on pods, or read there."""

    safe_to_evict: str | None = field(default=None, name=f"{_AUTOSCALER}/safe-to-evict")
    safe_volumes: str | None = field(
        default=None, name=f"{_AUTOSCALER}/safe-to-evict-local-volumes"
    )
    mirror: str | None = field(default=None, name="kubernetes.io/config.mirror")


class ScheduledMetadata(pods.Metadata):
    uid: str = ""
    deletion_timestamp: str | None = None
    annotations: EvictionAnnotations | None = None


class PodAffinity(Document):
    required_during_scheduling_ignored_during_execution: list[pods.PodAffinityTerm] | None = None


class FullAffinity(pods.Affinity):
    pod_affinity: PodAffinity | None = None


class ScheduledSpec(pods.PodSpec):
    affinity: FullAffinity | None = None
    priority: int | None = None
    preemption_policy: str | None = None
    active_deadline_seconds: int | None = None
    resource_claims: list[pods.Presence] | None = None


class ScheduledStatus(pods.PodStatus):
    start_time: str | None = None


class ScheduledPod(pods.Pod):
    metadata: ScheduledMetadata = field(default_factory=ScheduledMetadata)
    spec: ScheduledSpec = field(default_factory=ScheduledSpec)
    status: ScheduledStatus | None = None


class NodeAnnotations(Document):
    """What keeps Cluster Autoscaler from removing a node."""

    scale_down_disabled: str | None = field(default=None, name=f"{_AUTOSCALER}/scale-down-disabled")


class NodeMetadata(pods.Metadata):
    annotations: NodeAnnotations | None = None


class AnnotatedNode(cluster.Node):
    metadata: NodeMetadata = field(default_factory=NodeMetadata)


PODS = Kind("v1", "pods", "Pod", ScheduledPod)
NODES = Kind("v1", "nodes", "Node", AnnotatedNode, namespaced=False)
NAMESPACES = BY_NAME["Namespace"]
CLAIMS = BY_NAME["PersistentVolumeClaim"]
VOLUMES = BY_NAME["PersistentVolume"]
BUDGETS = BY_NAME["PodDisruptionBudget"]
# Of these only who owns them is wanted.
OWNERS = (
    Kind("apps/v1", "replicasets", "ReplicaSet", KubernetesObject),
    Kind("batch/v1", "jobs", "Job", KubernetesObject),
)

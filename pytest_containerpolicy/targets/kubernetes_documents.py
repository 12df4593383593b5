"""The Kubernetes kinds that the model is built from, and where the API serves them."""

from typing import Any

from msgspec import Struct

from pytest_containerpolicy.targets import kubernetes_cluster as cluster
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets import kubernetes_workloads as workloads


class Kind(Struct, frozen=True):
    """A kind: its API path parts, the type it decodes to, and whether a cluster may lack it."""

    group_version: str
    plural: str
    name: str
    type: Any
    namespaced: bool = True
    optional: bool = False

    def path(self, namespace: str = "") -> str:
        """The list's URL path, of one namespace or of all."""
        prefix = "/apis" if "/" in self.group_version else "/api"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{prefix}/{self.group_version}{scope}/{self.plural}"

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.group_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Plural and group, as `kubectl auth can-i` takes them: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS = (
    Kind("v1", "pods", "Pod", pods.Pod),
    Kind("apps/v1", "replicasets", "ReplicaSet", workloads.WorkloadObject),
    Kind("apps/v1", "deployments", "Deployment", workloads.WorkloadObject),
    Kind("apps/v1", "statefulsets", "StatefulSet", workloads.WorkloadObject),
    Kind("apps/v1", "daemonsets", "DaemonSet", workloads.WorkloadObject),
    Kind("batch/v1", "jobs", "Job", workloads.Job),
    Kind("batch/v1", "cronjobs", "CronJob", workloads.CronJob),
    Kind("argoproj.io/v1alpha1", "rollouts", "Rollout", workloads.WorkloadObject, optional=True),
    Kind("v1", "services", "Service", workloads.Service),
    Kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", workloads.EndpointSlice),
    Kind("networking.k8s.io/v1", "ingresses", "Ingress", workloads.Ingress),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", workloads.NetworkPolicy),
    Kind(
        "gateway.networking.k8s.io/v1",
        "httproutes",
        "HTTPRoute",
        workloads.HTTPRoute,
        optional=True,
    ),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", workloads.PodDisruptionBudget),
    Kind(
        "autoscaling/v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        workloads.HorizontalPodAutoscaler,
    ),
    Kind("v1", "persistentvolumeclaims", "PersistentVolumeClaim", cluster.PersistentVolumeClaim),
    Kind("v1", "persistentvolumes", "PersistentVolume", cluster.PersistentVolume, namespaced=False),
    Kind(
        "storage.k8s.io/v1",
        "storageclasses",
        "StorageClass",
        cluster.StorageClass,
        namespaced=False,
    ),
    Kind("v1", "resourcequotas", "ResourceQuota", cluster.ResourceQuota),
    Kind("v1", "limitranges", "LimitRange", cluster.LimitRange),
    Kind("v1", "nodes", "Node", cluster.Node, namespaced=False),
    Kind("v1", "namespaces", "Namespace", cluster.Namespace, namespaced=False),
)
BY_NAME = {kind.name: kind for kind in KINDS}
DOCUMENT_TYPES = {kind.plural: kind.type for kind in KINDS}

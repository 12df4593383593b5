"""What controls pods, serves them and guards them.

Only the fields that the model uses: ten times faster than decoding everything, and what is
not here - environment values, secret data, commands, managedFields - never enters an inventory.
Names are the API's own (https://kubernetes.io/docs/reference/kubernetes-api/), in snake case.
"""

from msgspec import field

from pytest_containerpolicy.targets.kubernetes_pods import (
    ClaimTemplate,
    Document,
    IntOrString,
    KubernetesObject,
    Labels,
    LabelSelector,
    PodTemplate,
    Presence,
)


class RollingUpdate(Document):
    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None
    partition: int | None = None


class Strategy(Document):
    """A Deployment's, StatefulSet's or DaemonSet's strategy; Argo's `canary`/`blueGreen`."""

    type: str | None = None
    rolling_update: RollingUpdate | None = None
    canary: RollingUpdate | None = None
    blue_green: Presence | None = None


class ClaimRetention(Document):
    when_deleted: str | None = None
    when_scaled: str | None = None


class WorkloadReference(Document):
    kind: str = ""
    name: str = ""
    api_version: str = ""


class WorkloadSpec(Document):
    """The union of what Deployment, StatefulSet, DaemonSet, ReplicaSet and Rollout specify."""

    replicas: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplate | None = None
    workload_ref: WorkloadReference | None = None
    strategy: Strategy | None = None
    update_strategy: Strategy | None = None
    min_ready_seconds: int | None = None
    progress_deadline_seconds: int | None = None
    service_name: str | None = None
    pod_management_policy: str | None = None
    volume_claim_templates: list[ClaimTemplate] | None = None
    persistent_volume_claim_retention_policy: ClaimRetention | None = None


class WorkloadStatus(Document):
    replicas: int | None = None
    ready_replicas: int | None = None
    desired_number_scheduled: int | None = None


class WorkloadObject(KubernetesObject):
    spec: WorkloadSpec = field(default_factory=WorkloadSpec)
    status: WorkloadStatus | None = None


class JobSpec(Document):
    parallelism: int | None = None
    template: PodTemplate = field(default_factory=PodTemplate)


class Job(KubernetesObject):
    spec: JobSpec = field(default_factory=JobSpec)


class JobTemplate(Document):
    spec: JobSpec = field(default_factory=JobSpec)


class CronJobSpec(Document):
    job_template: JobTemplate = field(default_factory=JobTemplate)
    suspend: bool | None = None


class CronJob(KubernetesObject):
    spec: CronJobSpec = field(default_factory=CronJobSpec)


class BudgetSpec(Document):
    selector: LabelSelector | None = None
    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    unhealthy_pod_eviction_policy: str | None = None


class BudgetStatus(Document):
    disruptions_allowed: int | None = None
    current_healthy: int | None = None
    expected_pods: int | None = None


class PodDisruptionBudget(KubernetesObject):
    spec: BudgetSpec = field(default_factory=BudgetSpec)
    status: BudgetStatus | None = None


class MetricTarget(Document):
    type: str = ""
    average_utilization: int | None = None


class ResourceMetric(Document):
    name: str = ""
    container: str | None = None
    target: MetricTarget = field(default_factory=MetricTarget)


class Metric(Document):
    type: str = ""
    resource: ResourceMetric | None = None
    container_resource: ResourceMetric | None = None


class AutoscalerSpec(Document):
    scale_target_ref: WorkloadReference = field(default_factory=WorkloadReference)
    min_replicas: int | None = None
    max_replicas: int = 1
    metrics: list[Metric] | None = None


class HorizontalPodAutoscaler(KubernetesObject):
    spec: AutoscalerSpec = field(default_factory=AutoscalerSpec)


class ServicePort(Document):
    port: int
    name: str = ""
    protocol: str | None = None
    target_port: IntOrString | None = None
    node_port: int | None = None


class ServiceSpec(Document):
    type: str | None = None
    selector: Labels | None = None
    ports: list[ServicePort] | None = None
    cluster_ip: str | None = field(default=None, name="clusterIP")
    publish_not_ready_addresses: bool | None = None
    external_traffic_policy: str | None = None
    external_ips: list[str] | None = field(default=None, name="externalIPs")


class Service(KubernetesObject):
    spec: ServiceSpec = field(default_factory=ServiceSpec)


class EndpointConditions(Document):
    ready: bool | None = None


class Endpoint(Document):
    conditions: EndpointConditions | None = None
    node_name: str | None = None


class EndpointSlice(KubernetesObject):
    endpoints: list[Endpoint] | None = None


class ServiceBackendPort(Document):
    name: str = ""
    number: int | None = None


class IngressServiceBackend(Document):
    name: str
    port: ServiceBackendPort | None = None


class IngressBackend(Document):
    service: IngressServiceBackend | None = None


class IngressPath(Document):
    backend: IngressBackend
    path: str = ""


class IngressHttp(Document):
    paths: list[IngressPath] = field(default_factory=list)


class IngressRule(Document):
    host: str = ""
    http: IngressHttp | None = None


class IngressTLS(Document):
    hosts: list[str] | None = None


class IngressSpec(Document):
    default_backend: IngressBackend | None = None
    rules: list[IngressRule] | None = None
    tls: list[IngressTLS] | None = None


class Ingress(KubernetesObject):
    spec: IngressSpec = field(default_factory=IngressSpec)


class BackendReference(Document):
    name: str
    kind: str | None = None
    group: str | None = None
    namespace: str | None = None
    port: int | None = None


class RouteRule(Document):
    backend_refs: list[BackendReference] | None = None


class RouteSpec(Document):
    rules: list[RouteRule] | None = None


class HTTPRoute(KubernetesObject):
    spec: RouteSpec = field(default_factory=RouteSpec)


class IPBlock(Document):
    cidr: str
    except_: list[str] | None = field(default=None, name="except")


class NetworkPolicyPeer(Document):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Document):
    port: IntOrString | None = None
    end_port: int | None = None
    protocol: str | None = None


class IngressPolicyRule(Document):
    from_: list[NetworkPolicyPeer] | None = field(default=None, name="from")
    ports: list[NetworkPolicyPort] | None = None


class EgressPolicyRule(Document):
    to: list[NetworkPolicyPeer] | None = None
    ports: list[NetworkPolicyPort] | None = None


class NetworkPolicySpec(Document):
    pod_selector: LabelSelector = field(default_factory=LabelSelector)
    policy_types: list[str] | None = None
    ingress: list[IngressPolicyRule] | None = None
    egress: list[EgressPolicyRule] | None = None


class NetworkPolicy(KubernetesObject):
    spec: NetworkPolicySpec = field(default_factory=NetworkPolicySpec)

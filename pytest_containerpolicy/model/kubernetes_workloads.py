"""Workloads of Kubernetes: the top controllers, and pods that nothing controls."""

from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from pytest_containerpolicy.model.cluster import Autoscaler, LimitRange, Node
from pytest_containerpolicy.model.kubernetes_containers import (
    Defaults,
    containers_of,
    published_ports,
)
from pytest_containerpolicy.model.kubernetes_placement import placement_of, spread_of
from pytest_containerpolicy.model.kubernetes_rollouts import rollout_of
from pytest_containerpolicy.model.kubernetes_templates import Found, Template, template_of
from pytest_containerpolicy.model.kubernetes_values import bytes_in, number_in, ref_of
from pytest_containerpolicy.model.kubernetes_volumes import template_volume, volume_of
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.placement import Placement
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.volume import Volume
from pytest_containerpolicy.model.workload import ClaimRetention, Workload
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets import kubernetes_workloads as workloads
from pytest_containerpolicy.targets.inventory import Inventory

WORKLOAD_KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "rollouts": "Rollout",
    "replicasets": "ReplicaSet",
    "cronjobs": "CronJob",
    "jobs": "Job",
    "pods": "Pod",
}
_CONTROLLERS = set(WORKLOAD_KINDS.values()) - {"Pod"}
_CONTROLLER_GROUPS = ("apps", "batch", "argoproj.io")
_RESTARTS = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}

_FINITE = ("Job", "CronJob")


class Surroundings(Struct, frozen=True):
    """What a workload's own values depend on, by namespace where it has one."""

    model: Model
    defaults: Mapping[str, Defaults]
    autoscalers: Mapping[tuple[str, str, str], Autoscaler]
    nodes: tuple[Node, ...]
    templates: Mapping[tuple[str, str], workloads.WorkloadObject]


def controllers(
    inventory: Inventory, surroundings: Surroundings
) -> Iterator[tuple[str, Found, Callable[[], Workload]]]:
    """Each object that is a workload of its own, with its kind and what builds it."""
    templates = surroundings.templates
    for plural, kind in WORKLOAD_KINDS.items():
        for found in inventory.documents(plural):
            key = (found.metadata.namespace, found.metadata.name)
            # A Deployment that a Rollout refers to is only the holder of its template.
            if not is_owned(found.metadata) and not (kind == "Deployment" and key in templates):
                yield plural, found, lambda k=kind, f=found: _workload(k, f, surroundings)  # type: ignore[misc]


def is_owned(metadata: pods.Metadata) -> bool:
    """Whether a controller that is a workload itself keeps this object."""
    return any(
        owner.controller
        and owner.kind in _CONTROLLERS
        and owner.api_version.partition("/")[0] in _CONTROLLER_GROUPS
        for owner in metadata.owner_references or ()
    )


def defaults_of(ranges: list[LimitRange]) -> dict[str, Defaults]:
    """What each namespace's LimitRanges give; of several, the first by name wins."""
    defaults: dict[str, Defaults] = {}
    for found in sorted(ranges, key=lambda r: r.ref.name, reverse=True):
        before = defaults.get(found.ref.namespace, Defaults())
        defaults[found.ref.namespace] = Defaults(
            {**before.limits, **found.default_limits},
            {**before.requests, **found.default_requests},
        )
    return defaults


def _workload(kind: str, found: Found, surroundings: Surroundings) -> Workload:
    model = surroundings.model
    template = template_of(found, surroundings.templates)
    is_live_pod = kind == "Pod" and model.is_live
    workload = _of_template(kind, found, template, model)
    workload.placement = placement_of(
        template.spec,
        is_daemon=kind == "DaemonSet",
        is_bound=is_live_pod and not _is_static(found.metadata),
    )
    # What admission has put into a pod is in it: a LimitRange made later changes nothing.
    given = surroundings.defaults.get(workload.namespace, Defaults())
    defaults = Defaults() if is_live_pod else given
    workload.containers = containers_of(template.spec, workload, defaults)
    _set_scale(kind, found, workload, surroundings)
    return workload


def _of_template(kind: str, found: Found, template: Template, model: Model) -> Workload:
    ref, pod, path = ref_of(kind, found), template.spec, template.path
    owners = found.metadata.owner_references or ()
    return Workload(
        ref=ref,
        model=model,
        platform="kubernetes",
        labels=template.labels,
        pod_labels=template.labels_given,
        pod_path=path,
        volumes=_volumes(found, template, ref, model),
        grace_period=_grace_period(pod),
        grace_period_path=f"{path}.terminationGracePeriodSeconds",
        restart=_RESTARTS.get(pod.restart_policy or "Always", "always"),
        runs_to_completion=kind in _FINITE or pod.restart_policy in ("Never", "OnFailure"),
        controlled=kind != "Pod" or any(owner.controller for owner in owners),
        spread=spread_of(pod, path, template.labels, ref.namespace),
        host_network=bool(pod.host_network),
        published_ports=published_ports(pod, path),
        priority_class=pod.priority_class_name or "",
        overhead_memory=bytes_in(pod.overhead, "memory", f"{path}.overhead") or 0,
        overhead_cpu=number_in(pod.overhead, "cpu", f"{path}.overhead") or 0,
    )


def _volumes(found: Found, template: Template, ref: ObjectRef, model: Model) -> tuple[Volume, ...]:
    templates = getattr(found.spec, "volume_claim_templates", None) or ()
    of_claims = tuple(
        template_volume(claim, f"spec.volumeClaimTemplates[{index}]", ref, model)
        for index, claim in enumerate(templates)
    )
    names = {volume.name for volume in of_claims}
    # A claim template wins over a volume of the same name.
    return of_claims + tuple(
        volume_of(volume, f"{template.path}.volumes[{index}]", ref, model)
        for index, volume in enumerate(template.spec.volumes or ())
        if volume.name not in names
    )


def _grace_period(pod: pods.PodSpec) -> float:
    seconds = pod.termination_grace_period_seconds
    return 30 if seconds is None else seconds


def _is_static(metadata: pods.Metadata) -> bool:
    return any(owner.kind == "Node" for owner in metadata.owner_references or ())


def _set_scale(kind: str, found: Found, workload: Workload, surroundings: Surroundings) -> None:
    spec = found.spec
    if isinstance(spec, workloads.JobSpec):
        workload.replicas = 1 if spec.parallelism is None else spec.parallelism
    if isinstance(spec, workloads.CronJobSpec):
        parallelism = spec.job_template.spec.parallelism
        workload.replicas = 1 if parallelism is None else parallelism
    if not isinstance(spec, workloads.WorkloadSpec):
        return
    workload.replicas = 1 if spec.replicas is None else spec.replicas
    workload.replicas_declared = spec.replicas is not None
    if kind == "DaemonSet":
        workload.one_per_node = True
        workload.replicas = _daemon_count(workload.placement, surroundings.nodes)
    workload.rollout = rollout_of(kind, spec, _copies(workload, surroundings))
    if kind == "StatefulSet":
        workload.service_name = spec.service_name or ""
        retention = spec.persistent_volume_claim_retention_policy
        workload.claim_retention = ClaimRetention(
            (retention and retention.when_deleted) or "Retain",
            (retention and retention.when_scaled) or "Retain",
        )


def _daemon_count(placement: Placement, nodes: tuple[Node, ...]) -> int | None:
    return sum(node.suits(placement) for node in nodes) if nodes else None


def _copies(workload: Workload, surroundings: Surroundings) -> int:
    # The count that `Workload.fewest_replicas` gives once the model is there.
    if workload.replicas is None:
        return 1
    autoscaler = surroundings.autoscalers.get((workload.namespace, workload.kind, workload.name))
    if autoscaler is None or workload.replicas == 0:
        return workload.replicas
    return max(1, autoscaler.min_replicas)

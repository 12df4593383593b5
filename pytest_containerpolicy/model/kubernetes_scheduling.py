"""Running pods of Kubernetes, with what the scheduler asks of a place for them."""

from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec.structs import replace

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.kubernetes_containers import published_ports
from pytest_containerpolicy.model.kubernetes_placement import constraints_of, placement_of
from pytest_containerpolicy.model.kubernetes_values import numbers, selector_of
from pytest_containerpolicy.model.placement import Spread
from pytest_containerpolicy.model.scheduling import Companions, HostPort, Pod
from pytest_containerpolicy.model.selectors import Labels, Requirement, Selector
from pytest_containerpolicy.targets import kubernetes_pods as pods
from pytest_containerpolicy.targets.kubernetes_scheduling import (
    EvictionAnnotations,
    FullAffinity,
    ScheduledPod,
    ScheduledStatus,
)

Amounts = dict[str, float]
Field = Literal["requests", "limits"]
# The labels of each namespace; None where they could not be read.
NamespaceLabels = Mapping[str, Labels] | None
_ENDED = ("Succeeded", "Failed")
_OF_POD = ("cpu", "memory")


def scheduled_pod(found: ScheduledPod, namespaces: NamespaceLabels) -> Pod:
    """A pod. Raises `UsageError` if an amount is not a quantity."""
    metadata, spec = found.metadata, found.spec
    pod = Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        node=spec.node_name or "",
        labels=metadata.labels or {},
        requests=pod_amounts(spec, "requests") | {"pods": 1},
        limits=pod_amounts(spec, "limits"),
        placement=placement_of(spec, is_daemon=False, is_bound=True),
        ports=frozenset(_ports(spec)),
        claims=tuple(_claims(spec)),
        spread=tuple(_spread(spec, metadata.labels or {})),
        priority=spec.priority or 0,
        priority_class=spec.priority_class_name or "",
        has_deadline=spec.active_deadline_seconds is not None,
        preempts=spec.preemption_policy != "Never",
        scratch=tuple(_scratch(spec)),
        host_paths=tuple(v.name for v in spec.volumes or () if v.host_path),
        unknown="it claims devices" if spec.resource_claims else "",
    )
    _set_state(pod, found)
    _set_companions(pod, found, namespaces)
    return pod


def _set_state(pod: Pod, found: ScheduledPod) -> None:
    metadata, status = found.metadata, found.status or ScheduledStatus()
    annotations = metadata.annotations or EvictionAnnotations()
    owner = next((o for o in metadata.owner_references or () if o.controller), None)
    is_static = annotations.mirror is not None or (owner is not None and owner.kind == "Node")
    pod.controller = (owner.kind, owner.name) if owner and not is_static else None
    pod.stays = is_static or (owner is not None and owner.kind == "DaemonSet")
    pod.started = status.start_time or ""
    pod.ended = status.phase in _ENDED
    pod.leaving = metadata.deletion_timestamp is not None
    pod.safe_to_evict = annotations.safe_to_evict or ""
    pod.safe_volumes = _names(annotations.safe_volumes)


def _set_companions(pod: Pod, found: ScheduledPod, namespaces: NamespaceLabels) -> None:
    affinity, terms = found.spec.affinity or FullAffinity(), _Terms(pod, namespaces)
    if affinity.pod_anti_affinity:
        apart = affinity.pod_anti_affinity
        pod.apart = terms.of(apart.required_during_scheduling_ignored_during_execution)
    if affinity.pod_affinity:
        together = affinity.pod_affinity
        pod.together = terms.of(together.required_during_scheduling_ignored_during_execution)
    pod.unknown = pod.unknown or terms.unknown


def pod_amounts(spec: pods.PodSpec, field: Field) -> Amounts:
    """What the containers of a pod request, or are limited to, together.

    Init containers run one after the other, beside the sidecars started before them; amounts of
    the whole pod win. https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers or ():
        own = _amounts(container.resources, field)
        if container.restart_policy == "Always":
            sidecars = _sum(sidecars, own)
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum(sidecars, own))
    running = sidecars
    for container in spec.containers:
        running = _sum(running, _amounts(container.resources, field))
    of_pod = _amounts(spec.resources, field)
    needed = _most(running, peak) | {name: of_pod[name] for name in _OF_POD if name in of_pod}
    if field == "limits" and not needed:
        return {}
    return _sum(needed, numbers(spec.overhead, "spec.overhead"))


def _amounts(found: pods.ResourceRequirements | None, field: Field) -> Amounts:
    return numbers(getattr(found, field), f"resources.{field}") if found else {}


def _sum(left: Amounts, right: Amounts) -> Amounts:
    return {name: left.get(name, 0) + right.get(name, 0) for name in left | right}


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {name: max(left.get(name, 0), right.get(name, 0)) for name in left | right}


def _ports(spec: pods.PodSpec) -> Iterator[HostPort]:
    for port in published_ports(spec, "spec"):
        if port.number:
            yield port.protocol, port.address, port.number


def _claims(spec: pods.PodSpec) -> Iterator[str]:
    # A generic ephemeral volume goes with its pod; that of the next pod is bound anew.
    for volume in spec.volumes or ():
        if volume.persistent_volume_claim:
            yield volume.persistent_volume_claim.claim_name


def _scratch(spec: pods.PodSpec) -> Iterator[str]:
    for volume in spec.volumes or ():
        if volume.empty_dir and volume.empty_dir.medium != "Memory":
            yield volume.name


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _spread(spec: pods.PodSpec, labels: Labels) -> Iterator[Spread]:
    """The constraints that block scheduling, each narrowed to the pod's own revision if it says so.

    https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
    """
    found = zip(constraints_of(spec, "spec"), spec.topology_spread_constraints or (), strict=True)
    for spread, constraint in found:
        if spread.required:
            selector = _narrowed(spread.selector, constraint.match_label_keys, labels)
            yield replace(spread, selector=selector)


def _narrowed(selector: Selector | None, keys: list[str] | None, labels: Labels) -> Selector | None:
    if selector is None:
        return None
    own = (Requirement(key, "In", (labels[key],)) for key in keys or () if key in labels)
    return Selector((*selector.requirements, *own))


class _Terms:
    """Resolves the inter-pod terms of one pod; `unknown` says what could not be."""

    def __init__(self, pod: Pod, namespaces: NamespaceLabels) -> None:
        self._pod = pod
        self._namespaces = namespaces
        self.unknown = ""

    def of(self, found: list[pods.PodAffinityTerm] | None) -> tuple[Companions, ...]:
        return tuple(
            Companions(
                term.topology_key,
                _narrowed(
                    selector_of(term.label_selector), term.match_label_keys, self._pod.labels
                ),
                self._scope(term),
            )
            for term in found or ()
        )

    def _scope(self, term: pods.PodAffinityTerm) -> frozenset[str] | None:
        selector, named = selector_of(term.namespace_selector), term.namespaces or ()
        if selector is None:
            return frozenset(named or (self._pod.namespace,))
        if selector.is_empty:
            return None
        if self._namespaces is None:
            self.unknown = "its affinity selects namespaces, which could not be listed"
            return frozenset(named)
        selected = (name for name, own in self._namespaces.items() if selector.matches(own))
        return frozenset((*named, *selected))


def scheduled_pods(
    found: list[ScheduledPod], namespaces: NamespaceLabels
) -> tuple[list[Pod], list[str]]:
    """The pods that make sense, and what is wrong with the others."""
    made: list[Pod] = []
    wrong: list[str] = []
    for document in found:
        try:
            made.append(scheduled_pod(document, namespaces))
        except UsageError as error:
            wrong.append(f"pod {document.metadata.namespace}/{document.metadata.name}: {error}")
    return made, wrong

"""Which nodes a Kubernetes pod may run on, and how its copies are kept apart."""

from collections.abc import Iterator

from pytest_containerpolicy.model.kubernetes_values import requirements, selector_of
from pytest_containerpolicy.model.placement import NodeTerm, Placement, Spread, Toleration
from pytest_containerpolicy.model.selectors import Labels, Requirement
from pytest_containerpolicy.targets import kubernetes_pods as pods

_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
# https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations
_OF_DAEMONS = tuple(
    Toleration(key=f"node.kubernetes.io/{taint}", operator="Exists", effect=effect)
    for taint, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
_OF_HOST_NETWORK = Toleration(
    key="node.kubernetes.io/network-unavailable", operator="Exists", effect="NoSchedule"
)
# Label keys whose value differs between the old and the new version of a workload.
_REVISION_KEYS = {"pod-template-hash", "controller-revision-hash", "rollouts-pod-template-hash"}


def placement_of(pod: pods.PodSpec, *, is_daemon: bool, is_bound: bool) -> Placement:
    """The nodes that a pod allows. `is_bound`: `nodeName` is the scheduler's answer, not a wish."""
    affinity = pod.affinity.node_affinity if pod.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return Placement(
        required=tuple(
            Requirement(key, "In", (value,))
            for key, value in sorted((pod.node_selector or {}).items())
        ),
        terms=node_terms(required),
        tolerations=_tolerations(pod, is_daemon),
        node_name="" if is_bound else pod.node_name or "",
    )


def node_terms(found: pods.NodeSelector | None) -> tuple[NodeTerm, ...]:
    """The alternatives of a node selector. Raises `UsageError` for an unknown operator."""
    return tuple(
        NodeTerm(requirements(term.match_expressions), requirements(term.match_fields))
        for term in (found.node_selector_terms if found else ())
    )


def _tolerations(pod: pods.PodSpec, is_daemon: bool) -> tuple[Toleration, ...]:
    written = tuple(
        Toleration(t.key or "", t.operator or "Equal", t.value or "", t.effect or "")
        for t in pod.tolerations or ()
        if not _is_of_admission(t)
    )
    if not is_daemon:
        return written
    return written + _OF_DAEMONS + ((_OF_HOST_NETWORK,) if pod.host_network else ())


def _is_of_admission(toleration: pods.Toleration) -> bool:
    # The API server gives every new pod these two, for as long as its own settings say. They
    # bridge a node's short outage; where a pod may be scheduled is not their business.
    return (
        toleration.key in (_NOT_READY, _UNREACHABLE)
        and toleration.effect == "NoExecute"
        and toleration.toleration_seconds is not None
    )


def spread_of(
    pod: pods.PodSpec, pod_path: str, labels: Labels, namespace: str
) -> tuple[Spread, ...]:
    """The rules that keep a workload's own copies apart: those that select its own pods."""
    found = (*_anti_affinities(pod, pod_path, namespace), *constraints_of(pod, pod_path))
    return tuple(spread for spread in found if spread.selector and spread.selector.matches(labels))


def _anti_affinities(pod: pods.PodSpec, pod_path: str, namespace: str) -> Iterator[Spread]:
    affinity = pod.affinity.pod_anti_affinity if pod.affinity else None
    if affinity is None:
        return
    path = f"{pod_path}.affinity.podAntiAffinity"
    name = "requiredDuringSchedulingIgnoredDuringExecution"
    for i, term in enumerate(affinity.required_during_scheduling_ignored_during_execution or ()):
        if _is_about(term, namespace):
            yield _anti_affinity(term, f"{path}.{name}[{i}]", required=True)
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    for i, weighted in enumerate(
        affinity.preferred_during_scheduling_ignored_during_execution or ()
    ):
        term = weighted.pod_affinity_term
        if _is_about(term, namespace):
            yield _anti_affinity(term, f"{path}.{name}[{i}].podAffinityTerm", required=False)


def _is_about(term: pods.PodAffinityTerm, namespace: str) -> bool:
    # A namespace selector may well take in the pod's own namespace; only `{}` is sure to.
    selector = selector_of(term.namespace_selector)
    if selector is None:
        return namespace in (term.namespaces or (namespace,))
    return selector.is_empty or namespace in (term.namespaces or ())


def _anti_affinity(term: pods.PodAffinityTerm, path: str, *, required: bool) -> Spread:
    return Spread(
        kind="anti-affinity",
        topology_key=term.topology_key,
        required=required,
        path=path,
        at_most=1,
        selector=selector_of(term.label_selector),
        per_revision=_is_per_revision(term.match_label_keys),
    )


def constraints_of(pod: pods.PodSpec, pod_path: str) -> Iterator[Spread]:
    """The topology spread constraints, whichever pods they select."""
    for index, constraint in enumerate(pod.topology_spread_constraints or ()):
        yield Spread(
            kind="topology-spread",
            topology_key=constraint.topology_key,
            required=constraint.when_unsatisfiable == "DoNotSchedule",
            path=f"{pod_path}.topologySpreadConstraints[{index}]",
            max_skew=constraint.max_skew,
            min_domains=constraint.min_domains,
            selector=selector_of(constraint.label_selector),
            per_revision=_is_per_revision(constraint.match_label_keys),
            honors_taints=constraint.node_taints_policy == "Honor",
            ignores_placement=constraint.node_affinity_policy == "Ignore",
        )


def _is_per_revision(keys: list[str] | None) -> bool:
    return not _REVISION_KEYS.isdisjoint(keys or ())

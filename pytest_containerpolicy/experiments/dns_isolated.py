"""Whether workloads that network policies restrict can still look up names."""

from collections.abc import Iterable, Iterator

from pytest_containerpolicy.checks.networking_policies import egress_isolated
from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.dns_answers import cluster_domain
from pytest_containerpolicy.experiments.kubernetes_lab import Document, KubernetesLab, is_ready
from pytest_containerpolicy.experiments.network_pods import pod_of
from pytest_containerpolicy.experiments.network_scene import namespace_labels
from pytest_containerpolicy.experiments.network_vantage import open_vantage
from pytest_containerpolicy.experiments.reach import Found, Probe
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.network import NetworkPolicy
from pytest_containerpolicy.model.workload import Workload

_NAME = "kubernetes.default.svc"
# As long as resolvers ask on: two servers, twice, 5 seconds each.
_SECONDS = 22.0
# EAI_AGAIN: no name server answered. Another error is an answer: there is no such name.
_NO_ANSWER = "[Errno -3]"


def may_look_up_names(workload: Workload) -> bool:
    """Whether policies let it open some connections, but not all."""
    rules = [
        rule
        for policy in workload.network_policies
        if policy.isolates_egress
        for rule in policy.egress
    ]
    return (
        egress_isolated(workload)
        and bool(rules)
        and workload.replicas != 0
        and not workload.runs_to_completion
    )


@experiment("probe", "looks up a name from inside one of its pods", applies=may_look_up_names)
def workload_resolves_names(workload: Workload, lab: KubernetesLab) -> Iterator[Violation]:
    """A name server answers a workload whose egress is isolated: most have no use without.

    Pods of several revisions may have different labels: one of each set of policies is asked.
    """
    pods = isolated_pods(workload, filter(is_ready, lab.pods(workload)))
    if not pods:
        raise CannotLook(f"{workload.ref} has no ready pod with isolated egress")
    labels = namespace_labels(lab, workload.namespace)
    for pod in (pod_of(document, labels) for document in pods):
        if not _answered(_looked_up(lab, pod)):
            yield Violation(
                found=f"no name server answers pod {pod}",
                wanted="an answer, from the cluster's DNS or another",
                why="network policies isolate its egress and do not let its queries out",
            )


def isolated_pods(workload: Workload, pods: Iterable[Document]) -> list[Document]:
    """One pod for each set of policies that lets its pods open some connections, but not all."""
    isolating = [policy for policy in workload.network_policies if policy.isolates_egress]
    chosen: dict[tuple[NetworkPolicy, ...], Document] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        selecting = tuple(policy for policy in isolating if policy.selects(labels))
        if any(policy.egress for policy in selecting):
            chosen.setdefault(selecting, pod)
    return list(chosen.values())


def _looked_up(lab: KubernetesLab, pod: Pod) -> Found:
    lab.say(f"names: looking one up from {pod}")
    vantage = open_vantage(lab, pod, whole=True)
    if not vantage.python:
        raise CannotLook(f"pod {pod} has only a shell, which can't look up names")
    domain = cluster_domain(lab, vantage)
    # With its dot it is asked for once, and of the cluster's own DNS; without, of whatever is used.
    name = f"{_NAME}.{domain}." if domain else _NAME
    (found,) = vantage.ask(lab, [Probe(id="name", protocol="dns", name=name, timeout=_SECONDS)])
    lab.record(f"names from {pod}: {found.outcome} in {found.ms:.0f} ms")
    return found


def _answered(found: Found) -> bool:
    return found.outcome == "resolved" or (
        found.outcome == "failed" and not found.detail.reason.startswith(_NO_ANSWER)
    )

"""The pods that services are asked from, and which of them may reach a place."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_probers import prober_pod
from pytest_containerpolicy.experiments.network_pods import pod_of
from pytest_containerpolicy.experiments.network_scene import Scene, namespace_labels, own_pod
from pytest_containerpolicy.experiments.reachability import Pod, Policies
from pytest_containerpolicy.experiments.service_places import Place


class Sources:
    """Some pods of one namespace, in the order in which they are to be asked from."""

    def __init__(self, policies: Policies, pods: Sequence[Pod]) -> None:
        self._policies, self.pods = policies, list(pods)

    def of(self, place: Place) -> Pod:
        """The first that may reach it, else one behind it, else the first.

        One behind it can't be blamed if it does not get back to itself, but an answer is an answer.
        One that policies keep from it may get one, too: they may not be in force.
        """
        usable = [pod for pod in self.pods if self.may_reach(pod, place)]
        apart = [pod for pod in usable if not _is_behind(pod, place)]
        others = [pod for pod in usable if _is_behind_with_others(pod, place)]
        return next(iter((*apart, *others, self.pods[0])))

    def may_reach(self, pod: Pod, place: Place) -> bool:
        """Whether neither its node nor network policies keep a pod from a place."""
        return not _is_off(pod, place) and self._is_let_through(pod, place)

    def hindrance(self, pod: Pod, place: Place) -> str:
        """Why silence there says nothing if this pod asks; empty if it does."""
        if _is_off(pod, place):
            return f"no pod to ask from is on a node with an endpoint of {place}, which is local"
        if not self._is_let_through(pod, place):
            return f"network policies let no pod of the namespace through to {place}"
        # Whether a pod reaches itself through a service is a matter of the node's set-up.
        if _is_behind(pod, place):
            return f"only pods behind {place} could ask it, which need not reach themselves"
        return ""

    def nodes_wanted(self, place: Place) -> frozenset[str]:
        """On one of which nodes the first pod would have to be, if that is all that it lacks."""
        lacks = self.hindrance(self.of(place), place)
        is_far = lacks and self._is_let_through(self.pods[0], place)
        return place.nodes - {""} if is_far else frozenset()

    def isolates(self, place: Place) -> bool:
        """Whether policies isolate any pod behind a place."""
        pods = (end for end, _ in place.ends if isinstance(end, Pod))
        return any(self._policies.isolating(pod, "ingress") for pod in pods)

    def _is_let_through(self, pod: Pod, place: Place) -> bool:
        expected = (
            self._policies.expect(pod, end, port, place.protocol) for end, port in place.ends
        )
        return all(expectation.allowed for expectation in expected)


@contextmanager
def open_sources(
    lab: KubernetesLab, scene: Scene, namespace: str, places: Sequence[Place]
) -> Iterator[Sources]:
    """A pod of our own and those of the namespace, and more of our own where a node is too far.

    Raises `CannotLook` if the first does not come up.
    """
    with ExitStack() as stack:
        own = stack.enter_context(own_pod(lab, namespace))
        theirs = [p for p in scene.pods if p.namespace == namespace and not p.host_network]
        sources = Sources(scene.policies, [own, *theirs])
        tried: set[str] = set()
        for place in places:
            if not (nodes := sources.nodes_wanted(place) - tried):
                continue
            node = min(nodes)
            tried.add(node)
            try:
                sources.pods.append(stack.enter_context(_own_pod_on(lab, namespace, node)))
            except CannotLook as gap:
                lab.record(f"nothing to ask from on node {node}: {gap}")
        yield sources


@contextmanager
def _own_pod_on(lab: KubernetesLab, namespace: str, node: str) -> Iterator[Pod]:
    with prober_pod(lab, namespace, node=node) as name:
        document = lab.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        yield pod_of(document, namespace_labels(lab, namespace))


def _is_off(pod: Pod, place: Place) -> bool:
    """Whether a pod is on a node from which a place leads nowhere, by design."""
    return bool(place.nodes) and pod.node not in place.nodes


def _is_behind(pod: Pod, place: Place) -> bool:
    return any(end.address == pod.address for end, _ in place.ends)


def _is_behind_with_others(pod: Pod, place: Place) -> bool:
    """Whether it is one of several behind a service's address, so that others may answer it."""
    apart = [end for end, _ in place.ends if end.address != pod.address]
    return place.kind == "address" and _is_behind(pod, place) and bool(apart)

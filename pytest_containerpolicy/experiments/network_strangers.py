"""Pods of our own to probe from: in each namespace with policies, and elsewhere if it takes one.

A namespace that isolates all its pods in both directions, or lets them all talk to each other,
shows to nobody within it whether its ingress is enforced.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.kubernetes_rights import require_right
from pytest_containerpolicy.experiments.network_proof import denying
from pytest_containerpolicy.experiments.network_sampling import LISTENER_PORT
from pytest_containerpolicy.experiments.network_scene import Scene, own_pod, policies_in
from pytest_containerpolicy.experiments.reachability import Direction, End, Pod, Policies
from pytest_containerpolicy.model.cluster import SYSTEM_NAMESPACE

_ACCOUNT_SECONDS = 30.0
_REMEDY = (
    "name a second namespace in the target, as in k8s://CONTEXT?namespace=shop&namespace=other, or"
    " allow this run to create and delete namespaces"
)


class Probers(Struct, frozen=True, kw_only=True):
    """Our own pods, and the scene that they act in.

    `gaps` say where there is none; `no_stranger` why there is none in a namespace without policies
    although it takes one.
    """

    scene: Scene
    pods: tuple[Pod, ...]
    gaps: tuple[str, ...] = ()
    no_stranger: str = ""


def place_probers(lab: KubernetesLab, scene: Scene, stack: ExitStack) -> Probers:
    """Pods of our own, strangers to all others, for as long as the stack lasts."""
    pods, gaps = [], []
    for name in _with_policies(scene):
        try:
            pods.append(stack.enter_context(own_pod(lab, name)))
        except CannotLook as gap:
            gaps.append(f"no prober pod in {name}: {gap}")
    found = Probers(scene=scene, pods=tuple(pods), gaps=tuple(gaps))
    if not pods or not takes_a_stranger(scene, pods):
        return found
    try:
        return _with_stranger(lab, found, stack)
    except CannotLook as gap:
        return replace(found, no_stranger=f"no pod elsewhere could ask ({gap}): {_REMEDY}")


def takes_a_stranger(scene: Scene, pods: Sequence[Pod]) -> bool:
    """Whether a pod in a namespace without policies would show more than these and the others."""
    policies = scene.policies.knowing("")
    everybody = [*pods, *scene.pods]
    there: list[End] = [fixture.end for fixture in scene.fixtures]
    stranger = Pod(namespace="", name="", labels={}, namespace_labels={}, address="0.0.0.0")
    for policy in policies.of(_with_policies(scene)):
        own = [pod for pod in everybody if policy.ref.namespace == pod.namespace]
        own = [pod for pod in own if policy.selects(pod.labels)]
        for direction in denying(policy):
            # Nothing is started in what serves the cluster: it is asked, but does not ask.
            ends = [*everybody, *(there if direction == "egress" else ())]
            shown = any(_stands_alone(policies, direction, own, ends))
            if not shown and any(_stands_alone(policies, direction, own, [stranger])):
                return True
    return False


def _stands_alone(
    policies: Policies, direction: Direction, own: Iterable[Pod], others: Sequence[End]
) -> Iterator[bool]:
    """Whether nothing but isolation in one direction stands between each two of them."""
    for pod, other in product(own, others):
        if direction == "egress":
            found = policies.expect(pod, other, LISTENER_PORT, "TCP")
        elif isinstance(other, Pod):
            found = policies.expect(other, pod, LISTENER_PORT, "TCP")
        else:
            continue
        yield found.allowed is False and {direction} == {basis.direction for basis in found.basis}


def _with_stranger(lab: KubernetesLab, found: Probers, stack: ExitStack) -> Probers:
    """The same with a pod in a namespace without policies. Raises `CannotLook` if there is none."""
    scene = found.scene
    named = lab.target.namespaces or scene.namespaces
    others = sorted(set(named) - {*_with_policies(scene), SYSTEM_NAMESPACE})
    name = others[0] if others else stack.enter_context(_temporary(lab))
    if policies_in(lab, name):
        raise CannotLook(f"namespace {name} got network policies as soon as it was there")
    stranger = stack.enter_context(own_pod(lab, name))
    namespaces = tuple(dict.fromkeys([*scene.namespaces, name]))
    scene = replace(scene, namespaces=namespaces, policies=scene.policies.knowing(name))
    return replace(found, scene=scene, pods=(*found.pods, stranger))


@contextmanager
def _temporary(lab: KubernetesLab) -> Iterator[str]:
    """The name of a namespace of our own."""
    for verb in ("create", "delete"):
        require_right(lab, verb, "namespaces")
    name = f"containerpolicy-{secrets.token_hex(4)}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    with lab.created("/api/v1/namespaces", document):
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        # No pod is admitted before.
        lab.wait_for(lambda: lab.find(account), _ACCOUNT_SECONDS, f"{account} to be there")
        yield name


def _with_policies(scene: Scene) -> list[str]:
    return sorted({namespace for namespace, _, _ in scene.versions})

"""Whether NetworkPolicies are in force: what they deny is blocked, what they allow gets through."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from msgspec import Struct
from msgspec.structs import replace

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_probing import Probed, Probing
from pytest_containerpolicy.experiments.network_proof import (
    basis_of,
    paths_of,
    require_proof,
    says,
)
from pytest_containerpolicy.experiments.network_sampling import make_plan
from pytest_containerpolicy.experiments.network_scene import (
    Scene,
    current_versions,
    lasting_pods,
    read_scene,
)
from pytest_containerpolicy.experiments.network_strangers import place_probers
from pytest_containerpolicy.experiments.reachability import Pod
from pytest_containerpolicy.experiments.registry import experiment
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.network import NetworkPolicy

_SHOWN = 3


class NetworkTruth(Struct, frozen=True, kw_only=True):
    """What became of a sample of all paths between pods; `gaps` say what was left out and why.

    `no_stranger` says why nobody could ask from a namespace without policies, where it takes one.

    True if denied paths were blocked, and nothing came out otherwise than policies say.
    """

    paths: tuple[Probed, ...]
    pods: int
    sources: int
    seconds: float
    gaps: tuple[str, ...] = ()
    no_stranger: str = ""

    def __bool__(self) -> bool:
        wrong = [*self.leaks, *self.blocked, *self.unconfirmed]
        return bool(self._blocked_rightly) and not wrong

    @property
    def leaks(self) -> list[Probed]:
        """What got through although it is denied."""
        return [one for one in self.paths if one.outcome == "got through"]

    @property
    def blocked(self) -> list[Probed]:
        """What policies allow and did not get through."""
        return [one for one in self.paths if one.outcome == "blocked" and basis_of(one)]

    @property
    def unconfirmed(self) -> list[Probed]:
        """What came out otherwise than policies say, and could not be asked again."""
        return [one for one in self.paths if one.outcome == "unconfirmed" and basis_of(one)]

    @property
    def _blocked_rightly(self) -> list[Probed]:
        return [one for one in self.paths if one.path.denied and one.outcome == "as expected"]

    def of(self, policy: NetworkPolicy) -> list[Probed]:
        """The paths in which a policy has a say."""
        return paths_of(policy, self.paths)

    @property
    def inert(self) -> bool:
        """Whether not a single denied path was blocked."""
        return bool(self.leaks) and not self._blocked_rightly

    def __str__(self) -> str:
        judged = [one for one in self.paths if one.path.expectation.basis]
        denied = [one for one in judged if one.path.denied]
        allowed = [one for one in judged if not one.path.denied]
        lines = [
            f"network of {self.pods} pods, from {self.sources} of them, in {self.seconds:.1f} s",
            f"  denied   {len(denied)}: {_counts(denied)}",
            f"  allowed  {len(allowed)}: {_counts(allowed)}",
        ]
        lines += [f"  {one}" for one in (*self.leaks, *self.blocked)[:_SHOWN]]
        reasons = dict.fromkeys(one.reason for one in judged if one.reason)
        gaps = (*self.gaps, *([self.no_stranger] if self.no_stranger else []))
        return "\n".join([*lines, *(f"  not told: {text}" for text in (*reasons, *gaps))])


def measure_network(
    lab: KubernetesLab, model: Model, samples: int = 40, outside: str = "", timeout: float = 2.0
) -> NetworkTruth:
    """Probe what the live policies of a model's namespaces allow and deny.

    At least one path for each policy, rule, direction and node, and up to `samples` of each sign;
    `outside` is an address and port beyond the cluster; `timeout` seconds per connection.
    Raises `CannotLook` if pods or policies can't be read, or change meanwhile.
    """
    begun = time.monotonic()
    scene = read_scene(lab, model, outside)
    lab.say(f"network: {len(scene.pods)} pods in {', '.join(scene.namespaces)}")
    with ExitStack() as stack:
        probers = place_probers(lab, scene, stack)
        plan = make_plan(probers.scene, probers.pods, samples)
        lab.say(f"network: {len(plan.paths)} paths")
        probing = Probing(lab, plan, timeout)
        paths = probing.run()
        _require_unchanged(lab, probers.scene)
        lasting = lasting_pods(lab, {pod.namespace for one in paths for pod in _pods(one)})
    return NetworkTruth(
        paths=tuple(_without_replaced(paths, lasting)),
        pods=len(scene.pods) + len(probers.pods),
        sources=len(probing.inhabited),
        seconds=time.monotonic() - begun,
        gaps=(*scene.gaps, *probers.gaps, *probing.gaps),
        no_stranger=probers.no_stranger,
    )


@experiment("probe", "connects from pods to pods as it allows and as it denies")
def network_policy_enforced(
    policy: NetworkPolicy,
    lab: KubernetesLab,
    samples: int = 40,
    outside: str = "",
    timeout: float = 2.0,
) -> Iterator[Violation]:
    """What a policy denies is blocked, and what it allows gets through.

    `samples` paths of each sign are probed in all; `outside` is an address and port that egress
    rules are about, such as 192.0.2.10:443.
    """
    truth = lab.once(
        ("network truth", samples, outside, timeout),
        lambda: _recorded(lab, measure_network(lab, policy.model, samples, outside, timeout)),
    )
    violations = [*_leaks(policy, truth), *_blocked(policy, truth)]
    if not violations:
        require_proof(policy, truth.paths, truth.no_stranger)
    yield from violations


def _recorded(lab: KubernetesLab, truth: NetworkTruth) -> NetworkTruth:
    lab.record(truth)
    return truth


def _require_unchanged(lab: KubernetesLab, scene: Scene) -> None:
    if current_versions(lab, scene) != scene.versions:
        raise CannotLook(
            "network policies were changed while they were probed: judge again when that is over"
        )


def _without_replaced(paths: list[Probed], lasting: frozenset[str]) -> Iterator[Probed]:
    """The paths; silence of a pod that is gone or not ready any more tells nothing."""
    for one in paths:
        gone = [pod for pod in _pods(one) if pod.uid not in lasting]
        if gone and one.outcome not in ("got through", "unconfirmed"):
            reason = f"pod {gone[0]} was replaced or became unready meanwhile"
            yield replace(one, outcome="not told", reason=reason)
        else:
            yield one


def _pods(one: Probed) -> list[Pod]:
    return [end for end in (one.path.source, one.path.destination) if isinstance(end, Pod)]


def _leaks(policy: NetworkPolicy, truth: NetworkTruth) -> Iterator[Violation]:
    denied = [one for one in truth.of(policy) if one.path.denied and one.is_told]
    leaks = [one for one in denied if one.outcome == "got through"]
    if leaks:
        directions = sorted({b.direction for b in basis_of(leaks[0]) if says(policy, b)})
        yield Violation(
            found=f"not enforced: {_listed(leaks)} ({len(leaks)} of {len(denied)} denied paths)",
            wanted=f"blocked: no {' or '.join(directions)} rule allows it",
            path="spec",
            why=_why(leaks, denied, truth),
        )


def _why(leaks: list[Probed], denied: list[Probed], truth: NetworkTruth) -> str:
    if truth.inert:
        return "the policy is inert: nothing in this cluster enforces network policies"
    if len(leaks) == len(denied):
        return "the policy is inert, while others are enforced"
    nodes = sorted({node for one in leaks for node in (one.path.source.node, _node(one)) if node})
    return f"it is enforced in part only; nodes of what got through: {', '.join(nodes)}"


def _blocked(policy: NetworkPolicy, truth: NetworkTruth) -> Iterator[Violation]:
    allowed = [one for one in truth.of(policy) if not one.path.denied and one.is_told]
    blocked = [one for one in allowed if one.outcome == "blocked"]
    if blocked:
        basis = next(b for b in basis_of(blocked[0]) if says(policy, b))
        yield Violation(
            found=f"over-blocking: {_listed(blocked)} ({len(blocked)} of {len(allowed)} allowed)",
            wanted="a connection: this rule allows it, and the port answers others",
            path=f"spec.{basis.direction}[{basis.rule}]",
            why="a policy of another kind denies it, or the plugin reads the rule otherwise",
        )


def _node(one: Probed) -> str:
    return getattr(one.path.destination, "node", "")


def _listed(probed: list[Probed]) -> str:
    shown = ", ".join(str(one) for one in probed[:_SHOWN])
    return f"{shown}, ..." if len(probed) > _SHOWN else shown


def _counts(probed: list[Probed]) -> str:
    outcomes = [one.outcome for one in probed]
    return ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes)) or "none"

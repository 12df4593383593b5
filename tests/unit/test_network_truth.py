"""Verdicts on policies, from real plans carried out in networks that are simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import network_probing
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_probing import Probing
from pytest_containerpolicy.experiments.network_sampling import LISTENER_PORT, make_plan
from pytest_containerpolicy.experiments.network_scene import Scene, some_of
from pytest_containerpolicy.experiments.network_strangers import takes_a_stranger
from pytest_containerpolicy.experiments.network_truth import NetworkTruth, network_policy_enforced
from pytest_containerpolicy.experiments.network_vantage import Vantage
from pytest_containerpolicy.experiments.reach import Detail, Found, Listener, Probe
from pytest_containerpolicy.experiments.reachability import Pod
from tests.unit.test_network_sampling import STRANGER, scene
from tests.unit.test_reachability import PORTS, policy

Blocks = Callable[[Pod, Pod | None, Probe], bool]
OWN_NAMESPACE: dict[str, Any] = {"from": [{"podSelector": {}}]}
TO_WEB = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 8080}]}
TO_DB = {"to": [{"podSelector": {"matchLabels": {"app": "db"}}}]}


def pod(name: str, app: str, number: int, node: str = "n0", namespace: str = "shop") -> Pod:
    """A pod of an app, without a readiness probe."""
    return Pod(
        namespace=namespace,
        name=name,
        labels={"app": app},
        namespace_labels={"kubernetes.io/metadata.name": namespace},
        address=f"10.3.0.{number}",
        node=node,
        node_address="10.0.0.1",
        ports=PORTS[:1],
        workload=f"Deployment {app}",
    )


WEB, OTHER_WEB = pod("web-a", "web", 1), pod("web-b", "web", 2, "n1")
DB, OTHER_DB = pod("db-a", "db", 3), pod("db-b", "db", 4, "n1")
ELSEWHERE = pod("elsewhere", "elsewhere", 9, namespace="other")


class _Lab:
    """A laboratory in which everything has been measured."""

    def __init__(self, truth: NetworkTruth | None = None) -> None:
        self._truth = truth

    def once(self, key: object, make: object) -> NetworkTruth | None:
        return self._truth

    def say(self, text: str) -> None:
        """Nobody listens."""


class _Listener:
    def __init__(self, pod: Pod) -> None:
        self.nonce = pod.address

    def stop(self) -> list[Any]:
        return []


class Net:
    """A simulated network: `blocks` says what it drops, `fails` what can't be asked again."""

    def __init__(self, pods: Sequence[Pod], blocks: Blocks, fails: Sequence[Pod] = ()) -> None:
        self.pods = {pod.address: pod for pod in pods}
        self.blocks, self.fails = blocks, fails
        self.rounds: dict[Pod, int] = {}

    def ask(self, source: Pod, probes: Sequence[Probe]) -> list[Found]:
        self.rounds[source] = self.rounds.get(source, 0) + 1
        if source in self.fails and self.rounds[source] > 1:
            raise CannotLook("exec failed")
        return [self._found(source, probe) for probe in probes]

    def _found(self, source: Pod, probe: Probe) -> Found:
        answer, outcome = b"", {"tcp": "open", "dns": "resolved"}.get(probe.protocol, "answered")
        if not probe.id.isdigit():
            outcome = "open" if probe.id == "node" else "timeout"
        elif self.blocks(source, self.pods.get(probe.host), probe):
            outcome = "timeout" if probe.protocol == "tcp" else "silent"
        elif probe.port == LISTENER_PORT:
            answer, outcome = probe.host.encode(), "answered"
        detail = Detail(answer=answer)
        return Found(id=probe.id, outcome=outcome, ms=1, attempts=1, detail=detail)


class _Vantage(Vantage, frozen=True, kw_only=True):
    net: Net

    def ask(self, lab: object, probes: Sequence[Probe]) -> list[Found]:
        return self.net.ask(self.pod, probes)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., NetworkTruth]:
    """Carries out the plan for a scene in a network."""

    def listen(self: Probing, _: ExitStack) -> None:
        for one in self._plan.listeners:
            self._listeners[one] = cast(Listener, _Listener(one))

    def measure(there: Scene, probers: Sequence[Pod], net: Net, **more: Any) -> NetworkTruth:
        def opened(lab: object, pod: Pod, *, whole: bool) -> Vantage:
            return _Vantage(pod=pod, container="app", net=net)

        monkeypatch.setattr(network_probing, "open_vantage", opened)
        lab = cast(KubernetesLab, _Lab())
        paths = Probing(lab, make_plan(there, probers, 40), 1.0).run()
        return NetworkTruth(paths=tuple(paths), pods=1, sources=1, seconds=1.0, **more)

    monkeypatch.setattr(network_probing, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(Probing, "_listen", listen)
    return measure


def verdict(there: Scene, truth: NetworkTruth, name: str) -> list[str]:
    """What is found of a policy, or the gap."""
    (policy,) = (one for one in there.policies.of(["shop"]) if one.ref.name == name)
    try:
        return [v.found for v in network_policy_enforced(policy, cast(KubernetesLab, _Lab(truth)))]
    except CannotLook as gap:
        return [f"gap: {gap}"]


def _enforced(source: Pod, destination: Pod | None, probe: Probe) -> bool:
    """What the policy `db` of the tests below demands."""
    to_db = destination is not None and destination.labels["app"] == "db"
    allowed = source.labels["app"] == "web" and (probe.protocol, probe.port) == ("tcp", 8080)
    return to_db and source is not destination and not allowed


DB_POLICY = policy("db", app="db", ingress=[TO_WEB])


@pytest.mark.parametrize("more", [[], [policy("web", app="web", egress=[TO_DB])]])
def test_everything_is_dropped(measured: Any, more: list[Any]) -> None:
    """Where even what is allowed never arrives, the pod itself shows that its port answers."""
    for one in more:
        one["spec"]["policyTypes"] = ["Egress"]
    pods = [WEB, OTHER_WEB, DB]
    there = scene(pods, DB_POLICY, *more)
    isolated = [DB, *([WEB, OTHER_WEB] if more else [])]
    dropped = Net(
        [*pods, STRANGER],
        lambda source, end, _: source is not end and (end is DB or source in isolated),
    )

    truth = measured(there, [STRANGER], dropped)

    for name in ["db", *(["web"] if more else [])]:
        (found,) = verdict(there, truth, name)
        assert found.startswith("over-blocking: "), found
    assert not truth


def test_enforced(measured: Any) -> None:
    """What is denied is blocked, what is allowed arrives, on each node: nothing is found."""
    pods = [WEB, OTHER_WEB, DB, OTHER_DB]
    there = scene(pods, DB_POLICY)

    truth = measured(there, [STRANGER], Net([*pods, STRANGER], _enforced))

    assert [] == verdict(there, truth, "db")
    assert truth


def test_one_direction_hides_the_other(measured: Any) -> None:
    """Blocked from within is not blocked from elsewhere: ingress is a gap until somebody asks."""
    there = scene([DB, OTHER_DB], policy("all", policyTypes=["Ingress", "Egress"]))
    net = Net([DB, OTHER_DB, ELSEWHERE], lambda s, end, _: end is not s and s is not ELSEWHERE)

    within = measured(there, [], net, no_stranger="nobody is elsewhere")
    asked = measured(_knowing_other(there), [ELSEWHERE], net)

    (gap,) = verdict(there, within, "all")
    assert gap.endswith("shows whether its ingress is enforced: nobody is elsewhere"), gap
    (found,) = verdict(there, asked, "all")
    assert found.startswith("not enforced: other/elsewhere -> shop/db-"), found


def _knowing_other(there: Scene) -> Scene:
    return replace(there, policies=there.policies.knowing("other"))


def test_a_node_of_which_nothing_is_told(measured: Any) -> None:
    """What one node blocks says nothing of another one."""
    pods = [WEB, DB, OTHER_DB]
    there = scene(pods, DB_POLICY)

    def blocks(source: Pod, end: Pod | None, probe: Probe) -> bool:
        return end is OTHER_DB or _enforced(source, end, probe)

    truth = measured(there, [STRANGER], Net([*pods, STRANGER], blocks))
    hidden = replace(
        truth,
        paths=tuple(
            _hidden(one) if one.path.destination is OTHER_DB else one for one in truth.paths
        ),
    )

    (gap,) = verdict(there, hidden, "db")
    assert "no path shows whether its ingress is enforced on node n1 for TCP: lost" in gap


def _hidden(one: Any) -> Any:
    return replace(one, outcome="not told", reason="lost")


def test_a_rule_of_which_nothing_is_told(measured: Any) -> None:
    """A policy that is seen to deny, and not to allow, may allow nothing at all."""
    pods = [WEB, DB]
    there = scene(pods, DB_POLICY)
    truth = measured(there, [STRANGER], Net([*pods, STRANGER], _enforced))
    hidden = replace(
        truth, paths=tuple(one if one.path.denied else _hidden(one) for one in truth.paths)
    )

    (gap,) = verdict(there, hidden, "db")
    assert gap.endswith("shows whether anything gets through by spec.ingress[0]: lost"), gap


def test_a_leak_that_could_not_be_asked_again(measured: Any) -> None:
    """What got through once is neither a finding nor nothing: it is a gap."""
    pods = [WEB, DB]
    there = scene(pods, DB_POLICY)
    net = Net(
        [*pods, STRANGER],
        lambda source, *rest: source is not STRANGER and _enforced(source, *rest),
        fails=[STRANGER],
    )

    truth = measured(there, [STRANGER], net)

    (gap,) = verdict(there, truth, "db")
    assert "shop/stranger -> shop/db-a:" in gap
    assert "got through at first and could not be asked again: exec failed" in gap
    assert not truth


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"ingress": [OWN_NAMESPACE]}, True),
        ({"policyTypes": ["Ingress", "Egress"]}, True),
        ({"policyTypes": ["Egress"]}, False),
        ({"ingress": [{}]}, False),
        ({"app": "db", "ingress": [TO_WEB]}, False),
    ],
)
def test_who_is_asked_for_elsewhere(spec: dict[str, Any], wanted: bool) -> None:
    """A pod elsewhere is needed where no pod of the namespace can show the ingress to be closed."""
    there = scene([WEB, DB], policy("it", **spec))
    there = replace(there, versions=frozenset({("shop", "uid", 1)}))

    assert wanted is takes_a_stranger(there, [STRANGER])


def test_each_node_has_an_isolated_pod() -> None:
    """Of many replicas two take part, and the others where a node isolates nobody else."""
    replicas = [pod(f"db-{n}", "db", n + 1, f"n{n}") for n in range(4)]
    free = [pod(f"web-{n}", "web", n + 11, f"n{n}") for n in range(4)]
    policies = scene([], DB_POLICY).policies

    chosen = some_of([*replicas, *free], policies)

    assert ["db-0", "db-1", "web-0", "web-1", "db-2", "db-3"] == [one.name for one in chosen]

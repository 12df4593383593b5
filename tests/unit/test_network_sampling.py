"""Which paths are probed."""

from __future__ import annotations

import time
from typing import Any

from pytest_containerpolicy.experiments.network_sampling import LISTENER_PORT, Plan, make_plan
from pytest_containerpolicy.experiments.network_scene import Fixture, Scene
from pytest_containerpolicy.experiments.reachability import Address, Pod
from tests.unit.test_reachability import SELECTS_WEB, pod, policies, policy

API = Fixture(
    end=Address(name="the API server", address="10.9.9.9", in_cluster=True), port=6443, answers=True
)
DNS = Fixture(end=pod("dns", "kube-system", address="10.1.0.53"), port=53, protocol="UDP")
STRANGER = pod("stranger", address="10.1.0.99", workload="Pod stranger")


def scene(pods: list[Pod], *documents: dict[str, Any]) -> Scene:
    """Pods and policies of one namespace, with DNS and an API server."""
    return Scene(
        namespaces=("shop",),
        pods=tuple(pods),
        fixtures=(DNS, API),
        policies=policies(*documents, known=("shop", "kube-system")),
        versions=frozenset(),
    )


def workloads(count: int) -> list[Pod]:
    """Pods of so many workloads on three nodes."""
    return [
        pod(
            f"w{n}",
            address=f"10.2.{n // 200}.{n % 200 + 1}",
            workload=f"Deployment w{n}",
            node=f"n{n % 3}",
            answering=frozenset({8080}),
        )
        for n in range(count)
    ]


def chain(count: int) -> list[dict[str, Any]]:
    """Policies by which each workload may be reached by the one before it only."""
    return [
        policy(
            f"p{n}",
            app=f"w{n}",
            policyTypes=["Ingress", "Egress"],
            ingress=[{"from": [{"podSelector": {"matchLabels": {"app": f"w{(n - 1) % count}"}}}]}],
            egress=[{"to": [{"podSelector": {"matchLabels": {"app": f"w{(n + 1) % count}"}}}]}],
        )
        for n in range(count)
    ]


def shown(plan: Plan, denied: bool) -> set[tuple[str, str]]:
    """The policies and directions of which there are paths of a sign."""
    return {
        (basis.policy.ref.name, basis.direction)
        for path in plan.paths
        if path.denied is denied
        for basis in path.expectation.basis
    }


def test_every_policy_direction_and_sign() -> None:
    """However few samples are asked for, each policy is shown in each direction, both ways."""
    plan = make_plan(scene(workloads(20), *chain(20)), [STRANGER], samples=0)

    everything = {(f"p{n}", way) for n in range(20) for way in ("ingress", "egress")}
    assert everything == shown(plan, denied=True) == shown(plan, denied=False)
    assert len(plan.paths) < 150


def test_the_same_each_time() -> None:
    """Two plans of the same pods are the same."""
    first, second = (
        [str(path) for path in make_plan(scene(workloads(9), *chain(9)), [STRANGER], 40).paths]
        for _ in range(2)
    )

    assert first == second


def test_samples_of_each_sign() -> None:
    """What goals leave of the sample is filled, denied and allowed, over all destinations."""
    admit = policy("some", ingress=[{"from": [SELECTS_WEB]}])
    plan = make_plan(scene([pod("web"), *workloads(20)], admit), [STRANGER], samples=20)

    denied = [path for path in plan.paths if path.denied]
    assert 20 <= len(denied) <= 25
    assert 15 <= len({path.destination for path in denied})


def test_nobody_is_entered_without_need() -> None:
    """Ingress is shown from a pod of our own; for UDP one pod on each node has a listener."""
    plan = make_plan(scene(workloads(3), policy("deny")), [STRANGER], samples=40)

    entered = plan.listeners - {STRANGER}
    assert 3 == len(entered)
    assert {STRANGER} | entered >= {path.source for path in plan.paths}


def test_egress_is_shown_where_nothing_else_denies() -> None:
    """Of a policy that isolates both ways, egress is shown where no ingress is in the way."""
    both = policy("both", policyTypes=["Ingress", "Egress"])
    plan = make_plan(scene(workloads(2), both), [STRANGER], samples=0)

    assert any(
        path.denied and {"egress"} == {basis.direction for basis in path.expectation.basis}
        for path in plan.paths
    )


def test_ports_that_nobody_may_reach() -> None:
    """Where no path to a port is allowed, its own pod is to show that it answers."""
    silent = pod("db", workload="Deployment db")
    plan = make_plan(scene([silent], policy("deny", app="db", ingress=[])), [STRANGER], samples=9)

    assert (silent, silent, 8080) in {(p.source, p.destination, p.port) for p in plan.paths}


def test_pods_show_that_their_own_ports_answer() -> None:
    """Others who may reach a port may all be blocked wrongly; its own pod can't be."""
    silent, web = pod("db", workload="Deployment db"), pod("web", workload="Deployment web")
    admit = policy("db", app="db", ingress=[{"from": [SELECTS_WEB], "ports": [{"port": 8080}]}])
    plan = make_plan(scene([silent, web], admit), [STRANGER], samples=0)

    asked = {p.source for p in plan.paths if p.destination is silent and p.port == 8080}
    assert {web, silent} <= asked


def test_nobody_to_ask_from() -> None:
    """Without any pod there is nothing to probe, and nothing breaks."""
    assert () == make_plan(scene([], policy("deny")), [], samples=9).paths


def test_controls_need_no_policy() -> None:
    """A path on which no policy has a say shows a port to answer."""
    egress = policy("client", app="w0", policyTypes=["Egress"])
    plan = make_plan(scene(workloads(2), egress), [STRANGER], samples=0)

    dns = [path for path in plan.paths if path.how == "dns"]
    assert not dns or any(not path.denied for path in dns)


def test_many_workloads_take_a_moment() -> None:
    """A plan for 150 workloads with a policy each is made in seconds."""
    begun = time.process_time()
    plan = make_plan(scene(workloads(150), *chain(150)), [STRANGER], samples=40)

    assert 10 > time.process_time() - begun
    assert {f"p{n}" for n in range(150)} == {name for name, _ in shown(plan, denied=True)}
    assert LISTENER_PORT not in {p.number for w in workloads(1) for p in w.ports}

"""When a service is judged: what was not looked at is no pass, what need not answer is no gap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import service_asking, service_sources
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_controls import NODE
from pytest_containerpolicy.experiments.network_scene import Scene
from pytest_containerpolicy.experiments.reach import Detail, Found, Probe
from pytest_containerpolicy.experiments.reachability import Address, Pod, Policies
from pytest_containerpolicy.experiments.service_answers import ServiceAnswers, service_answers
from pytest_containerpolicy.experiments.service_asking import Answer, Asking
from pytest_containerpolicy.experiments.service_places import Place
from pytest_containerpolicy.experiments.service_sources import Sources, open_sources
from pytest_containerpolicy.model.network import Service
from tests.kubernetes_values import model_of
from tests.unit.test_network_services import SERVICE
from tests.unit.test_reachability import SELECTS_WEB, pod, policies, policy

FREE = Policies([], ["shop"])
NODES = Address(name="10.0.0.9", address="10.0.0.9", in_cluster=True)
WEB, OTHER = pod("web", node="n1"), pod("web", node="n2", address="10.1.4.99")
OWN = pod("own", node="n2")


def place(kind: str, host: str = "10.96.0.9", **fields: Any) -> Place:
    """A place of the first port of the service web."""
    return Place(service="web", index=0, kind=kind, host=host, port=80, **fields)  # type: ignore[arg-type]


ENDPOINT = place("endpoint", WEB.address, ends=((WEB, 8080),))
ADDRESS = place("address", ends=((WEB, 8080),))
NEAR = place("address", ends=((WEB, 8080),), nodes=frozenset({"n1"}))
NODE_PORT = place("node port", "10.0.0.9", ends=((WEB, 8080), (NODES, 80)))
UNKNOWN = place("node port", "", gap="node port 30080: forbidden")
SIX = place("address", "fd00:9::9", ends=((WEB, 8080),))


class _Network:
    """A vantage point that finds what it is told to at each host, and its node to answer."""

    def __init__(self, outcomes: dict[str, str]) -> None:
        self._outcomes = outcomes

    def ask(self, lab: object, probes: list[Probe]) -> list[Found]:
        return [self._found(probe) for probe in probes]

    def _found(self, probe: Probe) -> Found:
        outcome = "open" if probe.id == NODE else self._outcomes.get(probe.host, "timeout")
        return Found(id=probe.id, outcome=outcome, ms=1, attempts=1, detail=Detail())


class _Lab:
    """A laboratory in which no endpoint is left, unless it has been measured already."""

    def __init__(self, *answers: Answer) -> None:
        self.figures: list[str] = []
        self._answers = answers

    def once(self, key: object, make: object) -> ServiceAnswers:
        found = {"web": self._answers} if self._answers else {}
        return ServiceAnswers(namespace="shop", answers=found, seconds=1)

    def items(self, path: str) -> list[Any]:
        endpoint = {"addresses": [WEB.address]}
        labels = {"kubernetes.io/service-name": "web"}
        return [{"metadata": {"labels": labels}, "endpoints": [endpoint]}]

    def record(self, figure: object) -> None:
        self.figures.append(str(figure))


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Asks places in a network in which only some hosts answer, and judges the service."""

    def judged(
        outcomes: dict[str, str], *places: Place, known: Policies = FREE, sources: Any = (OWN,)
    ) -> list[str]:
        monkeypatch.setattr(service_asking, "_PAUSE_SECONDS", 0)
        monkeypatch.setattr(service_asking, "open_vantage", lambda *_, **__: _Network(outcomes))
        lab = cast(KubernetesLab, _Lab())
        answers = Asking(lab, Sources(known, sources), timeout=1.0).ask(places)
        return verdict(*answers)

    return judged


def verdict(*answers: Answer) -> list[str]:
    """What is found of a service of which this was asked."""
    (service,) = model_of([SERVICE], live=True).all(Service)
    return [v.found for v in service_answers(service, cast(KubernetesLab, _Lab(*answers)))]


ENDPOINT_ANSWERS = {WEB.address: "open"}
ALL_ANSWER = {WEB.address: "open", "10.96.0.9": "open", "10.0.0.9": "open", "fd00:9::9": "open"}


def test_every_kind_answers(ask: Any) -> None:
    """A service that answers at each of its places passes."""
    assert [] == ask(ALL_ANSWER, ENDPOINT, ADDRESS, SIX, NODE_PORT)


def test_a_node_port_that_was_never_asked(ask: Any) -> None:
    """Nodes that may not be listed are a gap where there is a node port, whatever else answers."""
    with pytest.raises(CannotLook, match=r"web: port 80/TCP: node port 30080: forbidden$"):
        ask(ALL_ANSWER, ENDPOINT, ADDRESS, UNKNOWN)


def test_an_address_out_of_the_way(ask: Any) -> None:
    """An endpoint that answers does not stand for an address that could not be asked."""
    with pytest.raises(CannotLook, match="no pod to ask from is on a node with an endpoint"):
        ask(ENDPOINT_ANSWERS, ENDPOINT, NEAR)


def test_what_fails_is_found_beside_a_gap(ask: Any) -> None:
    """A port that fails at one place fails, even if another could not be asked."""
    (found,) = ask({}, ENDPOINT, UNKNOWN)
    assert "timeout at endpoint" in found


def test_policies_between_us_and_nodes(ask: Any) -> None:
    """Who may not connect to nodes learns nothing from a node port's silence."""
    egress = policy(policyTypes=["Egress"], egress=[{"to": [SELECTS_WEB]}])
    silent = ALL_ANSWER | {"10.0.0.9": "timeout"}
    with pytest.raises(CannotLook, match="let no pod of the namespace through to node port"):
        ask(silent, ENDPOINT, ADDRESS, NODE_PORT, known=policies(egress))
    assert ["port 80/TCP: timeout at node port 10.0.0.9:80"] == ask(silent, ENDPOINT, NODE_PORT)


def test_a_node_port_before_isolated_pods(ask: Any) -> None:
    """It need not answer, but its own address must."""
    inside: list[Any] = [{"podSelector": {}}]
    isolated = policies(
        policy(policyTypes=["Ingress"], ingress=[{"from": inside}]),
        policy("out", policyTypes=["Egress"], egress=[{"to": inside}]),
    )
    silent = ALL_ANSWER | {"10.0.0.9": "timeout"}

    assert [] == ask(silent, ENDPOINT, ADDRESS, NODE_PORT, known=isolated)
    assert ["port 80/TCP: timeout at address 10.96.0.9:80"] == ask(
        ENDPOINT_ANSWERS, ENDPOINT, ADDRESS, NODE_PORT, known=isolated
    )


def test_silent_datagrams(ask: Any) -> None:
    """Where one place answers a datagram the others need not; where none does, nothing is told."""
    near = place("endpoint", WEB.address, ends=((WEB, 80),), protocol="UDP")
    far = place("address", ends=((WEB, 80),), protocol="UDP")

    assert [] == ask({WEB.address: "answered"} | {"10.96.0.9": "silent"}, near, far)
    with pytest.raises(CannotLook, match="sends nothing back for a datagram"):
        ask({WEB.address: "silent"} | {"10.96.0.9": "silent"}, near, far)


def test_endpoints_that_were_replaced(ask: Any) -> None:
    """An address that answers is enough where its endpoints are other ones by now."""
    before = place("endpoint", "10.1.0.77", ends=((WEB, 8080),))

    assert [] == ask({"10.96.0.9": "open"}, before, ADDRESS)
    with pytest.raises(CannotLook, match="was replaced meanwhile"):
        ask({}, before)


def test_among_themselves(ask: Any) -> None:
    """What only its own pods may reach is asked from one of them: an answer is an answer."""
    peers = policies(policy(app="web", ingress=[{"from": [SELECTS_WEB]}]))
    both = place("address", ends=((WEB, 8080), (OTHER, 8080)))
    sources = (OWN, WEB, OTHER)

    assert [] == ask(ALL_ANSWER, ENDPOINT, both, known=peers, sources=sources)
    with pytest.raises(CannotLook, match=r"only pods behind address .* need not reach themselves"):
        ask(ENDPOINT_ANSWERS, ENDPOINT, both, known=peers, sources=sources)


def test_the_second_family(ask: Any) -> None:
    """Its silence says nothing while our pod reaches nothing of that family; a refusal does."""
    first = {WEB.address: "open", "10.96.0.9": "open"}
    for silence in ("timeout", "unreachable"):
        with pytest.raises(CannotLook, match="shop/own reaches nothing at all over IPv6"):
            ask(first | {"fd00:9::9": silence}, ENDPOINT, ADDRESS, SIX)
    found = ["port 80/TCP: refused at address [fd00:9::9]:80 (1 of 2 addresses)"]
    assert found == ask(first | {"fd00:9::9": "refused"}, ENDPOINT, ADDRESS, SIX)


def test_a_silent_address_beside_endpoints_of_its_family(ask: Any) -> None:
    """A pod that reaches an endpoint over IPv6 has reason to expect the address to answer."""
    endpoint = place("endpoint", "fd00:1::8", ends=((WEB, 8080),))
    assert ["port 80/TCP: timeout at address [fd00:9::9]:80"] == ask(
        {"fd00:1::8": "open"}, endpoint, SIX
    )


class _Started:
    """Pods of our own: the first on n2, others where they are wanted, if they come up there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: str = "") -> None:
        self.nodes: list[str] = []
        self._fails = fails
        monkeypatch.setattr(service_sources, "own_pod", self._first)
        monkeypatch.setattr(service_sources, "_own_pod_on", self._on)

    @contextmanager
    def _first(self, lab: object, namespace: str) -> Iterator[Pod]:
        yield OWN

    @contextmanager
    def _on(self, lab: object, namespace: str, node: str) -> Iterator[Pod]:
        self.nodes.append(node)
        if self._fails:
            raise CannotLook(self._fails)
        yield pod(f"own-{node}", node=node)


def _opened(known: Policies, *places: Place, pods: tuple[Pod, ...] = ()) -> tuple[str, list[str]]:
    """From where the first place is asked, and what was recorded."""
    lab = _Lab()
    scene = Scene(
        namespaces=("shop",), pods=pods, fixtures=(), policies=known, versions=frozenset()
    )
    with open_sources(cast(KubernetesLab, lab), scene, "shop", places) as sources:
        return sources.of(places[0]).name, lab.figures


def test_nearer_to_a_local_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of our own is started on the node from which alone an address leads anywhere: one."""
    started = _Started(monkeypatch)
    nowhere = place("address", "10.96.0.8", nodes=frozenset({""}))

    assert ("own-n1", []) == _opened(FREE, NEAR, NEAR, ADDRESS, nowhere)
    assert ["n1"] == started.nodes


def test_near_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is started where another pod is, where all nodes serve, or where policies forbid it."""
    started = _Started(monkeypatch)
    shut = policies(policy(app="web", ingress=[]))

    assert ("db", []) == _opened(FREE, NEAR, pods=(WEB, pod("db", node="n1")))
    assert ("own", []) == _opened(FREE, ADDRESS, ENDPOINT, NODE_PORT)
    assert ("own", []) == _opened(shut, NEAR)
    assert [] == started.nodes


def test_a_node_that_takes_no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded, once, and the first pod must do."""
    started = _Started(monkeypatch, fails="exceeded quota")

    assert ("own", ["nothing to ask from on node n1: exceeded quota"]) == _opened(FREE, NEAR, NEAR)
    assert ["n1"] == started.nodes

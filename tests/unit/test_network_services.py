"""What of services is asked, from where, and how reliably names must resolve."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import service_asking
from pytest_containerpolicy.experiments.dns_answers import Names, service_name_resolves
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.network_controls import NODE
from pytest_containerpolicy.experiments.reach import Detail, Found, Probe
from pytest_containerpolicy.experiments.reachability import Pod, Policies
from pytest_containerpolicy.experiments.service_asking import Asking
from pytest_containerpolicy.experiments.service_places import Place, places_of
from pytest_containerpolicy.experiments.service_sources import Sources
from pytest_containerpolicy.model.network import Service
from tests.kubernetes_values import model_of
from tests.unit.test_reachability import pod

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "targetPort": 8080}]},
}
SLICE = {
    "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
    "ports": [{"name": "", "port": 8080}],
    "endpoints": [{"addresses": ["10.1.0.8"], "nodeName": "n1"}],
}


class _Cluster:
    """A laboratory that answers lists, and has looked up names already."""

    def __init__(self, lists: dict[str, list[Any]], names: Names | None = None) -> None:
        self._lists, self._names = lists, names

    def get(self, path: str) -> dict[str, Any]:
        return {"metadata": {}}

    def items(self, path: str) -> list[Any]:
        return self._lists.get(path.rpartition("/")[2], [])

    def once(self, key: object, make: object) -> Names | None:
        return self._names


def _asking(*sources: Pod) -> Asking:
    lab = cast(KubernetesLab, _Cluster({}))
    return Asking(lab, Sources(Policies([], ["shop"]), sources), timeout=1.0)


@pytest.mark.parametrize(("policy", "nodes"), [("Cluster", set()), ("Local", {"n1"})])
def test_who_may_ask_a_local_service(policy: str, nodes: set[str]) -> None:
    """With internalTrafficPolicy Local an address leads nowhere from nodes without endpoint."""
    service = SERVICE | {"spec": {**SERVICE["spec"], "internalTrafficPolicy": policy}}  # type: ignore[dict-item]
    lab = cast(KubernetesLab, _Cluster({"services": [service], "endpointslices": [SLICE]}))

    (address,) = (place for place in places_of(lab, "shop") if place.kind == "address")

    assert nodes == address.nodes


class _Silence:
    """A vantage point from which only the node answers."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, lab: object, probes: list[Probe]) -> list[Found]:
        self.asked += 1
        return [self._found(probe.id) for probe in probes]

    def _found(self, number: str) -> Found:
        outcome = "open" if number == NODE else "timeout"
        return Found(id=number, outcome=outcome, ms=1, attempts=1, detail=Detail())


def test_a_local_service_with_nobody_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence on a node without endpoint says nothing, so that nobody asks again."""
    vantage = _Silence()
    monkeypatch.setattr(service_asking, "open_vantage", lambda *_, **__: vantage)
    place = Place(service="web", index=0, kind="address", host="10.9.9.9", nodes=frozenset({"n1"}))

    (answer,) = _asking(pod("far", node="n2")).ask([place])

    assert "not told" == answer.outcome
    assert "no pod to ask from is on a node with an endpoint" in answer.reason
    assert 1 == vantage.asked


def test_what_the_prober_does_not_speak() -> None:
    """A port of SCTP is not asked in place of UDP: it is not told."""
    place = Place(service="web", index=0, kind="address", host="10.96.0.9", protocol="SCTP")

    (answer,) = _asking(pod("own")).ask([place])

    assert ("not told", "the prober does not speak SCTP") == (answer.outcome, answer.reason)


def _names(lost: int, lookups: int) -> Names:
    times = tuple(1.0 for _ in range(lookups - lost))
    return Names(namespace="shop", lookups={"web": ()}, times={"web": times}, lost={"web": lost})


def _found(lost: int, lookups: int) -> list[str]:
    (service,) = model_of([SERVICE], live=True).all(Service)
    lab = cast(KubernetesLab, _Cluster({}, _names(lost, lookups)))
    return [violation.found for violation in service_name_resolves(service, lab, lookups=lookups)]


@pytest.mark.parametrize(("lost", "lookups"), [(0, 20), (1, 20), (0, 0)])
def test_reliable_names(lost: int, lookups: int) -> None:
    """A single lookup that fails may be chance."""
    assert [] == _found(lost, lookups)


@pytest.mark.parametrize(("lost", "lookups"), [(10, 20), (2, 20), (20, 20), (1, 1)])
def test_unreliable_names(lost: int, lookups: int) -> None:
    """Lookups that fail again and again are found, however fast the others are."""
    (found,) = _found(lost, lookups)
    assert f"{lost} of {lookups} lookups failed, though the name resolves at other times" == found
    assert f"{lost} of {lookups} further lookups lost" in str(_names(lost, lookups))


def test_a_service_that_is_gone() -> None:
    """Names of a service that is not there any more are a gap."""
    (service,) = model_of([SERVICE], live=True).all(Service)
    names = Names(namespace="shop", lookups={}, times={}, lost={})
    with pytest.raises(CannotLook, match="is gone, or nothing is ready behind it"):
        list(service_name_resolves(service, cast(KubernetesLab, _Cluster({}, names))))

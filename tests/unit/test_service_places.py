"""At which addresses of services and nodes is asked, and what of it is not known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, NotNow, Refused
from pytest_containerpolicy.experiments.service_places import Place, places_of
from pytest_containerpolicy.experiments.service_ports import family_of
from tests.unit.test_network_services import SERVICE, SLICE

FOUR, SIX = "10.0.0.1", "fd00::1"
SLICE_SIX = SLICE | {"endpoints": [{"addresses": ["fd00:1::8"], "nodeName": "n1"}]}
READY = [{"type": "Ready", "status": "True"}]
FORBIDDEN = "GET /api/v1/nodes: forbidden; needs the right to GET /api/v1/nodes"
BOTH = {"clusterIPs": ["10.96.0.9", "fd00:9::9"], "ipFamilies": ["IPv4", "IPv6"]}


def node(name: str, *addresses: str, kind: str = "InternalIP") -> dict[str, Any]:
    """A node that is ready."""
    found = [{"type": kind, "address": address} for address in addresses]
    return {"metadata": {"name": name}, "status": {"conditions": READY, "addresses": found}}


class _Cluster:
    """A laboratory with one service, and nodes or a refusal to list them."""

    def __init__(self, nodes: list[Any] | Refused, slices: list[Any], **spec: Any) -> None:
        service = SERVICE | {"spec": {**cast(dict[str, Any], SERVICE["spec"]), **spec}}
        self._lists = {"services": [service], "endpointslices": slices, "nodes": nodes}

    def get(self, path: str) -> dict[str, Any]:
        return {"metadata": {}}

    def items(self, path: str) -> list[Any]:
        found = self._lists.get(path.rpartition("/")[2], [])
        if isinstance(found, Refused):
            raise found
        return found


def places(
    kind: str, nodes: list[Any] | Refused, slices: list[Any] | None = None, **spec: Any
) -> list[Place]:
    """The places of one kind of a service."""
    lab = cast(KubernetesLab, _Cluster(nodes, slices or [SLICE], **spec))
    return [place for place in places_of(lab, "shop") if place.kind == kind]


def node_ports(
    nodes: list[Any] | Refused, slices: list[Any] | None = None, **spec: Any
) -> list[Place]:
    """The places at nodes of a service with a node port."""
    ports = [{"port": 80, "targetPort": 8080, "nodePort": 30080}]
    return places("node port", nodes, slices, ports=ports, **spec)


@pytest.mark.parametrize(
    "refusal", [Refused(FORBIDDEN, 403, ""), NotNow("GET /api/v1/nodes: busy", 429, "")]
)
def test_nodes_that_can_not_be_listed(refusal: Refused) -> None:
    """A node port is there all the same, with what kept us from asking; elsewhere nothing is."""
    (place,) = node_ports(refusal)

    assert f"node port 30080: {refusal}" == place.gap
    assert not place.is_asked
    assert [] == places("node port", refusal)
    assert ["10.96.0.9"] == [found.host for found in places("address", refusal)]


@pytest.mark.parametrize(
    ("nodes", "spec"),
    [
        ([], {}),
        ([node("n1", "198.51.100.7", kind="ExternalIP")], {}),
        ([node("n1", SIX)], {}),
        ([node("n2", FOUR)], {"externalTrafficPolicy": "Local"}),
    ],
)
def test_no_node_to_ask_at(nodes: list[Any], spec: dict[str, Any]) -> None:
    """Where no node leads to a node port at an address of its family, it is not told."""
    (place,) = node_ports(nodes, **spec)

    assert "no ready node that leads to it has an IPv4 address" in place.gap


@pytest.mark.parametrize(
    ("spec", "host"),
    [
        ({}, FOUR),
        ({"ipFamilies": ["IPv4"]}, FOUR),
        ({"ipFamilies": ["IPv6"], "clusterIP": "fd00:9::9"}, SIX),
        ({"clusterIP": "fd00:9::9"}, SIX),
    ],
)
@pytest.mark.parametrize(
    "addresses", [(FOUR, SIX), (SIX, FOUR), (FOUR, "10.0.0.2", SIX, "fd00::2")]
)
def test_nodes_with_several_addresses(
    addresses: tuple[str, ...], spec: dict[str, Any], host: str
) -> None:
    """A node port is asked at the first address of the service's family."""
    (place,) = node_ports([node("n1", *addresses)], [SLICE, SLICE_SIX], **spec)

    assert host == place.host


def test_both_families() -> None:
    """A dual-stack service is asked at both addresses, endpoints of both, and so are nodes."""
    nodes, slices = [node("n1", FOUR, SIX)], [SLICE, SLICE_SIX]

    addresses = places("address", nodes, slices, **BOTH)
    endpoints = places("endpoint", nodes, slices, **BOTH)

    assert ["10.96.0.9", "fd00:9::9"] == [place.host for place in addresses]
    assert ["10.1.0.8", "fd00:1::8"] == [place.host for place in endpoints]
    assert [FOUR, SIX] == [place.host for place in node_ports(nodes, slices, **BOTH)]
    for address, endpoint in zip(addresses, endpoints, strict=True):
        assert [endpoint.host] == [end.address for end, _ in address.ends]
    assert "address [fd00:9::9]:80" == str(addresses[1])


def test_a_family_that_nodes_lack() -> None:
    """A dual-stack service has no node port in a family of which no node has an address."""
    (place,) = node_ports([node("n1", FOUR)], [SLICE, SLICE_SIX], **BOTH)

    assert (FOUR, "") == (place.host, place.gap)


def test_endpoints_of_dual_stack_pods() -> None:
    """An endpoint is asked at its own address, which need not be its pod's first."""
    target = {"kind": "Pod", "name": "web-0"}
    endpoint = {"addresses": ["fd00:1::8"], "nodeName": "n1", "targetRef": target}
    pod = {
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "1"},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": "10.1.0.8"},
    }
    cluster = _Cluster([], [SLICE | {"endpoints": [endpoint]}], clusterIP="None")
    cluster._lists["pods"] = [pod]

    (place,) = places_of(cast(KubernetesLab, cluster), "shop")

    assert ("fd00:1::8", "10.1.0.8") == (place.host, place.ends[0][0].address)


def test_what_lies_between_us_and_a_node_port() -> None:
    """Policies must let us through to what is behind it, and to the node itself."""
    (place,) = node_ports([node("n1", FOUR)])

    assert [("10.1.0.8", 8080), (FOUR, 30080)] == [(end.address, n) for end, n in place.ends]


def test_a_headless_service() -> None:
    """It has endpoints and no other place."""
    nodes = [node("n1", FOUR)]
    assert [] == places("address", nodes, clusterIP="None", clusterIPs=["None"])
    assert [] == places("node port", nodes, clusterIP="None", clusterIPs=["None"])


@pytest.mark.parametrize(("address", "family"), [(FOUR, "IPv4"), (SIX, "IPv6")])
def test_families(address: str, family: str) -> None:
    """Families are called as services call them."""
    assert family == family_of(address)

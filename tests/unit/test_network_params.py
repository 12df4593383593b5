"""What users and Ingresses say of where and for whom something is served."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.experiments.addresses import host_and_port
from pytest_containerpolicy.model.network import Route
from tests.kubernetes_values import model_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 443)),
        ("192.0.2.1:8443", ("192.0.2.1", 8443)),
        ("shop.example:80", ("shop.example", 80)),
        ("2001:db8::1", ("2001:db8::1", 443)),
        ("[2001:db8::1]", ("2001:db8::1", 443)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    """A port may follow; IPv6 is in brackets then."""
    assert expected == host_and_port(text, "address", 443)


@pytest.mark.parametrize("text", ["", "shop", ":80", "shop:", "shop:x", "shop:0", "shop:65536"])
def test_addresses_that_are_none(text: str) -> None:
    """The error names the param and what is allowed."""
    with pytest.raises(UsageError, match=r"params.outside: .* is no address such as"):
        host_and_port(text, "outside")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ()),
        ({"tls": []}, ()),
        ({"tls": [{"hosts": ["a", "b"]}, {"hosts": ["b"], "secretName": "s"}]}, ("a", "b")),
        ({"tls": [{"secretName": "s"}], "rules": [{"host": "a"}, {"host": "b"}]}, ("a", "b")),
        ({"tls": [{}]}, ("",)),
    ],
)
def test_hosts_of_an_ingress(spec: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Hosts served over TLS are those named; without any those of the rules, or all."""
    metadata = {"name": "web", "namespace": "shop"}
    document = {"kind": "Ingress", "metadata": metadata, "spec": spec}

    (route,) = model_of([document], live=True).all(Route)
    assert expected == route.tls_hosts

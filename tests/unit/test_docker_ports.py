"""Where published ports are asked, and what is told from the outcomes."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import docker_ports
from pytest_containerpolicy.experiments.docker_ports import measure_ports
from pytest_containerpolicy.experiments.host_sockets import HostSockets
from pytest_containerpolicy.experiments.lab import Lab
from pytest_containerpolicy.experiments.port_lookalikes import Place
from pytest_containerpolicy.experiments.published import ABSENT, Reach
from pytest_containerpolicy.model.workload import Workload

LOOPBACK, GATEWAY, GONE = "127.0.0.2", "10.0.9.1", "10.8.0.5"
TRIE = "== fib_trie\n |-- 127.0.0.0\n /8 host LOCAL\n |-- 127.0.0.1\n /32 host LOCAL\n"


class _Daemon:
    """A daemon with one container, whose port is bound to some addresses."""

    endpoint = SimpleNamespace(host="unix:///none.sock")

    def __init__(self, *bound: str, options: tuple[str, ...] | None = ()) -> None:
        bindings = [{"HostIp": address, "HostPort": "8080"} for address in bound]
        networks = {"bridge": {"IPAddress": "10.0.0.2"}}
        settings = {"Networks": networks, "Ports": {"80/tcp": bindings}}
        self._container = {"Name": "/web", "NetworkSettings": settings}
        self._options = options
        self.client = SimpleNamespace(api=self)
        self.started: list[str] = []

    def info(self) -> dict[str, Any]:
        return {"SecurityOptions": self._options and list(self._options)}

    def containers(self, *workloads: Workload) -> list[dict[str, Any]]:
        """Those of a workload; without one what the daemon lists of all ports, which is nothing."""
        return [self._container for _ in workloads]

    def prober(self, network: str) -> Any:
        self.started.append(network)
        return nullcontext(network)

    def say(self, text: str) -> None:
        pass


WEB = cast(Workload, SimpleNamespace(name="web", published_ports=(8080,), host_network=False))


def _reach(
    daemon: _Daemon, monkeypatch: pytest.MonkeyPatch, *addresses: str, later: str = TRIE
) -> Reach:
    """What is measured where the host has 127.0.0.0/8 and some addresses, which all answer."""
    leaves = "".join(f" |-- {address}\n /32 host LOCAL\n" for address in addresses)
    tables = [HostSockets.parsed(text) for text in (TRIE + leaves, later)]
    monkeypatch.setattr(docker_ports, "_stream", lambda *_: None)
    monkeypatch.setattr(docker_ports, "_ask", _everything_answers)
    monkeypatch.setattr(HostSockets, "read", lambda *_: tables.pop(0))
    [found] = measure_ports([WEB], cast(Lab, daemon))
    return found


def _everything_answers(
    _: object, places: list[Place], *, inside: bool = False
) -> dict[Place, str]:
    return {
        (one, host): "open" if inside or one.covers(host) else "refused" for one, host in places
    }


def test_address_of_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is asked on the very address that it is bound to, though the host does not list it."""
    found = _reach(_Daemon(LOOPBACK), monkeypatch)

    assert {"127.0.0.1": "refused", LOOPBACK: "open"} == found.on_host
    assert ({}, []) == (found.closed, found.exposed)


def test_address_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers on an address that the host has no more is not the container."""
    found = _reach(_Daemon("127.0.0.1", GONE), monkeypatch)

    assert {GONE: ABSENT} == found.closed


def test_address_that_goes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that others took away is nobody's fault, unless the port is bound to just it."""
    everywhere = _reach(_Daemon("0.0.0.0"), monkeypatch, GATEWAY)
    exactly = _reach(_Daemon(GATEWAY), monkeypatch, GATEWAY)

    assert ["127.0.0.1"] == list(everywhere.on_host)
    assert {"127.0.0.1": "refused", GATEWAY: "open"} == exactly.on_host


def test_rootless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started where the prober could not stand on the host."""
    daemon = _Daemon("0.0.0.0", options=("name=seccomp,profile=builtin", "name=rootless"))

    with pytest.raises(CannotLook, match="the engine is rootless"):
        _reach(daemon, monkeypatch)
    assert [] == daemon.started


def test_virtual_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Desktop's engine is on a machine of its own, whose addresses are not this one's."""
    daemon = _Daemon("192.168.1.5")
    monkeypatch.setattr(daemon, "info", lambda: {"OperatingSystem": "Docker Desktop"})

    with pytest.raises(CannotLook, match="the engine is Docker Desktop"):
        _reach(daemon, monkeypatch)
    assert [] == daemon.started


@pytest.mark.parametrize("options", [None, (), ("name=seccomp,profile=rootless",)])
def test_rootful(options: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other options, or none, are no reason not to look."""
    assert _reach(_Daemon("0.0.0.0", options=options), monkeypatch).closed == {}

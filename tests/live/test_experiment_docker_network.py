"""Published ports and networks of a real engine, with and without rules that open them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.experiments.swarm_watch import is_up
from tests.live.docker_asking import IMAGE, PREFIX, ask, open_to_all, rule
from tests.live.experiment_verdicts import Verdict, verdict
from tests.live.swarm_specimens import SECOND, create_service, overlay_network
from tests.testbed import Engine, Swarm
from tests.testbed.managers import SIZE
from tests.testbed.shell import run, wait_until

FRONT, BACK, MUTE = f"{PREFIX}front", f"{PREFIX}back", f"{PREFIX}mute"
LOCAL, WRONG, SPECIFIC, SILENT, SECOND_LOOPBACK, GOES = range(18811, 18817)
# Added to the host for one test, and taken from it.
PASSING = "10.77.0.1"


@pytest.fixture(scope="module")
def shop(testbed_engine: Engine) -> Iterator[Engine]:
    """Containers with ports bound in every way, in networks that are apart."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(testbed_engine.client()))
        options: dict[str, dict[str, Any]] = {
            FRONT: {},
            BACK: {"internal": True},
            MUTE: {"options": {"com.docker.network.bridge.enable_icc": "false"}},
        }
        for name, more in options.items():
            undo.callback(client.networks.create(name, **more).remove)
        udp = {"UDP_PORT": "5353"}
        specimens: dict[str, dict[str, Any]] = {
            "local": {"ports": {"8080/tcp": ("127.0.0.1", LOCAL)}, "network": FRONT},
            "wrong": {"ports": {"9999/tcp": ("127.0.0.1", WRONG)}, "network": FRONT},
            "specific": {"ports": {"8080/tcp": (testbed_engine.address, SPECIFIC)}},
            "second": {"ports": {"8080/tcp": ("127.0.0.2", SECOND_LOOPBACK)}},
            "everywhere": {
                "ports": {"8080/tcp": None, "5353/udp": None},
                "environment": udp,
            },
            "silent": {"ports": {"53/udp": ("127.0.0.1", SILENT)}},
            "back": {"network": BACK},
            "mute": {"network": MUTE},
        }
        for name, more in specimens.items():
            made = client.containers.run(IMAGE, name=PREFIX + name, detach=True, **more)
            undo.callback(made.remove, force=True)
        yield testbed_engine


def _address(engine: Engine, name: str) -> str:
    """Where a container is in the network in front."""
    with closing(engine.client()) as client:
        settings = client.api.inspect_container(PREFIX + name)["NetworkSettings"]
    return str(settings["Networks"][FRONT]["IPAddress"])


@pytest.mark.parametrize("subject", ["local", "second", "specific", "everywhere"])
def test_ports_where_bound(shop: Engine, subject: str, tmp_path: Path) -> None:
    """A port that answers on the addresses that it is bound to, and on no other, is in order."""
    found = ask(shop, "ports_reachable", (subject,), tmp_path)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


def test_port_of_the_host_alone(shop: Engine, tmp_path: Path) -> None:
    """With beyond_host false a port on the loopback passes, one on all addresses does not."""
    local = ask(shop, "ports_reachable", ("local",), tmp_path, beyond_host=False)
    assert ("", 1) == (local.found, local.judged)
    everywhere = ask(shop, "ports_reachable", ("everywhere",), tmp_path, beyond_host=False)
    assert shop.address in everywhere.found


@contextmanager
def _passing_address(engine: Engine) -> Iterator[None]:
    """An address of the host, as that of a VPN that is up."""
    run(*engine.inside("ip", "address", "add", f"{PASSING}/32", "dev", "lo"))
    try:
        yield
    finally:
        run(*engine.inside("ip", "address", "delete", f"{PASSING}/32", "dev", "lo"))


def test_port_whose_address_goes(shop: Engine, tmp_path: Path) -> None:
    """A port on an address that the host has no more does not answer there, which is found."""
    with ExitStack() as undo:
        client: Any = undo.enter_context(closing(shop.client()))
        ports = {"8080/tcp": (PASSING, GOES)}
        with _passing_address(shop):
            made = client.containers.run(IMAGE, name=f"{PREFIX}goes", detach=True, ports=ports)
            undo.callback(made.remove, force=True)
            found = ask(shop, "ports_reachable", ("goes",), tmp_path)
            assert ("", "", 1) == (found.found, found.gaps, found.judged)
        found = ask(shop, "ports_reachable", ("goes",), tmp_path)
    expected = f"port {GOES}/tcp does not answer on {PASSING} (not an address of the host)"
    assert expected == found.found


def test_port_that_leads_nowhere(shop: Engine, tmp_path: Path) -> None:
    """A published port takes connections and leads to one on which nothing listens."""
    found = ask(shop, "ports_reachable", ("wrong",), tmp_path)
    expected = f"port {WRONG}/tcp leads to 9999/tcp of {PREFIX}wrong, on which nothing listens"
    assert expected == found.found


def test_port_that_a_rule_opens(shop: Engine, tmp_path: Path) -> None:
    """A port of the loopback that a rule of the host opens on another address is found."""
    inside = f"{_address(shop, 'local')}:8080"
    match = ["-d", shop.address, "-p", "tcp", "--dport", str(LOCAL)]
    with rule(shop, "nat", "OUTPUT", *match, "-j", "DNAT", "--to-destination", inside):
        found = ask(shop, "ports_reachable", ("local",), tmp_path)
    assert f"port {LOCAL}/tcp answers on {shop.address}" == found.found


FORWARDER = """\
import socket, sys, threading
def pump(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    for ends in ((near, far), (far, near)):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""
STRANGER = """\
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    near, _ = listener.accept()
    near.recv(99)
    near.sendall(sys.argv[3].encode())
    near.close()
"""


@contextmanager
def _program(engine: Engine, source: str, *arguments: object) -> Iterator[None]:
    """A program of the host that listens on its outer address, at the port of `local`."""
    words = [sys.executable, "-c", source, engine.address, str(LOCAL), *map(str, arguments)]
    with subprocess.Popen(engine.inside(*words)) as process:
        try:
            yield
        finally:
            process.kill()


def test_port_that_a_program_forwards(shop: Engine, tmp_path: Path) -> None:
    """A program of the host that passes on what comes to another address is found."""
    with _program(shop, FORWARDER, LOCAL):
        wait_until("a forwarder", lambda: _ask_ports(shop, tmp_path).found, 30)
        found = _ask_ports(shop, tmp_path)
    assert (f"port {LOCAL}/tcp answers on {shop.address}", "") == (found.found, found.gaps)


def test_port_of_another_program(shop: Engine, tmp_path: Path) -> None:
    """A program of the host that answers for itself, at the same port, is nobody's fault."""
    with _program(shop, STRANGER, "SSH-2.0-other"):
        found = _ask_ports(shop, tmp_path)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)


def _ask_ports(engine: Engine, folder: Path) -> Verdict:
    return ask(engine, "ports_reachable", ("local",), folder)


def test_datagrams_that_nobody_takes(shop: Engine, tmp_path: Path) -> None:
    """A published UDP port on which nothing listens is found: the container refuses datagrams."""
    found = ask(shop, "ports_reachable", ("silent",), tmp_path)
    assert "53/udp of apart-silent, on which nothing listens" in found.found, found


@pytest.mark.parametrize("subject", ["back", "mute"])
def test_networks_apart(shop: Engine, subject: str, tmp_path: Path) -> None:
    """What has its own network is not reached from others, nor, without icc, from that one."""
    found = ask(shop, "networks_isolated", (subject, "local"), tmp_path)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert "from its own open" in found.figures


def test_networks_that_a_rule_joins(shop: Engine, tmp_path: Path) -> None:
    """A rule that forwards between networks is found, also from one that the URI does not name."""
    with open_to_all(shop, _address(shop, "local")):
        found = ask(shop, "networks_isolated", ("local", "everywhere"), tmp_path)
    assert f"in network {FRONT} is reached from network {MUTE}, bridge" in found.found, found


def test_way_out_of_an_internal_network(shop: Engine, tmp_path: Path) -> None:
    """An internal network has no way out; an address that the host can't reach tells nothing."""
    own = f"{shop.address}:{SPECIFIC}"
    found = ask(shop, "networks_isolated", ("back", "local"), tmp_path, outside=own)
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    found = ask(shop, "networks_isolated", ("back", "local"), tmp_path, outside="192.0.2.1:80")
    assert "192.0.2.1:80 is not reached from the host either" in found.gaps


def test_no_prober(shop: Engine, tmp_path: Path) -> None:
    """Without the prober's image nothing passes."""
    for experiment in ("ports_reachable", "networks_isolated"):
        found = ask(shop, experiment, ("local", "back"), tmp_path, prober="testbed/absent:1")
        assert (0, "") == (found.judged, found.found)
        assert "testbed/absent:1 is not on the daemon" in found.gaps


@contextmanager
def _services(swarm: Swarm, **networks: list[str]) -> Iterator[str]:
    """Services in overlay networks that let no containers in, one of them on every node; a URI."""
    with ExitStack() as undo:
        api: Any = undo.enter_context(closing(swarm.managers[0].client())).api
        for name in sorted({name for joined in networks.values() for name in joined}):
            undo.enter_context(overlay_network(api, PREFIX + name, attachable=False))
        for name, joined in networks.items():
            task = {
                "ContainerSpec": {"Image": IMAGE, "StopGracePeriod": SECOND},
                "Networks": [{"Target": PREFIX + network} for network in joined],
            }
            spec = {"TaskTemplate": task, "EndpointSpec": {"Mode": "dnsrr"}, "Mode": {"Global": {}}}
            undo.callback(api.remove_service, create_service(api, PREFIX + name, spec))
            wait_until(name, partial(_run_everywhere, api, PREFIX + name), 60)
        scope = "&".join(f"workload={PREFIX}{name}" for name in networks)
        yield f"swarm+{swarm.managers[0].url}?{scope}"


def _run_everywhere(api: Any, service: str) -> bool:
    return sum(map(is_up, api.tasks({"service": service}))) == SIZE


def test_overlay_networks_apart(testbed_swarm: Swarm, tmp_path: Path) -> None:
    """Tasks on whatever node are reached from their own overlay networks and from no other."""
    with _services(testbed_swarm, web=["one"], db=["two"]) as uri:
        found = verdict("networks_isolated", uri, f"{PREFIX}web", tmp_path, "probe")
    assert ("", "", 1) == (found.found, found.gaps, found.judged)
    assert SIZE == found.figures.count("from its own open; from apart-two (")

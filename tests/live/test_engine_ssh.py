"""Real engines behind ssh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.docker_specimens import SPECIMENS, only_specimens, read, specimens
from tests.live.ssh_server import SshServer, forget_hosts, ssh_server
from tests.nouns import workload_values
from tests.testbed import Engine

# sshd allows ten sessions of one connection at a time.
MORE_THAN_SESSIONS = 12


@pytest.fixture(scope="module")
def server(testbed_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An ssh server in front of the current engine."""
    with ssh_server(testbed_engine, tmp_path_factory.mktemp("ssh")) as running:
        yield running


def over_ssh(
    monkeypatch: pytest.MonkeyPatch, home: Path, port: int, user: str = "root"
) -> Inventory:
    """What a client with this home reads."""
    monkeypatch.setenv("HOME", str(home))
    return parse_target(f"engine+ssh://{user}@127.0.0.1:{port}").read(Timeouts())


def refusal(monkeypatch: pytest.MonkeyPatch, home: Path, port: int, user: str = "root") -> str:
    """Why a client with this home can't read anything."""
    with pytest.raises(Unreachable) as error:
        over_ssh(monkeypatch, home, port, user)
    return str(error.value)


def test_same_as_the_socket(
    testbed_engine: Engine, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through ssh an engine with many containers is read in full, as through its socket."""
    with specimens(testbed_engine, list(SPECIMENS)[:MORE_THAN_SESSIONS]):
        near = only_specimens(read(testbed_engine))
        inventory = over_ssh(monkeypatch, server.home, server.port)
    far = only_specimens(inventory)

    assert () == inventory.header.unreadable
    assert workload_values(build_model(near)) == workload_values(build_model(far))


def test_unknown_host_key(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that the client has never seen is refused, with the command that mends it."""
    message = refusal(monkeypatch, forget_hosts(server), server.port)

    assert "not found in known_hosts" in message
    assert message.endswith(f"make `ssh root@127.0.0.1:{server.port} docker version` work")


def test_wrong_user(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not log in is told so."""
    assert "Authentication failed" in refusal(
        monkeypatch, server.home, server.port, user="nobody-here"
    )


def test_nothing_listens(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port without a server is named."""
    assert "Unable to connect to port 1 on 127.0.0.1" in refusal(monkeypatch, server.home, 1)

"""Real engines behind a TCP port, with TLS and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.tls_proxy import make_certificates, proxied, server_context
from tests.testbed import Engine

QUICK = Timeouts(connect=2, read=5)


@pytest.fixture(scope="module", params=["testbed_engine", "testbed_engine_oldest"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The current engine, then the oldest."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a certificate for both ends."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another CA."""
    return make_certificates(tmp_path_factory.mktemp("tls") / "theirs")


@pytest.fixture(scope="module")
def tls_port(engine: Engine, certificates: Path) -> Iterator[int]:
    """A port of the engine that wants TLS and a client certificate."""
    with proxied(engine.socket, server_context(certificates)) as port:
        yield port


def read(port: int, query: str = "") -> Inventory:
    """What is read through a port."""
    return parse_target(f"engine+tcp://127.0.0.1:{port}{query}").read(QUICK)


def refusal(port: int, query: str = "") -> str:
    """Why an engine can't be read through a port, in one line."""
    with pytest.raises(Unreachable) as error:
        read(port, query)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_plain(engine: Engine) -> None:
    """An unencrypted port is read like the socket."""
    with proxied(engine.socket) as port:
        inventory = read(port)

    assert ((), engine.version) == (inventory.header.unreadable, inventory.header.version)


@pytest.mark.parametrize("bundle", ["", "somebody else's"])
def test_tls(
    engine: Engine,
    tls_port: int,
    certificates: Path,
    strangers: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: str,
) -> None:
    """With the right certificates a TLS port is read, whatever CA the machine trusts otherwise."""
    if bundle:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(strangers / "ca.pem"))
    inventory = read(tls_port, f"?cert_path={certificates}")

    assert ((), engine.version) == (inventory.header.unreadable, inventory.header.version)


def test_wrong_authority(tls_port: int, strangers: Path) -> None:
    """A server whose CA is not the one given is refused."""
    message = refusal(tls_port, f"?cert_path={strangers}")

    assert "TLS: " in message
    assert message.endswith("check the CA and the client certificate")


def test_no_client_certificate(tls_port: int, certificates: Path, tmp_path: Path) -> None:
    """A client without a certificate is told to check it."""
    (tmp_path / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())

    assert "check the CA and the client certificate" in refusal(tls_port, f"?cert_path={tmp_path}")


def test_tls_to_a_plain_port(engine: Engine, certificates: Path) -> None:
    """TLS to a port that speaks none is named as TLS."""
    with proxied(engine.socket) as port:
        message = refusal(port, f"?cert_path={certificates}")

    assert "TLS: " in message


def test_plain_to_a_tls_port(tls_port: int) -> None:
    """A port that wants TLS cuts the connection; the error says how to use TLS."""
    assert "the connection was cut: for TLS add ?cert_path=FOLDER" in refusal(tls_port)

"""Which daemon a URI means: as the docker CLI decides it, never another one."""

import hashlib
import json
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.docker_connection import Endpoint
from pytest_containerpolicy.targets.engine import EngineTarget
from pytest_containerpolicy.targets.swarm import SwarmTarget
from pytest_containerpolicy.targets.uri import parse_target, parse_targets

DEFAULT = "unix:///var/run/docker.sock"
VARIABLES = ("HOST", "CONTEXT", "CONFIG", "TLS", "TLS_VERIFY", "CERT_PATH")


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty configuration folder of the docker CLI, and none of its variables."""
    for name in VARIABLES:
        monkeypatch.delenv(f"DOCKER_{name}", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def add_context(config: Path, name: str, host: str, *, skip_verify: bool = False) -> Path:
    """What `docker context create` writes; the folder of its certificates."""
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = config / "contexts" / "meta" / key
    folder.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip_verify}
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return config / "contexts" / "tls" / key / "docker"


def use_context(config: Path, name: str) -> None:
    """What `docker context use` writes."""
    (config / "config.json").write_text(json.dumps({"currentContext": name, "auths": {}}))


def endpoint(text: str) -> Endpoint:
    """The endpoint of a target."""
    target = parse_target(text)
    assert isinstance(target, EngineTarget | SwarmTarget)
    return target.endpoint


def refusal(text: str) -> str:
    """Why a URI is no target."""
    with pytest.raises(TargetError) as error:
        parse_target(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("uri", "host", "name"),
    [
        ("engine+unix:///run/docker.sock", "unix:///run/docker.sock", "engine:/run/docker.sock"),
        ("engine+tcp://build:2375", "tcp://build:2375", "engine:build:2375"),
        ("engine+tcp://[::1]:2375", "tcp://[::1]:2375", "engine:-1:2375"),
        ("engine+ssh://ci@build", "ssh://ci@build", "engine:ci@build"),
        ("swarm+ssh://ci@build:2222", "ssh://ci@build:2222", "swarm:ci@build:2222"),
        ("engine://", DEFAULT, "engine:default"),
        ("swarm://default", DEFAULT, "swarm:default"),
    ],
)
def test_uris(uri: str, host: str, name: str) -> None:
    """Each way to name a daemon gives its address and an id that fits into a node id."""
    assert (host, name) == (endpoint(uri).host, parse_target(uri).id)


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("engine:/run/docker.sock", "write engine://CONTEXT or engine+unix:///PATH"),
        ("engine:///run/docker.sock", "a socket is written engine+unix:///run/docker.sock"),
        ("engine+unix://run/docker.sock", "with three slashes"),
        ("engine+unix://", "with three slashes"),
        ("engine+tcp://build", "write engine+tcp://HOST:PORT"),
        ("engine+tcp://build:http", "the port is not a number"),
        ("engine+ssh://ci@build/run/docker.sock", "without a path"),
        ("engine+ssh://ci:secret@build", "write engine+ssh://USER@HOST"),
        ("engine+tcp://build:2376?cert=x", "unknown key 'cert'; did you mean 'cert_path'?"),
        ("engine://prod?cert_path=x", "unknown key 'cert_path'"),
        ("engine+tcp://build:2376?cert_path=/nowhere", "/nowhere/ca.pem does not exist"),
    ],
)
def test_refused(uri: str, complaint: str) -> None:
    """A URI that can't be meant says in one line what to write."""
    assert complaint in refusal(uri)


def test_context(config: Path) -> None:
    """A context's name leads to its host."""
    add_context(config, "prod", "ssh://ops@prod")

    assert ("ssh://ops@prod", "context prod") == (
        endpoint("engine://prod").host,
        endpoint("engine://prod").chosen_by,
    )


def test_unknown_context(config: Path) -> None:
    """An unknown context is an error with the nearest one, never the local daemon."""
    add_context(config, "staging", "ssh://ops@staging")

    expected = (
        "engine://stagin: no Docker context 'stagin' (context stagin);"
        " did you mean 'staging'? (allowed: default, staging)"
    )
    assert expected == refusal("engine://stagin")


@pytest.mark.parametrize(
    ("host", "context", "current", "chosen"),
    [
        ("", "", "", DEFAULT),
        ("", "", "used", "tcp://used:2375"),
        ("", "named", "used", "tcp://named:2375"),
        ("tcp://given:2375", "named", "used", "tcp://given:2375"),
        ("given:2375", "", "", "tcp://given:2375"),
        ("", "default", "used", DEFAULT),
    ],
)
def test_precedence(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    context: str,
    current: str,
    chosen: str,
) -> None:
    """DOCKER_HOST wins over DOCKER_CONTEXT, that over the current context; empty ones count not."""
    add_context(config, "used", "tcp://used:2375")
    add_context(config, "named", "tcp://named:2375")
    monkeypatch.setenv("DOCKER_HOST", host)
    monkeypatch.setenv("DOCKER_CONTEXT", context)
    use_context(config, current)

    assert chosen == endpoint("engine://").host


@pytest.mark.parametrize("source", ["DOCKER_CONTEXT", "config.json"])
def test_unknown_chosen_context(config: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A context that is gone is an error that says who chose it."""
    if source == "DOCKER_CONTEXT":
        monkeypatch.setenv(source, "gone")
    else:
        use_context(config, "gone")

    assert "no Docker context 'gone'" in refusal("engine://")
    assert source in refusal("engine://")


def test_who_chose(config: Path) -> None:
    """The inventory notes which daemon was meant, and who said so."""
    add_context(config, "used", "tcp://used:2375")
    use_context(config, "used")

    expected = f"Docker daemon tcp://used:2375 (from context used, {config / 'config.json'})"
    assert expected == endpoint("engine://").note


def test_explicit_context_beats_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context that the URI names wins over DOCKER_HOST."""
    add_context(config, "prod", "tcp://prod:2375")
    monkeypatch.setenv("DOCKER_HOST", "tcp://given:2375")

    assert "tcp://prod:2375" == endpoint("engine://prod").host


def test_same_daemon_twice(config: Path) -> None:
    """One daemon given twice by its context is refused."""
    add_context(config, "prod", "tcp://prod:2375")
    use_context(config, "prod")

    with pytest.raises(TargetError, match="give it once"):
        parse_targets(["engine://", "engine://prod"])


@pytest.mark.parametrize("content", ["{", '{"Name": 1}', "[]"])
def test_broken_context(config: Path, content: str) -> None:
    """A context file that can't be read is an error with its path."""
    add_context(config, "prod", "tcp://prod:2375")
    (file,) = config.glob("contexts/meta/*/meta.json")
    file.write_text(content)

    assert f"{file}: not a readable file of the docker CLI" in refusal("engine://prod")


def test_context_without_docker(config: Path) -> None:
    """A context that names no Docker host is an error."""
    add_context(config, "prod", "")

    assert "names no Docker host" in refusal("engine://prod")


@pytest.mark.parametrize("skip_verify", [False, True])
def test_certificates_of_a_context(config: Path, skip_verify: bool) -> None:
    """A context's certificates are its own; whether to verify is the context's choice."""
    folder = add_context(config, "prod", "tcp://prod:2376", skip_verify=skip_verify)
    folder.mkdir(parents=True)
    tls = endpoint("engine://prod").tls

    assert tls is not None
    assert (folder, not skip_verify) == (tls.folder, tls.verify)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"CERT_PATH": "/certs"}, None),
        ({"TLS_VERIFY": "1", "CERT_PATH": "/certs"}, (Path("/certs"), True)),
        ({"TLS": "1", "CERT_PATH": "/certs"}, (Path("/certs"), False)),
    ],
)
def test_certificates_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[Path, bool] | None,
) -> None:
    """DOCKER_TLS_VERIFY and DOCKER_TLS switch TLS on for DOCKER_HOST, as for the docker CLI."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://given:2376")
    for name, value in variables.items():
        monkeypatch.setenv(f"DOCKER_{name}", value)
    tls = endpoint("engine://").tls

    assert expected == (tls and (tls.folder, tls.verify))


def test_certificates_of_a_uri(tmp_path: Path) -> None:
    """cert_path names a folder with the CA and the client's certificate."""
    (tmp_path / "ca.pem").touch()
    tls = endpoint(f"engine+tcp://build:2376?cert_path={tmp_path}").tls

    assert tls is not None
    assert (tmp_path, True) == (tls.folder, tls.verify)

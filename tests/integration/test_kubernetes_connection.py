"""Servers and credentials that do not work are named in one line, before anything is read."""

import json
import logging
import socket
import sys
from pathlib import Path

import pytest

from tests.loopback import Answer, loopback
from tests.loopback_cluster import FORBIDDEN, cluster, read, unreachable


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(b"<html>"), "answers, but not as a Kubernetes API server"),
        (Answer(b"{}"), "answers, but not as a Kubernetes API server"),
        (Answer(status=404), "not served (404)"),
        (Answer(status=302, headers={"location": "http://127.0.0.1:1/"}), "HTTP status 302"),
        (
            Answer(status=401),
            "credentials rejected (401): the token or certificate is invalid or has expired",
        ),
    ],
)
def test_no_api_server(tmp_path: Path, answer: Answer, expected: str) -> None:
    """What answers, but not as an API server should, is unreachable."""
    with loopback(cluster({"/version": answer})) as server:
        text = unreachable(server.url, tmp_path)
    assert text.startswith(f"k8s:lab: {server.url[7:]}") and text.endswith(expected)


def test_version_may_be_forbidden(tmp_path: Path) -> None:
    """A hardened cluster hides its version, and is read all the same."""
    with loopback(cluster({"/version": FORBIDDEN})) as server:
        header = read(server, tmp_path).header
    assert ("", ()) == (header.version, header.unreadable)


def test_nobody_listens(tmp_path: Path) -> None:
    """A server that is down is named, with what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = unreachable(f"https://127.0.0.1:{port}", tmp_path)
    check = "check that the cluster runs and this machine may reach it"
    assert f"k8s:lab: 127.0.0.1:{port}: Connection refused: {check}" == text


def test_host_without_address(tmp_path: Path) -> None:
    """A host name without an address is named."""
    expected = "k8s:lab: none.invalid: host name can't be resolved"
    assert unreachable("https://none.invalid", tmp_path).startswith(expected)


def test_no_tls(tmp_path: Path) -> None:
    """A server that does not speak TLS is told apart from one that is down."""
    with loopback(cluster()) as server:
        text = unreachable(server.url.replace("http", "https"), tmp_path)
    assert text.startswith(f"k8s:lab: {server.url[7:]}: no TLS connection: ")


def plugin(code: str, **more: object) -> dict[str, object]:
    """A user whose credentials come from a Python program."""
    version = "client.authentication.k8s.io/v1"
    return {
        "exec": {"apiVersion": version, "command": sys.executable, "args": ["-c", code], **more}
    }


def test_credential_plugin(tmp_path: Path) -> None:
    """A plugin's token is sent."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    with loopback(cluster()) as server:
        read(server, tmp_path, user=plugin(f"print({json.dumps(credential)!r})"))
    assert "Bearer from-plugin" == server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (
            plugin("import sys; print('no\\n session', file=sys.stderr); sys.exit(3)"),
            f"credential plugin {sys.executable!r} failed: exec: process returned 3. no session",
        ),
        (
            plugin("print('{')", installHint="install\nit"),
            f"credential plugin {sys.executable!r} failed: exec: failed to decode process output:"
            " Expecting property name enclosed in double quotes: line 2 column 1 (char 2)"
            " (install it)",
        ),
        (
            plugin("", command="no-such-plugin"),
            "credential plugin 'no-such-plugin' failed:"
            " [Errno 2] No such file or directory: 'no-such-plugin'",
        ),
        (
            plugin(
                'print(\'{"apiVersion": "client.authentication.k8s.io/v1",'
                ' "kind": "ExecCredential", "status": {}}\')'
            ),
            f"credential plugin {sys.executable!r} failed: exec: missing token or"
            " clientCertificateData field in plugin output",
        ),
    ],
)
def test_credential_plugin_that_fails(
    tmp_path: Path, user: dict[str, object], expected: str
) -> None:
    """A plugin that gives no credential is named with its exit code and words, asking no server."""
    handlers = list(logging.getLogger().handlers)
    with loopback(cluster()) as server:
        assert f"k8s:lab: {expected}" == unreachable(server.url, tmp_path, user)
    assert [] == server.requests
    assert handlers == logging.getLogger().handlers


def test_credential_plugin_whose_error_is_not_logged(tmp_path: Path) -> None:
    """Where logging is off, a failing plugin is still told apart from an anonymous user."""
    logging.disable()
    try:
        text = unreachable("https://127.0.0.1:1", tmp_path, plugin("raise SystemExit(1)"))
    finally:
        logging.disable(logging.NOTSET)
    expected = f"k8s:lab: credential plugin {sys.executable!r} failed: it gave no credential"
    assert expected == text


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"client-certificate": "/none"}, "File does not exist: /none"),
        ({"client-certificate-data": "%"}, ""),
        ({"tokenFile": "/none"}, "[Errno 2] No such file or directory: '/none'"),
        ({"auth-provider": {"name": "oidc"}}, ""),
        ({"auth-provider": {"name": "gcp"}}, ""),
    ],
)
def test_credentials_that_can_not_be_loaded(
    tmp_path: Path, user: dict[str, object], expected: str
) -> None:
    """Whatever the client's loader stumbles over is one line."""
    assert expected in unreachable("https://127.0.0.1:1", tmp_path, user)


def test_token_with_a_line_break(tmp_path: Path) -> None:
    """A token file may end with a line break; a token with one inside is not quoted."""
    with loopback(cluster()) as server:
        (tmp_path / "token").write_text("abc\n")
        read(server, tmp_path, user={"tokenFile": str(tmp_path / "token")})
        assert "Bearer abc" == server.requests[0].headers["authorization"]
        text = unreachable(server.url, tmp_path, {"token": "se\ncret"})
    assert "(ValueError): check the server and the credentials in the kubeconfig" in text
    assert "cret" not in text

"""Whether Ingresses show certificates that clients accept, against a real endpoint."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.network_specimens import (
    address_of,
    deployment,
    rule_on_nodes,
    started,
    trial,
)
from tests.live.tls_proxy import make_certificates

# One certificate for each name that clients ask for, as an ingress controller does.
SERVER = """
import socket, ssl, threading
contexts = {}
for name in ("good", "expired", "soon", "other"):
    contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    contexts[name].load_cert_chain(f"/tls/{name}.crt", "/tls/key")
def choose(connection, name, _):
    connection.context = contexts.get((name or "").split(".")[0], contexts["good"])
contexts["good"].sni_callback = choose
def serve(client):
    try:
        contexts["good"].wrap_socket(client, server_side=True).recv(1)
    except OSError:
        pass
with socket.create_server(("", 8443)) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_certificates(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that expired, soon will, are for another host or not trusted are found, no others."""
    folder = make_certificates(tmp_path / "pki")
    for name, host, days in (
        ("good", "*.shop.test", 90),
        ("expired", "expired.shop.test", -3),
        ("soon", "soon.shop.test", 10),
        ("other", "elsewhere.test", 90),
    ):
        _sign(folder, name, host, days)
    started(namespace, _files(folder), _endpoint())
    place = f"{address_of(namespace, 'tls')}:8443"
    for name in ("good", "expired", "soon", "other"):
        namespace.apply(_ingress(name, f"{name}.shop.test"))
    namespace.apply(_ingress("wildcard", "*.shop.test"), _ingress("plain", ""))

    def judged(**params: Any) -> dict[str, str]:
        found = trial(namespace, "certificates_valid", address=place, **params)
        assert (5, []) == (found.judged, found.gaps)
        return {name: violation.found for name, violation in found.findings.items()}

    strangers = judged()
    allowed = judged(allow_self_signed=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    known = judged()

    assert {"good", "wildcard", "expired", "soon", "other"} == set(strangers)
    assert "good.shop.test: the certificate is not trusted: " in strangers["good"]
    assert known == allowed
    assert {"expired", "soon", "other"} == set(known)
    assert "the certificate expired on" in known["expired"]
    assert "the certificate expires in 9 days" in known["soon"]
    assert "other.shop.test: the certificate is for elsewhere.test" in known["other"]


def test_addresses_in_the_status(namespace: Namespace) -> None:
    """The address is that of the status; one that is missing or out of reach is a gap."""
    started(namespace, deployment("web"), deployment("far"))
    for name in ("nowhere", "silent", "refusing"):
        namespace.apply(_ingress(name, "good.shop.test"))
    far = address_of(namespace, "far")
    _set_address(namespace, "silent", far)
    _set_address(namespace, "refusing", address_of(namespace, "web"))

    with rule_on_nodes(namespace.cluster, "-d", far, "-p", "tcp", "-j", "DROP"):
        found = trial(namespace, "certificates_valid")

    assert 1 == found.judged
    assert {"refusing"} == set(found.findings)
    assert "no certificate: refused" in found.findings["refusing"].found
    nowhere, silent = found.gaps
    assert "has no address in its status" in nowhere
    assert f"{far} can't be reached, neither from here nor from a pod (timeout)" in silent


def _sign(folder: Path, name: str, host: str, days: int) -> None:
    """A certificate of the test's authority that ends in so many days."""
    for file, text in (("db", ""), ("serial", "01\n"), ("names", f"subjectAltName=DNS:{host}\n")):
        (folder / file).write_text(text)
    settings = "database=db", "serial=serial", "policy=p", "unique_subject=no"
    (folder / "ca.conf").write_text("\n".join(["[a]", *settings, "[p]", "commonName=supplied"]))
    ends = NOW + timedelta(days=days)
    signing = ["openssl", "ca", "-config", "ca.conf", "-name", "a", "-batch", "-notext"]
    authority = ["-cert", "ca.pem", "-keyfile", "ca-key.pem", "-md", "sha256"]
    dates = ["-startdate", "20200101000000Z", "-enddate", f"{ends:%Y%m%d%H%M%SZ}"]
    files = ["-in", "request.pem", "-extfile", "names", "-outdir", ".", "-out", f"{name}.crt"]
    subprocess.run(
        [*signing, *authority, *dates, *files], cwd=folder, check=True, capture_output=True
    )


def _files(folder: Path) -> dict[str, Any]:
    files = {file.name: file.read_text() for file in folder.glob("*.crt")}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "tls"},
        "data": {**files, "key": (folder / "key.pem").read_text()},
    }


def _endpoint() -> dict[str, Any]:
    document = deployment(
        "tls",
        "python",
        command=["python3", "-c", SERVER],
        readinessProbe={"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        volumeMounts=[{"name": "tls", "mountPath": "/tls"}],
    )
    document["spec"]["template"]["spec"]["volumes"] = [
        {"name": "tls", "configMap": {"name": "tls"}}
    ]
    return document


def _ingress(name: str, host: str) -> dict[str, Any]:
    tls = {"tls": [{"hosts": [host], "secretName": "unread"}]} if host else {}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"defaultBackend": backend, **tls},
    }


def _set_address(namespace: Namespace, name: str, address: str) -> None:
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    namespace.kubectl(
        "patch", "ingress", name, "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )

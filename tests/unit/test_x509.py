"""Certificates read from DER, against what the standard library says of them."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.x509 import Certificate, read_certificate

NAMES = "DNS:shop.example,DNS:*.Shop.example,IP:192.0.2.7,IP:2001:db8::7,email:a@shop.example"
THEN = datetime(2030, 1, 1, tzinfo=UTC)


def made(folder: Path, *options: str) -> bytes:
    """A certificate of OpenSSL, signed by itself."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv = ["openssl", "req", "-x509", *key, "-subj", "/CN=shop", "-keyout", "key", *options]
    done = subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True)
    (folder / "made.pem").write_text(done.stdout)
    return ssl.PEM_cert_to_DER_cert(done.stdout)


@pytest.mark.parametrize("days", ["30", "20000"])
def test_names_and_dates(tmp_path: Path, days: str) -> None:
    """They are those that the standard library shows once it trusts the certificate."""
    found = read_certificate(made(tmp_path, "-days", days, "-addext", f"subjectAltName={NAMES}"))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tmp_path / "made.pem")
    (known,) = context.get_ca_certs()
    assert ssl.cert_time_to_seconds(str(known["notBefore"])) == found.not_before.timestamp()
    assert ssl.cert_time_to_seconds(str(known["notAfter"])) == found.not_after.timestamp()
    assert ("shop.example", "*.Shop.example", "192.0.2.7", "2001:db8::7") == found.names


def test_without_names(tmp_path: Path) -> None:
    """The common name counts for nothing, as it does for clients."""
    assert () == read_certificate(made(tmp_path)).names


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("shop.example", True),
        ("SHOP.example.", True),
        ("www.shop.example", True),
        ("a.www.shop.example", False),
        (".shop.example", False),
        ("example", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
    ],
)
def test_hosts(host: str, expected: bool) -> None:
    """A wildcard stands for one label."""
    certificate = Certificate(("shop.example", "*.Shop.example", "192.0.2.7"), THEN, THEN)

    assert expected is certificate.is_for(host)


@pytest.mark.parametrize("cut", [0, 1, 2, 40, 200])
def test_what_is_no_certificate(tmp_path: Path, cut: int) -> None:
    """Bytes that are cut or none at all are a gap."""
    with pytest.raises(CannotLook, match="makes no sense"):
        read_certificate(made(tmp_path)[:cut])

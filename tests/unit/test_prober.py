"""The parts of the prober that need no network."""

from __future__ import annotations

import ast
import asyncio
import errno
import socket
import ssl

import pytest

from pytest_containerpolicy.experiments.prober import source
from pytest_containerpolicy.experiments.prober.reach import addresses_in
from pytest_containerpolicy.experiments.prober.wire import classify

DNS_ANSWER = bytes.fromhex(
    "1234 8180 0001 0002 0000 0000"
    "03777777 076578616d706c65 00 0001 0001"
    "c00c 0005 0001 0000003c 0004 01 61 c010"
    "c029 0001 0001 0000003c 0004 0a000001"
)


def test_the_program_is_of_python_3_8() -> None:
    """Any image with a Python 3.8 or later runs it."""
    for _, text in ast.literal_eval(source().partition("\n")[0].removeprefix("PROGRAM = ")):
        ast.parse(text, feature_version=(3, 8))


def test_the_program_fits_an_argument() -> None:
    """Linux takes up to 128 KiB as one argument."""
    assert len(source().encode()) < 64 * 1024


@pytest.mark.parametrize(
    ("error", "stage", "expected"),
    [
        (asyncio.CancelledError(), "dns", "dns"),
        (asyncio.CancelledError(), "connect", "timeout"),
        (asyncio.CancelledError(), "tls", "no answer"),
        (asyncio.CancelledError(), "answer", "no answer"),
        (asyncio.CancelledError(), "datagram", "silent"),
        (socket.gaierror(-2, "unknown"), "dns", "dns"),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), "connect", "refused"),
        (ConnectionResetError(errno.ECONNRESET, ""), "answer", "reset"),
        (BrokenPipeError(errno.EPIPE, ""), "answer", "reset"),
        (OSError(errno.EHOSTUNREACH, ""), "connect", "unreachable"),
        (PermissionError(errno.EPERM, ""), "connect", "unreachable"),
        (TimeoutError(errno.ETIMEDOUT, ""), "connect", "timeout"),
        (OSError(errno.EMFILE, ""), "connect", "unsent"),
        (OSError(errno.EADDRNOTAVAIL, ""), "connect", "unsent"),
        (asyncio.IncompleteReadError(b"", 5), "answer", "closed"),
        (ssl.SSLEOFError(8, "EOF"), "tls", "closed"),
        (ssl.SSLCertVerificationError(1, "expired"), "tls", "tls"),
        (ValueError("no HTTP/1"), "answer", "other"),
    ],
)
def test_classes_of_failures(error: BaseException, stage: str, expected: str) -> None:
    """Each failure has its class; what the prober's own limits forbid is none of the service's."""
    assert expected == classify(error, stage)


def test_addresses_in_a_dns_answer() -> None:
    """Address records behind an alias and compressed names are found."""
    assert ["10.0.0.1"] == addresses_in(DNS_ANSWER)


def test_a_dns_answer_that_is_cut() -> None:
    """An answer that ends early is no answer."""
    with pytest.raises(ValueError, match="cut"):
        addresses_in(DNS_ANSWER[:40])

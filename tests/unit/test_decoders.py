"""Decoders are safe to ask for from many threads at once."""

import subprocess
import sys

# A tiny switch interval makes threads meet while msgspec learns the types.
PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import msgspec
from pytest_containerpolicy.targets.decoders import decoder
from pytest_containerpolicy.targets.kubernetes_documents import KINDS
sys.setswitchinterval(1e-6)
spec = {"replicas": 1, "template": {"spec": {"containers": [{"name": "a"}]}}}
content = msgspec.json.encode({"metadata": {"name": "a"}, "spec": spec})
def decode(kind):
    try:
        decoder(kind.type).decode(content)
    except msgspec.ValidationError:
        pass
with ThreadPoolExecutor(8) as threads:
    list(threads.map(decode, KINDS * 3))
"""

PROBER = """
import sys
from concurrent.futures import ThreadPoolExecutor
import msgspec
from pytest_containerpolicy.experiments.prober_streams import _decoded
from pytest_containerpolicy.experiments.reach import Found, Listening, _typed
sys.setswitchinterval(1e-6)
def answer(number):
    _decoded('{"event": "result", "probes": []}')
    for kind in (Found, Listening):
        try:
            _typed([{"id": "1", "outcome": "open", "detail": {}}], list[kind])
        except Exception:
            pass
with ThreadPoolExecutor(8) as threads:
    list(threads.map(answer, range(64)))
"""


def test_threads_that_decode_for_the_first_time() -> None:
    """Threads that first use types which share structs leave the interpreter alive."""
    codes = {subprocess.run([sys.executable, "-c", PROGRAM]).returncode for _ in range(5)}
    assert {0} == codes


def test_probers_that_answer_at_once() -> None:
    """The first answers of several probers may come together."""
    codes = {subprocess.run([sys.executable, "-c", PROBER]).returncode for _ in range(5)}
    assert {0} == codes

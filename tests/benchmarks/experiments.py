"""What looking inside fifty pods costs, probing twenty workloads, and 500 requests a second.

usage: python -m tests.benchmarks.experiments [--rounds N]

Beside the first two stands what the same pytest takes to judge the namespace from its
configuration alone.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_containerpolicy.experiments.vantage import measure_availability
from tests.benchmarks.measure import PYTEST, compare
from tests.live.conftest import Namespace
from tests.live.network_specimens import PYTHON, deployment, ring, started
from tests.live.served import laboratory, rolled_out, served, workload
from tests.testbed import Cluster, kubernetes

_REPLICAS, _DEPLOYMENTS = 5, 10
_EFFECTIVE = (
    "resources/limits-in-force",
    "resources/qos-in-force",
    "resources/no-oom-kills",
    "resources/not-throttled",
    "security/runs-as-declared",
    "storage/mounts-in-force",
    "storage/state-in-volumes",
)
_NETWORK = ("networking/policies-enforced",)
_TICK_RATE, _TICK_SECONDS = 500, 10


def main() -> None:
    """Start the test cluster and print the figures of both."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.experiments")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state:
        os.environ["XDG_STATE_HOME"] = state
        _measure(options.rounds)


def _measure(rounds: int) -> None:
    with kubernetes() as cluster, cluster.enforce_network_policies():
        with _namespace(cluster, "bench-service") as service:
            rolled_out(service, served("web"))
            for _ in range(rounds):
                sys.stdout.write(f"{_ticks(service)}\n")
        with _namespace(cluster, "bench-fifty") as fifty:
            names = [f"w{number}" for number in range(_DEPLOYMENTS)]
            started(fifty, *(deployment(name, replicas=_REPLICAS) for name in names))
            _compare(fifty, "effective checks of 50 pods", _EFFECTIVE, rounds)
        with _namespace(cluster, "bench-twenty") as twenty:
            started(twenty, *ring(20))
            _compare(twenty, "network truth of 20 workloads", _NETWORK, rounds)


def _ticks(namespace: Namespace) -> str:
    """How well a prober pod keeps its ticks against a service of the cluster."""
    with laboratory(namespace) as lab:
        web = workload(lab, "web")
        with measure_availability(web, lab, rate=_TICK_RATE, settle=0) as traffic:
            time.sleep(_TICK_SECONDS)
    measurement = traffic.measurement
    late = measurement.late / len(measurement.ticks) * 1e3
    answers = f"{measurement.requests:,} requests, {measurement.failed} failed"
    return f"{late:.2f} of 1,000 ticks late; {answers}"


def _compare(namespace: Namespace, what: str, policies: Sequence[str], rounds: int) -> None:
    uri = f"k8s://?kubeconfig={namespace.cluster.kubeconfig}&namespace={namespace.name}"
    pytest = [*PYTEST, "--cp-target", uri]
    probing = [f"--cp-select={policy}" for policy in policies]
    commands = {
        "declared policies": pytest,
        what: [*pytest, "--cp-level=probe", f"--cp-prober-image={PYTHON}", *probing],
    }
    with tempfile.TemporaryDirectory() as folder:
        compare(commands, Path(folder), rounds, faultless=(what,))


@contextmanager
def _namespace(cluster: Cluster, name: str) -> Iterator[Namespace]:
    cluster.kubectl("create", "namespace", name)
    try:
        yield Namespace(cluster, name)
    finally:
        cluster.kubectl("delete", "namespace", name)


if __name__ == "__main__":
    main()

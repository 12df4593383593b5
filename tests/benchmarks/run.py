"""What judging a large cluster costs, beside the least that fetching it costs.

usage: python -m tests.benchmarks.run [--kubeconfig FILE] [--rounds N]

Without a kubeconfig the test cluster is started and loaded with the large cluster.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import PYTEST, compare

_PYTHON = sys.executable
_READ = (
    "import sys; from pytest_containerpolicy.readings import take_inventory;"
    "from pytest_containerpolicy.targets.uri import Timeouts, parse_target;"
    "take_inventory(parse_target(sys.argv[1]), Timeouts())"
)
_MODEL = (
    "import sys; from pytest_containerpolicy.readings import Readings;"
    "from pytest_containerpolicy.targets.uri import Timeouts, parse_target;"
    "target = parse_target(sys.argv[1]); Readings([target], Timeouts()).model(target.id)"
)


def compare_on(kubeconfig: Path, rounds: int) -> None:
    """Compare reading, modelling and judging a cluster with the yardstick."""
    target = f"k8s://?kubeconfig={kubeconfig}"
    pytest = [*PYTEST, "--cp-target", target]
    commands = {
        "yardstick: fetch and decode": [
            *(_PYTHON, "-m", "tests.benchmarks.fetch_yardstick", str(kubeconfig)),
        ],
        "read": [_PYTHON, "-c", _READ, target],
        "read and model": [_PYTHON, "-c", _MODEL, target],
        "whole pytest, all policies": pytest,
    }
    with tempfile.TemporaryDirectory() as folder:
        compare(commands, Path(folder), rounds)


def main() -> None:
    """Compare on a cluster that is there, or on the test cluster."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="of a cluster that is loaded already")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.kubeconfig:
        compare_on(options.kubeconfig, options.rounds)
        return
    from tests.benchmarks.large_cluster import large_cluster
    from tests.testbed import kubernetes

    with kubernetes() as cluster, large_cluster(cluster):
        compare_on(cluster.kubeconfig, options.rounds)


if __name__ == "__main__":
    main()

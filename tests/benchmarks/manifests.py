"""What judging 1,000 objects in 250 files costs, beside parsing those files and nothing else.

usage: python -m tests.benchmarks.manifests [--rounds N]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.manifest_corpus import write_corpus
from tests.benchmarks.measure import PYTEST, compare

_PYTHON = sys.executable
_MODEL = (
    "import sys; from pytest_containerpolicy.readings import Readings;"
    "from pytest_containerpolicy.targets.uri import Timeouts, parse_target;"
    "target = parse_target(sys.argv[1]); Readings([target], Timeouts()).model(target.id)"
)


def main() -> None:
    """Compare reading with its model, and a whole run, with the bare parse."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.manifests")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(corpus))
        target = f"manifests:{corpus}"
        commands = {
            "yardstick: bare parse": [_PYTHON, "-m", "tests.benchmarks.parse_yardstick", corpus],
            "read and model": [_PYTHON, "-c", _MODEL, target],
            "whole pytest, all policies": [*PYTEST, "--cp-target", target],
        }
        compare(commands, Path(folder), rounds)


if __name__ == "__main__":
    main()

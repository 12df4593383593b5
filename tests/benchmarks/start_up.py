"""What the idle plugin adds to a pytest run that does not use it.

usage: python -m tests.benchmarks.start_up [--rounds N]
"""

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.measure import PYTEST, compare


def main() -> None:
    """Compare one trivial test with and without the plugin."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start_up")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_trivial.py").write_text("def test_trivial(): pass\n")
        commands = {
            "without the plugin": [*PYTEST, "-p", "no:containerpolicy"],
            "with the idle plugin": PYTEST,
        }
        compare(commands, Path(folder), rounds)


if __name__ == "__main__":
    main()

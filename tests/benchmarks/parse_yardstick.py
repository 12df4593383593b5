"""The floor of a manifest audit in Python: PyYAML's C parser over every file, nothing else.

usage: python -m tests.benchmarks.parse_yardstick FOLDER
"""

import json
import sys
import time
from pathlib import Path

import yaml


def parse(folder: Path) -> int:
    """Parse every YAML file under a folder; the number of documents."""
    count = 0
    for path in sorted(folder.rglob("*.y*ml")):
        with path.open("rb") as file:
            count += sum(1 for document in yaml.load_all(file, Loader=yaml.CSafeLoader) if document)
    return count


if __name__ == "__main__":
    started = time.perf_counter()
    documents = parse(Path(sys.argv[1]))
    seconds = round(time.perf_counter() - started, 3)
    print(json.dumps({"seconds": seconds, "documents": documents}))  # noqa: T201

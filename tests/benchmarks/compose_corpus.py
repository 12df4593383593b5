"""What judging 50 Compose files of 6 services costs, beside parsing those files and nothing else.

usage: python -m tests.benchmarks.compose_corpus [--rounds N]

Each file is a project of its own, written with the short forms, anchors and variables that teams
use. The same seed gives the same bytes.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measure import PYTEST, compare

PROJECTS = 50
SERVICES = ("web", "api", "worker", "db", "cache", "proxy")
SEED = 20261123
_PYTHON = sys.executable
_MODEL = (
    "import sys; from pytest_containerpolicy.readings import Readings;"
    "from pytest_containerpolicy.targets.uri import Timeouts, parse_targets;"
    "targets = parse_targets(sys.argv[1:]); readings = Readings(targets, Timeouts());"
    "[readings.model(target.id) for target in targets]"
)
_HEAD = """\
name: {name}
x-common: &common
  restart: unless-stopped
  logging:
    driver: json-file
    options: {{max-size: 10m, max-file: "3"}}
services:
"""
_SERVICE = """\
  {service}:
    <<: *common
    image: registry.example.com/{service}:${{TAG:-1.{minor}.0}}
    environment:
      SETTING_A: value a
      SETTING_B: "${{SETTING_B:-b}}"
    ports:
      - "127.0.0.1:{port}:8080"
    volumes:
      - data-{service}:/var/lib/{service}
      - ./config/{service}:/etc/{service}:ro
    networks: [front, back]
    healthcheck:
      test: ["CMD", "/bin/check", "--port", "8080"]
      interval: {interval}s
      timeout: 5s
      retries: 3
      start_period: 30s
    stop_grace_period: 30s
    deploy:
      resources:
        limits: {{cpus: "{cpus}", memory: {memory}M, pids: 200}}
        reservations: {{memory: 64M}}
"""
_TAIL = "networks:\n  front:\n  back:\n    internal: true\nvolumes:\n"


def write_corpus(folder: Path, projects: int = PROJECTS, seed: int = SEED) -> list[Path]:
    """Write the corpus into a folder, one subfolder per project; the files."""
    chance = random.Random(seed)  # noqa: S311 - a fixed seed is the point
    files = []
    for number in range(projects):
        file = folder / f"project-{number:02}" / "compose.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(_project(chance, f"project-{number:02}"))
        files.append(file)
    return files


def _project(chance: random.Random, name: str) -> str:
    services = "".join(
        _SERVICE.format(
            service=service,
            minor=chance.randint(0, 99),
            port=chance.randint(8000, 9999),
            interval=chance.choice((5, 10, 30)),
            cpus=chance.choice(("0.5", "1.0", "2.0")),
            memory=chance.choice((128, 256, 512)),
        )
        for service in SERVICES
    )
    volumes = "".join(f"  data-{service}:\n" for service in SERVICES)
    return _HEAD.format(name=name) + services + _TAIL + volumes


def main() -> None:
    """Compare reading with its models, and a whole run, with the bare parse."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.compose_corpus")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as folder:
        targets = [f"compose:{file}" for file in write_corpus(Path(corpus))]
        options = [part for target in targets for part in ("--cp-target", target)]
        commands = {
            "yardstick: bare parse": [_PYTHON, "-m", "tests.benchmarks.parse_yardstick", corpus],
            "read and model": [_PYTHON, "-c", _MODEL, *targets],
            "whole pytest, all policies": [*PYTEST, *options],
        }
        compare(commands, Path(folder), rounds)


if __name__ == "__main__":
    main()

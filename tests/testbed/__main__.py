"""`python -m tests.testbed up|down|status|kubeconfig|build [ENV ...]`: environments for people."""

from __future__ import annotations

import argparse
import sys
import time

from tests.testbed.builds import build_all
from tests.testbed.cluster import SITE, Cluster
from tests.testbed.environments import ALL
from tests.testbed.shell import TestbedError, say


def main() -> int:
    """Do what the command line says; 1 when an environment can't start."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "kubeconfig", "build"])
    parser.add_argument("env", nargs="*", metavar="ENV", help=f"of {', '.join(ALL)}; default: all")
    arguments = parser.parse_args()
    unknown = set(arguments.env) - set(ALL)
    if unknown:
        parser.error(f"no environment {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    try:
        _do(arguments.command, arguments.env or list(ALL))
    except TestbedError as error:
        sys.stderr.write(f"testbed: {error}\n")
        return 1
    return 0


def _do(command: str, names: list[str]) -> None:
    if command == "build":
        say(f"all built in {build_all():.1f} s")
    elif command == "kubeconfig":
        say(str(Cluster(SITE).kubeconfig))
    else:
        for name in names:
            {"up": _up, "down": _down, "status": _status}[command](name)


def _up(name: str) -> None:
    started = time.monotonic()
    fresh = ALL[name].keep()
    verb = "started" if fresh else "was up"
    took = time.monotonic() - started
    say(f"{name}: {verb} in {took:.1f} s: {ALL[name].describe()}")


def _down(name: str) -> None:
    started = time.monotonic()
    ALL[name].drop()
    say(f"{name}: down in {time.monotonic() - started:.1f} s")


def _status(name: str) -> None:
    say(f"{name}: {ALL[name].state()}")


if __name__ == "__main__":
    sys.exit(main())

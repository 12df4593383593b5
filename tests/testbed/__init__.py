"""Real environments on this machine: Docker engines, a Swarm, a Kubernetes cluster.

Each context manager starts its environment, or uses the one that is up already. Nothing is
pulled: every program is built from pinned modules, every image from what is built here.
"""

from tests.testbed.builds import binary
from tests.testbed.cluster import Cluster, kubernetes
from tests.testbed.engine import Engine, docker_engine
from tests.testbed.managers import Swarm, swarm
from tests.testbed.nodes import Node
from tests.testbed.shell import TestbedError
from tests.testbed.system import system_packages

__all__ = [
    "Cluster",
    "Engine",
    "Node",
    "Swarm",
    "TestbedError",
    "binary",
    "docker_engine",
    "kubernetes",
    "swarm",
    "system_packages",
]

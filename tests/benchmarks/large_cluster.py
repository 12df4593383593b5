"""The large cluster of the benchmarks on the test cluster, as long as the context lasts.

usage: python -m tests.benchmarks.large_cluster      (keeps it until interrupted)
"""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from tests.benchmarks.cluster_corpus import NODES, namespaces, objects
from tests.testbed import Cluster, kubernetes
from tests.testbed.shell import say, wait_until

_THREADS = 6
_PATIENCE = 1800
_REPLICAS = "jsonpath={range .items[*]}{.spec.replicas}/{.status.replicas} {end}"


@contextmanager
def large_cluster(cluster: Cluster) -> Iterator[None]:
    """Load the corpus, wait until every pod runs, and remove all of it in the end."""
    with cluster.kwok(NODES):
        try:
            _load(cluster)
            wait_until("every pod runs", lambda: _all_run(cluster), _PATIENCE, 5)
            yield
        finally:
            names = [namespace["metadata"]["name"] for namespace in namespaces()]
            cluster.kubectl("delete", "namespace", "--ignore-not-found", *names, timeout=1200)


def _load(cluster: Cluster) -> None:
    _create(cluster, namespaces())
    batches = [
        list(batch) for _, batch in groupby(objects(), lambda found: found["metadata"]["namespace"])
    ]
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda batch: _create(cluster, batch), batches))


def _create(cluster: Cluster, items: list[dict[str, Any]]) -> None:
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("create", "--validate=false", "-f", "-", input=content, timeout=600)


def _all_run(cluster: Cluster) -> bool:
    # Not "ready": a busy machine makes fake nodes miss heartbeats, and their pods stay unready.
    workloads = ("get", "deployments,statefulsets", "--all-namespaces", "-o", _REPLICAS)
    counts = [count.split("/") for count in cluster.kubectl(*workloads).split()]
    if any(wanted != made for wanted, made in counts):
        return False
    others = ("--all-namespaces", "--field-selector=status.phase!=Running", "-o", "name")
    return not cluster.kubectl("get", "pods", *others).split()


def main() -> None:
    """Keep the large cluster until interrupted."""
    started = time.monotonic()
    with kubernetes() as cluster, large_cluster(cluster):
        say(f"ready after {time.monotonic() - started:.0f} s: KUBECONFIG={cluster.kubeconfig}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            say("removing it")


if __name__ == "__main__":
    main()

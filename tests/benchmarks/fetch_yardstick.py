"""The least that any audit of a cluster costs: fetch the lists and decode what policies could read.

usage: python -m tests.benchmarks.fetch_yardstick KUBECONFIG      (with client certificates)

No client library, no model, no checks: urllib3 and partial msgspec structs, whole lists from the
watch cache in four threads, the garbage collector off. Prints one line of JSON.
"""

import base64
import gc
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import urllib3
import yaml

CORE = ["configmaps", "events", "namespaces", "nodes", "persistentvolumeclaims"]
CORE += ["persistentvolumes", "pods", "serviceaccounts", "services"]
GROUPS = {
    "apps/v1": ("daemonsets", "deployments", "replicasets", "statefulsets"),
    "autoscaling/v2": ("horizontalpodautoscalers",),
    "batch/v1": ("cronjobs",),
    "discovery.k8s.io/v1": ("endpointslices",),
    "networking.k8s.io/v1": ("ingresses", "networkpolicies"),
    "policy/v1": ("poddisruptionbudgets",),
}
PATHS = [f"/api/v1/{kind}" for kind in CORE]
PATHS += [f"/apis/{group}/{kind}" for group, kinds in GROUPS.items() for kind in kinds]
THREADS = 4


class Metadata(msgspec.Struct):
    """What tells objects apart and ties them together."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[dict[str, Any]] | None = None  # noqa: N815 - the API's name


class Item(msgspec.Struct):
    """An object, without managedFields."""

    metadata: Metadata
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class Items(msgspec.Struct):
    """A whole list."""

    items: list[Item]


def connect(kubeconfig: Path) -> tuple[str, urllib3.PoolManager]:
    """The server of a kubeconfig's first cluster, and a pool with its first user's certificate."""
    config = yaml.load(kubeconfig.read_bytes(), Loader=yaml.CSafeLoader)
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
    with tempfile.TemporaryDirectory() as folder:
        names = {"cert_file": "client-certificate", "key_file": "client-key"}
        files = {key: _write(folder, user[f"{name}-data"]) for key, name in names.items()}
        context = urllib3.util.ssl_.create_urllib3_context()
        context.load_cert_chain(files["cert_file"], files["key_file"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context.load_verify_locations(cadata=authority)
    return cluster["server"], urllib3.PoolManager(maxsize=THREADS, ssl_context=context)


def _write(folder: str, content: str) -> str:
    descriptor, path = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64decode(content))
    return path


def main() -> None:
    """Fetch, decode, and say how much it was and how long it took."""
    gc.disable()
    started = time.perf_counter()
    server, pool = connect(Path(sys.argv[1]))
    decoder = msgspec.json.Decoder(Items)

    def fetch(path: str) -> tuple[int, Items]:
        response = pool.request("GET", f"{server}{path}?resourceVersion=0")
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status}")
        return len(response.data), decoder.decode(response.data)

    with ThreadPoolExecutor(THREADS) as threads:
        lists = list(threads.map(fetch, PATHS))
    gc.freeze()
    figures = {
        "seconds": round(time.perf_counter() - started, 3),
        "objects": sum(len(items.items) for _, items in lists),
        "bytes": sum(size for size, _ in lists),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()

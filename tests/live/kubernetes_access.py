"""Ways to be somebody else on the test cluster, and to stand between a client and it."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from pytest_containerpolicy.targets.inventory import Inventory
from pytest_containerpolicy.targets.kubernetes import KubernetesTarget
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.live.conftest import Namespace
from tests.loopback import Answer, Loopback, Request, loopback, write_kubeconfig
from tests.testbed import Cluster
from tests.testbed.shell import run

Forward = Callable[[Request], Answer]
_CHUNK = 4096


def read(kubeconfig: Path, query: str = "", timeouts: Timeouts | None = None) -> Inventory:
    """What the current context of a kubeconfig can read."""
    return parse_target(f"k8s://?kubeconfig={kubeconfig}{query}").read(timeouts or Timeouts())


def _first(cluster: Cluster, section: str, key: str) -> dict[str, Any]:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    entry: dict[str, Any] = config[section][0][key]
    return entry


def kubeconfig_for(
    cluster: Cluster,
    folder: Path,
    user: dict[str, Any] | None = None,
    changes: dict[str, object] | None = None,
) -> Path:
    """A kubeconfig of another user (None: the administrator), or to a changed cluster entry."""
    entry = _first(cluster, "clusters", "cluster") | (changes or {})
    user = _first(cluster, "users", "user") if user is None else user
    return write_kubeconfig(folder / "config", entry.pop("server"), user, **entry)


def account(namespace: Namespace, name: str) -> str:
    """The token of a new service account without any right."""
    namespace.kubectl("create", "serviceaccount", name)
    return namespace.kubectl("create", "token", name).strip()


def expired(cluster: Cluster, token: str) -> str:
    """The same token, signed by the cluster's own key, but valid until a minute ago."""
    header, claims, _ = token.split(".")
    content = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    content["exp"] = int(time.time()) - 60
    signed = f"{header}.{_encode(json.dumps(content).encode())}"
    key = cluster.kubeconfig.with_name("sa.key")
    signature = run("sh", "-c", f"openssl dgst -sha256 -sign {key} | base64 -w0", stdin=signed)
    return f"{signed}.{_encode(base64.b64decode(signature))}"


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextmanager
def in_front_of(
    cluster: Cluster, change: Callable[[Request, Forward], Answer]
) -> Iterator[Loopback]:
    """A reverse proxy of the API server that may change what is asked and what is answered."""
    target = parse_target(f"k8s://?kubeconfig={cluster.kubeconfig}")
    assert isinstance(target, KubernetesTarget)
    client = target.connect(Timeouts()).client

    def forward(request: Request) -> Answer:
        url = f"{cluster.server}{request.path}?{urlencode(request.query)}"
        response = client.rest_client.pool_manager.request("GET", url)
        return Answer(response.data, response.status)

    with loopback(lambda request: change(request, forward)) as server:
        yield server


@contextmanager
def cutting(server: str, after: int, *, dies: bool = False) -> Iterator[str]:
    """A TCP proxy that breaks each connection after so many bytes of the server's.

    With `dies`, nobody listens any more once the first connection broke.
    """
    upstream = urlsplit(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay(client: socket.socket) -> None:
            address = (upstream.hostname, upstream.port)
            with client, socket.create_connection(address) as origin, suppress(OSError):
                threading.Thread(target=_copy, args=(client, origin), daemon=True).start()
                _copy(origin, client, after)
                if dies:
                    listener.close()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=relay, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def _copy(source: socket.socket, sink: socket.socket, limit: int | None = None) -> None:
    passed = 0
    with suppress(OSError):
        while (limit is None or passed < limit) and (content := source.recv(_CHUNK)):
            sink.sendall(content)
            passed += len(content)
        for end in (source, sink):
            end.shutdown(socket.SHUT_RDWR)

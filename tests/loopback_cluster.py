"""A loopback server that answers as an API server does, but for the paths that a test names."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import Unreachable
from pytest_containerpolicy.targets.inventory import Inventory, Unreadable
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.loopback import Answer, Loopback, Request, loopback, write_kubeconfig

PODS = "/api/v1/pods"
# Longer than a busy machine needs; tests of timeouts bring their own.
PATIENT = Timeouts(connect=10, read=10)
Responder = Callable[[Request], Answer]
FORBIDDEN = Answer(b'{"kind": "Status", "message": "no"}', 403)


def a_list(*names: str, then: str = "", namespace: str = "shop") -> Answer:
    """One page of a list of named objects."""
    items = [{"metadata": {"name": name, "namespace": namespace}} for name in names]
    return Answer(json.dumps({"metadata": {"continue": then}, "items": items}).encode())


def cluster(answers: Mapping[str, Answer | Responder] | None = None) -> Responder:
    """An API server with empty lists, but for the paths given."""

    def respond(request: Request) -> Answer:
        answer = (answers or {}).get(request.path, a_list())
        if request.path == "/version" and request.path not in (answers or {}):
            answer = Answer(b'{"gitVersion": "v1.37.2"}')
        return answer(request) if callable(answer) else answer

    return respond


def in_turn(*answers: Answer) -> Responder:
    """Give one answer after the other; the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def read(
    server: Loopback,
    tmp_path: Path,
    query: str = "",
    user: dict[str, Any] | None = None,
    timeouts: Timeouts = PATIENT,
) -> Inventory:
    """The inventory of a server."""
    config = write_kubeconfig(tmp_path / "config", server.url, user)
    return parse_target(f"k8s://lab?kubeconfig={config}{query}").read(timeouts)


def names(inventory: Inventory, kind: str) -> list[str]:
    """The names of the documents of a kind."""
    return [document.metadata.name for document in inventory.documents(kind)]


def gaps(tmp_path: Path, answers: Mapping[str, Answer | Responder]) -> list[Unreadable]:
    """What can't be read of a server."""
    with loopback(cluster(answers)) as server:
        return list(read(server, tmp_path).header.unreadable)


def unreachable(url: str, tmp_path: Path, user: dict[str, Any] | None = None) -> str:
    """The one line that a server which can't be read gives."""
    config = write_kubeconfig(tmp_path / "config", url, user)
    with pytest.raises(Unreachable) as caught:
        parse_target(f"k8s://lab?kubeconfig={config}").read(PATIENT)
    assert "\n" not in str(caught.value)
    return str(caught.value)

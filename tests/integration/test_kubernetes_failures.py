"""What a Kubernetes API server that misbehaves does to an inventory: gaps, never absence."""

import json
import time
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.inventory import Unreadable
from pytest_containerpolicy.targets.kubernetes_documents import KINDS
from pytest_containerpolicy.targets.uri import Timeouts
from tests.loopback import Answer, Request, loopback
from tests.loopback_cluster import (
    FORBIDDEN,
    PODS,
    Responder,
    a_list,
    cluster,
    gaps,
    in_turn,
    names,
    read,
    unreachable,
)

DEPLOYMENTS = "/apis/apps/v1/deployments"


def test_header(tmp_path: Path) -> None:
    """An inventory says which cluster it is, and of which version."""
    with loopback(cluster({"/api/v1/nodes": a_list("one", "two")})) as server:
        header = read(server, tmp_path).header
    assert ("k8s:lab", "kubernetes", "v1.37.2", True, ("2 nodes",), ()) == (
        header.target,
        header.platform,
        header.version,
        header.live,
        header.notes,
        header.unreadable,
    )


def test_every_kind_is_listed_once_and_no_secret(tmp_path: Path) -> None:
    """One list per kind, in pages of 500, with the user's token; never a list of secrets."""
    with loopback(cluster()) as server:
        read(server, tmp_path, user={"token": "abc"})
    listed = [request.path for request in server.requests if request.path != "/version"]
    assert sorted(kind.path() for kind in KINDS) == sorted(listed)
    assert {"500"} == {request.query["limit"] for request in server.requests if request.query}
    sent = {request.headers.get("authorization") for request in server.requests}
    assert {"Bearer abc"} == sent


def test_pages_are_joined(tmp_path: Path) -> None:
    """A list goes on as long as the server gives a continue token."""
    pages = in_turn(a_list("a", then="t1"), a_list("b", then="t2"), a_list("c"))
    with loopback(cluster({PODS: pages})) as server:
        inventory = read(server, tmp_path)
    assert ["a", "b", "c"] == names(inventory, "pods")
    assert [None, "t1", "t2"] == [r.query.get("continue") for r in server.asked(PODS)]


def test_expired_token_restarts_the_list(tmp_path: Path) -> None:
    """After a 410 the list is read again from the start, and no object counts twice."""
    pages = in_turn(a_list("a", then="t1"), Answer(status=410), a_list("a", then="t2"), a_list("b"))
    with loopback(cluster({PODS: pages})) as server:
        inventory = read(server, tmp_path)
    assert (["a", "b"], ()) == (names(inventory, "pods"), inventory.header.unreadable)


def test_token_that_always_expires(tmp_path: Path) -> None:
    """A list that is gone a second time is a gap."""

    def respond(request: Request) -> Answer:
        return Answer(status=410) if "continue" in request.query else a_list("a", then="t")

    expected = [Unreadable("pods", "the list changed while it was read (410)")]
    assert expected == gaps(tmp_path, {PODS: respond})


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """A server that says when to come back is asked again then, not before."""
    busy = Answer(status=429, headers={"retry-after": "1"})
    started = time.monotonic()
    with loopback(cluster({PODS: in_turn(busy, a_list("a"))})) as server:
        inventory = read(server, tmp_path)
    assert (["a"], ()) == (names(inventory, "pods"), inventory.header.unreadable)
    assert time.monotonic() - started >= 1


def test_retry_after_is_bounded(tmp_path: Path) -> None:
    """Nobody waits an hour for a server: three tries, none later than the read timeout."""
    busy = Answer(status=429, headers={"retry-after": "3600"})
    started = time.monotonic()
    with loopback(cluster({PODS: busy})) as server:
        inventory = read(server, tmp_path, timeouts=Timeouts(connect=10, read=1))
    assert Unreadable("pods", "too many requests (429)") in inventory.header.unreadable
    assert 3 == len(server.asked(PODS))
    assert time.monotonic() - started < 60


def test_server_error(tmp_path: Path) -> None:
    """A list that fails three times is a gap that quotes the server in one safe line."""
    body = b'{"message": "etcd\\n\\u001b[31m is down"}'
    expected = [Unreadable("pods", "HTTP status 503: etcd [31m is down")]
    assert expected == gaps(tmp_path, {PODS: Answer(body, 503)})


def test_server_that_recovers(tmp_path: Path) -> None:
    """A single failure is retried."""
    flaky = in_turn(Answer(status=500), a_list("a"))
    with loopback(cluster({PODS: flaky})) as server:
        assert ["a"] == names(read(server, tmp_path), "pods")


def test_connection_that_breaks_in_the_middle(tmp_path: Path) -> None:
    """Half a list is no list: it is read again, and is a gap if it breaks every time."""
    half = Answer(a_list("a", "b").body, cut=50)
    with loopback(cluster({PODS: in_turn(half, a_list("a")), DEPLOYMENTS: half})) as server:
        inventory = read(server, tmp_path)
    (gap,) = inventory.header.unreadable
    assert ["a"] == names(inventory, "pods")
    assert "deployments" not in inventory.kinds
    assert str(gap).startswith("deployments: the connection broke: ")


def test_breaks_on_the_second_page(tmp_path: Path) -> None:
    """A list of which only the first page could be read is a gap, not a short list."""

    def respond(request: Request) -> Answer:
        if "continue" in request.query:
            return Answer(a_list("b").body, cut=20)
        return a_list("a", then="t")

    with loopback(cluster({PODS: respond})) as server:
        inventory = read(server, tmp_path)
    assert ["pods"] == [gap.kind for gap in inventory.header.unreadable]
    assert "pods" not in inventory.kinds


@pytest.mark.parametrize(
    "body", [b'{"metadata": {}, "items": [{"metadata"', b"<html>", b"", b"[" * 100_000]
)
def test_answer_that_is_no_list(tmp_path: Path, body: bytes) -> None:
    """A whole answer with half a list, or with something else, is a gap."""
    (gap,) = gaps(tmp_path, {PODS: Answer(body)})
    assert str(gap).startswith("pods: the answer is no whole list: ")


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"metadata": {}}', b'{"items": []}', b"null"])
def test_answer_of_another_shape(tmp_path: Path, body: bytes) -> None:
    """JSON that is not a list of objects is not an empty list."""
    (gap,) = gaps(tmp_path, {PODS: Answer(body)})
    assert str(gap).startswith("pods: the answer is no whole list: ")


def test_silent_server(tmp_path: Path) -> None:
    """A list without an answer is waited for once."""

    def respond(request: Request) -> Answer:
        time.sleep(2)
        return a_list("a")

    with loopback(cluster({PODS: respond})) as server:
        inventory = read(server, tmp_path, timeouts=Timeouts(connect=10, read=1))
        assert 1 == len(server.asked(PODS))
    assert Unreadable("pods", "no answer within 1 s") in inventory.header.unreadable


def test_malformed_object(tmp_path: Path) -> None:
    """An object with odd types is a gap of its namespace; the others are read."""
    good = {"metadata": {"name": "a", "namespace": "shop"}, "spec": {"replicas": 2}}
    bad = {"metadata": {"name": "b", "namespace": "data"}, "spec": {"replicas": "2"}}
    worse = {"metadata": {"name": 7}}
    body = json.dumps({"metadata": {}, "items": [good, bad, worse, bad]}).encode()
    with loopback(cluster({DEPLOYMENTS: Answer(body)})) as server:
        inventory = read(server, tmp_path)
    assert ["a"] == names(inventory, "deployments")
    assert [
        "deployments in namespace data: Deployment b is malformed: Expected `int | null`,"
        " got `str` - at `$.spec.replicas` (and 1 more)",
        "deployments: Deployment without a readable name is malformed: Expected `str`,"
        " got `int` - at `$.metadata.name`",
    ] == [str(gap) for gap in inventory.header.unreadable]


def test_forbidden_kind(tmp_path: Path) -> None:
    """A 403 on one kind is a gap that says which right is missing."""
    gap = Unreadable("deployments", "forbidden (403)", None, "get,list on deployments.apps")
    assert [gap] == gaps(tmp_path, {DEPLOYMENTS: FORBIDDEN})


def test_kind_that_is_not_served(tmp_path: Path) -> None:
    """A kind of an add-on may be absent; a core kind that is not served is a gap."""
    budgets = "/apis/policy/v1/poddisruptionbudgets"
    missing = Answer(b"404 page not found", 404)
    answers = {"/apis/argoproj.io/v1alpha1/rollouts": missing, budgets: missing}
    with loopback(cluster(answers)) as server:
        inventory = read(server, tmp_path)
    needs = "an API server that serves policy/v1"
    gap = Unreadable("poddisruptionbudgets", "not served (404)", None, needs)
    assert (gap,) == inventory.header.unreadable
    assert "rollouts" not in inventory.kinds


@pytest.mark.parametrize(
    ("discovery", "is_gap"),
    [
        (Answer(status=404), False),
        (Answer(b'{"resources": [{"name": "experiments"}]}'), False),
        (Answer(b'{"resources": [{"name": "rollouts"}]}'), True),
        (FORBIDDEN, True),
        (Answer(b"{}"), True),
    ],
)
def test_forbidden_kind_of_an_add_on(tmp_path: Path, discovery: Answer, is_gap: bool) -> None:
    """A 403 on a kind that the cluster may lack is a gap unless discovery does not know it."""
    group = "/apis/argoproj.io/v1alpha1"
    found = gaps(tmp_path, {f"{group}/rollouts": FORBIDDEN, group: discovery})
    assert (["rollouts"] if is_gap else []) == [gap.kind for gap in found]


def test_namespaces(tmp_path: Path) -> None:
    """With namespaces, only those are read, and of the namespaces only themselves."""
    answers = {
        "/api/v1/namespaces/a": Answer(b'{"metadata": {"name": "a"}}'),
        "/api/v1/namespaces/b": Answer(b'{"metadata": {"name": "b"}}'),
        "/api/v1/namespaces/a/pods": a_list("one", namespace="a"),
        "/api/v1/namespaces/b/pods": FORBIDDEN,
    }
    with loopback(cluster(answers)) as server:
        inventory = read(server, tmp_path, "&namespace=b&namespace=a")
    gap = Unreadable("pods", "forbidden (403)", "b", "get,list on pods")
    assert (["one"], ["a", "b"], (gap,)) == (
        names(inventory, "pods"),
        names(inventory, "namespaces"),
        inventory.header.unreadable,
    )
    assert [] == server.asked(PODS) + server.asked("/api/v1/namespaces")
    assert "namespaces a, b" in inventory.header.notes


def test_namespace_that_does_not_exist(tmp_path: Path) -> None:
    """A misspelt namespace is an error: its lists are empty, which would pass everything."""
    answers: dict[str, Answer | Responder] = {
        "/api/v1/namespaces/shpo": Answer(status=404),
        "/api/v1/namespaces": a_list("shop", "default"),
    }
    with (
        loopback(cluster(answers)) as server,
        pytest.raises(TargetError) as caught,
    ):
        read(server, tmp_path, "&namespace=shpo")
    expected = "k8s:lab: no namespace 'shpo'; did you mean 'shop'? (allowed: default, shop)"
    assert expected == str(caught.value)


def test_namespace_that_can_not_be_looked_up(tmp_path: Path) -> None:
    """Without the right to see a namespace, what is in it is read all the same."""
    answers: dict[str, Answer | Responder] = {"/api/v1/namespaces/a": FORBIDDEN}
    with loopback(cluster(answers)) as server:
        inventory = read(server, tmp_path, "&namespace=a")
    gap = Unreadable("namespaces", "forbidden (403)", "a", "get,list on namespaces")
    assert (gap,) == inventory.header.unreadable


def test_nothing_may_be_read(tmp_path: Path) -> None:
    """Without any right the target is unreachable, and the remedy is named."""
    answers: dict[str, Answer | Responder] = {kind.path(): FORBIDDEN for kind in KINDS}
    with loopback(cluster(answers)) as server:
        text = unreachable(server.url, tmp_path)
    assert text.startswith(f"k8s:lab: {server.url[7:]}: no kind can be read: forbidden (403):")
    assert text.endswith("or name the namespaces that you may read: ?namespace=NAME")

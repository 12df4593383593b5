"""Real drains in which something goes wrong: every node takes pods again, and nothing passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import lab as labs
from pytest_containerpolicy.experiments.drain_measurement import Drain, measure_drain
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.restore import restore
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.conftest import Namespace
from tests.live.drain_specimens import documents
from tests.live.kubernetes_access import kubeconfig_for
from tests.live.limited_access import EXEC, LEASES, NODES, PROBERS, Rule, limited, unlimited
from tests.live.relay import relay
from tests.live.served import laboratory, rolled_out, served, workload

RATE = 20.0


@pytest.fixture
def shop(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Namespace]:
    """A namespace with a workload; in the end all nodes take pods, and nothing of ours is left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rolled_out(namespace, served("web", grace=4, lifecycle={"preStop": {"sleep": {"seconds": 2}}}))
    yield namespace
    nodes = documents(namespace, "nodes")
    assert [] == [node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")]
    assert "" == namespace.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")


def _drained(lab: KubernetesLab) -> Drain:
    return measure_drain(workload(lab, "web"), lab, rate=RATE, settle=1, patience=8)


def _pods(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in documents(namespace, "pods")}


def _once(start: str, act: Callable[[], object]) -> Callable[[str], None]:
    """A listener to progress that does something at the first line that starts so."""
    done: list[str] = []

    def listen(text: str) -> None:
        if text.startswith(start) and not done:
            done.append(text)
            act()

    return listen


@pytest.mark.parametrize(
    ("everywhere", "words"),
    [
        ([], "needs the right to PATCH /api/v1/nodes/"),
        ([NODES], "could not be asked for (403): needs create on pods/eviction"),
    ],
    ids=["cordon", "evict"],
)
def test_without_the_right(
    shop: Namespace, everywhere: list[Rule], words: str, tmp_path: Path
) -> None:
    """A 403 in the middle names the right; no pod was evicted."""
    before = _pods(shop)
    config = limited(shop, tmp_path, [LEASES, EXEC, PROBERS], everywhere)
    try:
        with laboratory(shop, kubeconfig=config) as lab, pytest.raises(CannotLook) as gap:
            _drained(lab)
    finally:
        unlimited(shop)
    assert words in str(gap.value)
    assert before == _pods(shop)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["delete", "deployment", "web"], "was deleted meanwhile"),
        (["scale", "deployment", "web", "--replicas=3"], "was scaled from 2 to 3 pods meanwhile"),
    ],
    ids=["deleted", "scaled"],
)
def test_somebody_else_meanwhile(shop: Namespace, command: list[str], words: str) -> None:
    """Who deletes or scales the workload meanwhile makes the drain void."""
    with (
        laboratory(shop, progress=_once("drain of", lambda: shop.kubectl(*command))) as lab,
        pytest.raises(CannotLook, match=words),
    ):
        _drained(lab)


def test_server_lost(shop: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the API server is lost in the middle, `restore` gives the node back."""
    monkeypatch.setattr(labs, "_OUTAGE_SECONDS", 2.0)
    with relay(shop.cluster.server) as between:
        changes: dict[str, object] = {"server": between.url, "tls-server-name": "kubernetes"}
        config = kubeconfig_for(shop.cluster, tmp_path, changes=changes)
        cut = _once("drain of", between.cut)
        with (
            laboratory(shop, kubeconfig=config, progress=cut) as lab,
            pytest.raises(CannotLook, match="not restored"),
        ):
            _drained(lab)
        assert any(node["spec"].get("unschedulable") for node in documents(shop, "nodes"))
        between.mend()
        assert [] == restore(Timeouts(), lambda _: None)


def test_server_lost_for_a_moment(shop: Namespace, tmp_path: Path) -> None:
    """An outage that ends makes the drain void; the run itself gives the node back."""
    with relay(shop.cluster.server) as between:
        changes: dict[str, object] = {"server": between.url, "tls-server-name": "kubernetes"}
        config = kubeconfig_for(shop.cluster, tmp_path, changes=changes)

        listeners = _once("drain of", between.cut), _once("trying again", between.mend)

        def blink(text: str) -> None:
            for listen in listeners:
                listen(text)

        with (
            laboratory(shop, kubeconfig=config, progress=blink) as lab,
            pytest.raises(CannotLook) as gap,
        ):
            _drained(lab)
    assert "not restored" not in str(gap.value)

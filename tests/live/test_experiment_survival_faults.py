"""What goes wrong while pods are replaced for their data: no next pod, others' doings, no right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.limited_access import DELETE, EXEC, LEASES, limited, unlimited
from tests.live.survival_specimens import (
    WAIT,
    await_rollouts,
    claim,
    files_in,
    measure,
    on_claim,
    pods_of,
    stateful_set,
    stored,
)
from tests.testbed.shell import wait_until


def test_next_pod_never_ready(namespace: Namespace, tmp_path: Path) -> None:
    """A pod that needs what the last one had in itself is found, and what it kept is told."""
    probe = {"exec": {"command": ["test", "-e", "/scratch/seed"]}, "periodSeconds": 1}
    namespace.apply(
        claim("orders"),
        stored(
            "seeded",
            container={"readinessProbe": probe},
            volumes=[
                ({"mountPath": "/orders"}, on_claim("orders")),
                ({"mountPath": "/scratch"}, {"emptyDir": {}}),
            ],
        ),
    )
    wait_until("a pod runs", lambda: _seeded(namespace, "seeded"), WAIT)
    await_rollouts(namespace)
    verdict = measure(namespace, "seeded", tmp_path, deadline=6)
    assert 1 == len(verdict.found)
    assert verdict.found[0].startswith("not ready again after pod seeded-")
    assert (["kept"], ["lost"]) == (verdict.fate("/orders"), verdict.fate("/scratch"))
    assert "" == files_in(namespace, "seeded", "/orders")


def _seeded(namespace: Namespace, name: str, count: int = 1) -> bool:
    pods = [pod for pod in pods_of(namespace, name) if pod["status"]["phase"] == "Running"]
    for pod in pods:
        namespace.inside(pod["metadata"]["name"], "touch", "/scratch/seed")
    return len(pods) == count


def test_no_further_pod_is_touched(namespace: Namespace, tmp_path: Path) -> None:
    """Once a StatefulSet's pod does not come back, the others are left alone."""
    document = stateful_set("set")
    probe = {"exec": {"command": ["test", "-e", "/scratch/seed"]}, "periodSeconds": 1}
    pod = document["spec"]["template"]["spec"]
    pod["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    pod["containers"][0]["volumeMounts"] += [{"name": "scratch", "mountPath": "/scratch"}]
    pod["containers"][0]["readinessProbe"] = probe
    namespace.apply(document)
    wait_until("two pods run", lambda: _seeded(namespace, "set", 2), WAIT)
    await_rollouts(namespace)
    second = ("get", "pod", "set-1", "-o", "jsonpath={.metadata.uid}")
    before = namespace.kubectl(*second)
    verdict = measure(namespace, "set", tmp_path, deadline=6, pods=2)
    assert [True] == [one.startswith("not ready again after pod set-0") for one in verdict.found]
    assert before == namespace.kubectl(*second)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["delete", "pod", "set-0"], "the UID in the precondition"),
        (["scale", "sts", "set", "--replicas=0"], "was scaled from 1 to 0 pods meanwhile"),
    ],
    ids=["deleted", "scaled"],
)
def test_somebody_else_meanwhile(
    namespace: Namespace, command: list[str], words: str, tmp_path: Path
) -> None:
    """It is said, no verdict is given, and the markers are removed even if no pod is left."""
    document = stateful_set("set")
    document["spec"]["replicas"] = 1
    namespace.apply(document)
    await_rollouts(namespace)
    before = pods_of(namespace, "set")[0]["metadata"]["uid"]

    def interfere(text: str) -> None:
        if text.startswith("deleting pod"):
            namespace.kubectl(*command)
            wait_until("it took effect", lambda: _changed(namespace, before), WAIT)

    verdict = measure(namespace, "set", tmp_path, hook=interfere)
    assert (0, []) == (verdict.judged, verdict.found)
    assert [True] == [words in gap for gap in verdict.gaps], verdict.gaps
    namespace.kubectl("scale", "sts", "set", "--replicas=1")
    await_rollouts(namespace)
    assert "deep\n" == files_in(namespace, "set", "/data")


def _changed(namespace: Namespace, uid: str) -> bool:
    return [uid] != [pod["metadata"]["uid"] for pod in pods_of(namespace, "set")]


@pytest.mark.parametrize(
    ("rules", "params", "judged", "words"),
    [
        ([LEASES], {}, 0, "needs the right to exec in pod"),
        ([LEASES, EXEC], {}, 0, "needs the right to DELETE"),
        ([LEASES, EXEC, DELETE], {"move": True}, 1, "not moved: PATCH /api/v1/nodes/"),
    ],
    ids=["exec", "delete", "cordon"],
)
def test_without_the_right(
    namespace: Namespace,
    rules: list[dict[str, Any]],
    params: dict[str, Any],
    judged: int,
    words: str,
    tmp_path: Path,
) -> None:
    """A 403 names the right; where the data does not depend on the node, it need not move."""
    kubeconfig = limited(namespace, tmp_path, rules)
    try:
        namespace.apply(
            claim("orders"),
            stored("claim", volumes=[({"mountPath": "/orders"}, on_claim("orders"))]),
        )
        await_rollouts(namespace)
        before = pods_of(namespace, "claim")[0]["metadata"]["uid"]
        verdict = measure(namespace, "claim", tmp_path, kubeconfig, **params)
    finally:
        unlimited(namespace)
    assert (judged, []) == (verdict.judged, verdict.found), verdict.gaps
    assert words in "\n".join([*verdict.gaps, verdict.figures])
    assert bool(judged) != (before == pods_of(namespace, "claim")[0]["metadata"]["uid"])
    assert "" == files_in(namespace, "claim", "/orders")

"""What the examples of the upgrades policies can't express: measured tables, live objects."""

from typing import Any

import pytest

from pytest_containerpolicy.checks.registry import Judgement, find_check
from pytest_containerpolicy.model.cluster import Amount, DisruptionBudget
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Rollout
from pytest_containerpolicy.targets.inventory import Header
from tests.kubernetes_values import model_of

LABELS = {"app": "web"}


@pytest.mark.parametrize(
    ("min_available", "max_unavailable", "pods", "scale", "allowed"),
    [
        (None, None, 2, 2, 0),
        (2, None, 2, 2, 0),
        ("51%", None, 2, 2, 0),
        ("50%", None, 2, 2, 1),
        (0, None, 1, 0, 1),
        (1, None, 5, 5, 4),
        (None, "0%", 2, 2, 0),
        (None, "1%", 2, 2, 1),
        # One bare pod, alone and beside a Deployment's two.
        (None, 1, 1, 0, 0),
        (None, 1, 3, 2, 2),
        # One labelled pod of three.
        (None, 1, 1, 3, 0),
    ],
)
def test_allowed_disruptions(
    min_available: Amount | None,
    max_unavailable: Amount | None,
    pods: int,
    scale: int,
    allowed: int,
) -> None:
    """A budget allows what the disruption controller of Kubernetes 1.37 wrote into its status."""
    budget = DisruptionBudget(
        ref=ObjectRef(kind="PodDisruptionBudget", name="web"),
        model=Model(Header(target="test", platform="kubernetes"), {}),
        min_available=min_available,
        max_unavailable=max_unavailable,
    )

    assert allowed == budget.allowed_disruptions(pods, scale)


@pytest.mark.parametrize(
    ("amounts", "copies", "resolved"),
    [
        (("25%", "25%"), 1, (0, 1)),
        (("25%", "25%"), 4, (1, 1)),
        (("25%", 0), 1, (1, 0)),
        ((5, 0), 2, (2, 0)),
        (("100%", "0%"), 3, (3, 0)),
        (None, 7, (2, 3)),
    ],
)
def test_rollout_resolves_amounts(
    amounts: tuple[Amount, Amount] | None, copies: int, resolved: tuple[int, int]
) -> None:
    """Unavailable rounds down, surge up, both at zero become one; counts stay what they are."""
    rollout = Rollout(
        strategy="RollingUpdate",
        order="start-first",
        max_unavailable=2,
        max_surge=3,
        amounts=amounts,
    )

    assert resolved == rollout.resolved(copies)


def test_budget_of_one_pod_of_many() -> None:
    """A budget that selects one pod of a StatefulSet by its own name counts one pod, not three."""
    budget = _budget({"statefulset.kubernetes.io/pod-name": "web-0"}, minAvailable=1)

    judgement = _judge("budget_allows_eviction", _workload("StatefulSet", replicas=3), budget)

    assert ["minAvailable 1 lets 0 of 1 pods go"] == _found(judgement)


def test_budget_of_some_labelled_pods() -> None:
    """How many pods of a Deployment carry a label that the template lacks is not known."""
    leader = _pod("web-x", {**LABELS, "role": "leader"}, _owner("ReplicaSet", "web-1"))
    replica_set = _object("apps/v1", "ReplicaSet", "web-1", {}, [_owner("Deployment", "web")])
    objects = (_workload("Deployment", replicas=3), replica_set, leader)

    judgement = _judge("budget_allows_eviction", *objects, _budget({"role": "leader"}), live=True)

    assert (0, 1) == (judgement.judged, len(judgement.gaps))


def test_budgets_of_different_pods() -> None:
    """Two budgets over one StatefulSet are one for each pod when they select by pod name."""
    budgets = [
        _budget({"statefulset.kubernetes.io/pod-name": name}, name) for name in ("web-0", "web-1")
    ]

    judgement = _judge("one_budget_per_pod", _workload("StatefulSet", replicas=2), *budgets)

    assert (1, []) == (judgement.judged, _found(judgement))


def test_pods_of_an_unknown_controller() -> None:
    """Nobody chose a number of replicas for the single pods of a custom resource."""
    owner = {**_owner("Cluster", "db"), "apiVersion": "postgresql.cnpg.io/v1"}
    pods = (_pod(name, LABELS, owner) for name in ("db-1", "db-2"))

    judgement = _judge("replicas_enough", *pods, _service(), live=True)

    assert 0 == judgement.judged


@pytest.mark.parametrize(("at_least", "found"), [(2, []), (3, ["2 replicas"])])
def test_replicas_wanted(at_least: int, found: list[str]) -> None:
    """How many copies are enough is the policy's to say."""
    judgement = _judge(
        "replicas_enough", _workload("Deployment", replicas=2), _service(), at_least=at_least
    )

    assert found == _found(judgement)


def _judge(name: str, *objects: dict[str, Any], live: bool = False, **params: Any) -> Judgement:
    return find_check(name).judge(model_of(objects, live=live), params)


def _found(judgement: Judgement) -> list[str]:
    return [finding.violation.found for finding in judgement.findings]


def _object(
    version: str, kind: str, name: str, spec: dict[str, Any], owners: list[dict[str, Any]]
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "ownerReferences": owners}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _owner(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": True}


def _workload(kind: str, replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "app"}]}}
    return _object("apps/v1", kind, "web", {"replicas": replicas, "template": template}, [])


def _pod(name: str, labels: dict[str, str], owner: dict[str, Any]) -> dict[str, Any]:
    pod = _object("v1", "Pod", name, {"containers": [{"name": "app"}]}, [owner])
    pod["metadata"]["labels"] = labels
    return pod


def _budget(labels: dict[str, str], name: str = "web", **rule: Any) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": labels}, **(rule or {"maxUnavailable": 1})}
    return _object("policy/v1", "PodDisruptionBudget", name, spec, [])


def _service() -> dict[str, Any]:
    return _object("v1", "Service", "web", {"selector": LABELS, "ports": [{"port": 80}]}, [])

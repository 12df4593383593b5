"""What a refused eviction says of a pod, and what a rehearsal says of a node."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.drain_floor import Floor
from pytest_containerpolicy.experiments.drain_placement import Stranded
from pytest_containerpolicy.experiments.drain_rehearsal import (
    DrainRehearsal,
    Held,
    Unknown,
    is_passing,
    left_behind,
    why_held,
)
from pytest_containerpolicy.experiments.kubernetes_floor import Budget, LiveCluster
from pytest_containerpolicy.experiments.kubernetes_lab import Refused
from pytest_containerpolicy.model.kubernetes_running_pods import RunningPods
from pytest_containerpolicy.model.scheduling import Pod
from pytest_containerpolicy.model.selectors import Selector
from pytest_containerpolicy.targets.inventory import Header, Inventory

POD = Pod(namespace="shop", name="web-1", uid="1", labels={"app": "web"}, requests={})
WEB = Selector.of({"app": "web"})
# As an API server of version 1.37 answers.
TOO_MANY = "Cannot evict pod as it would violate the pod's disruption budget."
TWO_BUDGETS = (
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not"
    " support."
)
BUDGET = "The disruption budget web needs 2 healthy pods and has 2 currently"
PROCESSED = "The disruption budget web is still being processed by the server."
DENIED = 'admission webhook "guard.example.com" denied the request: not now'
NO_RIGHT = 'pods "web-1" is forbidden: User "ci" cannot create resource "pods/eviction"'


def refused(status: int, message: str, cause: str = "") -> Refused:
    """A refusal, with a cause that is a budget's."""
    causes = (("DisruptionBudget", cause),) if cause else ()
    return Refused(message, status, message, causes)


def cluster() -> LiveCluster:
    """Two budgets over the pod, and one of another namespace."""
    names = (("shop", "web"), ("shop", "all"), ("other", "web"))
    return LiveCluster(
        floor=Floor((), (), lambda *_: None),
        pods=(POD,),
        running=RunningPods(Inventory(Header(target="test", platform="kubernetes"), {})),
        budgets=tuple(Budget(namespace, name, WEB, 0) for namespace, name in names),
        kept=frozenset(),
        gaps=(),
    )


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (
            refused(429, TOO_MANY, BUDGET),
            "PodDisruptionBudget web needs 2 healthy pods and has 2 currently",
        ),
        (refused(500, TWO_BUDGETS), "it has more than one PodDisruptionBudget (all, web)"),
        (refused(403, DENIED), DENIED),
    ],
)
def test_a_pod_that_is_held(refusal: Refused, why: str) -> None:
    """The budget, the budgets or the webhook that holds it is named."""
    assert (why, False) == (why_held(refusal, POD, cluster()), is_passing(refusal))


@pytest.mark.parametrize(
    "refusal", [refused(429, TOO_MANY, PROCESSED), refused(429, "too many requests")]
)
def test_a_server_that_is_busy(refusal: Refused) -> None:
    """That says nothing of the pod: it is asked again, and not known in the end."""
    assert is_passing(refusal)
    assert isinstance(why_held(refusal, POD, cluster()), CannotLook)


def test_a_right_that_is_missing() -> None:
    """It is named."""
    expected = (
        "evictions in namespace shop could not be asked for (403): needs create on pods/eviction"
    )
    assert expected == str(why_held(refused(403, NO_RIGHT), POD, cluster()))


def test_a_server_that_fails() -> None:
    """An answer that is about nothing known is no verdict."""
    assert isinstance(why_held(refused(500, "etcd is away"), POD, cluster()), CannotLook)


def test_a_rehearsal_of_which_something_is_unknown() -> None:
    """It neither succeeds nor fails, unless something else fails it."""
    unknown = (Unknown("nodes: forbidden"), Unknown("nodes: forbidden", POD))
    partial = DrainRehearsal(node="a", evicted=(POD,), unknown=unknown)
    held = DrainRehearsal(node="a", evicted=(POD,), held=(Held(POD, "why"),), unknown=unknown)

    with pytest.raises(CannotLook, match=r"drain of a: nodes: forbidden$"):
        bool(partial)
    assert not held.succeeds
    assert DrainRehearsal(node="a", evicted=(POD,)).succeeds
    assert not DrainRehearsal(node="a", evicted=(POD,), lost=(POD,)).succeeds


def test_what_a_rehearsal_says_of_some_pods() -> None:
    """What is about others is left out; what is about the node stays."""
    other = Pod(namespace="shop", name="db-0", uid="2", labels={}, requests={}, scratch=("cache",))
    whole = DrainRehearsal(
        node="a",
        evicted=(POD, other),
        held=(Held(other, "why"),),
        stranded=(Stranded(POD, {}),),
        unknown=(Unknown("all"), Unknown("of db", other)),
    )

    part = whole.of([POD])
    assert ((POD,), (), 1, ("all",)) == (part.evicted, part.held, len(part.stranded), part.gaps)
    assert ["pod shop/db-0 loses what is in emptyDir cache"] == list(left_behind(other))
    assert "pod shop/web-1 finds no place: there is no other node" in str(whole)

"""Label selectors mean what they mean to the API server; see tests/live for its own answers."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.kubernetes_values import selector_of
from pytest_containerpolicy.model.selectors import Requirement, Selector
from pytest_containerpolicy.targets.kubernetes_pods import LabelSelector, SelectorRequirement

WEB = {"app": "web", "tier": "front", "empty": ""}


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement("app", "In", ("web", "api")), True),
        (Requirement("app", "In", ("api",)), False),
        (Requirement("none", "In", ("web",)), False),
        (Requirement("app", "NotIn", ("web",)), False),
        (Requirement("app", "NotIn", ("api",)), True),
        (Requirement("none", "NotIn", ("web",)), True),
        (Requirement("empty", "In", ("",)), True),
        (Requirement("empty", "Exists"), True),
        (Requirement("none", "Exists"), False),
        (Requirement("empty", "DoesNotExist"), False),
        (Requirement("none", "DoesNotExist"), True),
        (Requirement("App", "Exists"), False),
    ],
)
def test_requirements(requirement: Requirement, expected: bool) -> None:
    """An absent label is not in any set and so satisfies NotIn; an empty value is a value."""
    assert expected == requirement.matches(WEB)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [("Gt", "8", True), ("Lt", "8", False), ("Gt", "16", False), ("Gt", "x", False)],
)
def test_nodes_compare_numbers(operator: str, value: str, expected: bool) -> None:
    """Gt and Lt read label and value as integers; what is none, or is absent, does not match."""
    requirement = Requirement("cores", operator, (value,))

    assert (expected, False) == (requirement.matches({"cores": "12"}), requirement.matches({}))


def test_all_requirements_must_hold() -> None:
    """matchLabels and matchExpressions are one conjunction."""
    found = selector_of(
        LabelSelector(
            match_labels={"app": "web"},
            match_expressions=[SelectorRequirement(key="tier", operator="NotIn", values=["back"])],
        )
    )

    assert found is not None
    assert (True, False, False) == (
        found.matches(WEB),
        found.matches({"app": "web", "tier": "back"}),
        found.matches({"tier": "front"}),
    )


def test_absent_and_empty_selectors_are_told_apart() -> None:
    """The empty one selects everything; what the absent one means is its field's business."""
    assert selector_of(None) is None
    assert selector_of(LabelSelector()) == Selector()
    assert Selector().is_empty
    assert Selector().matches({})


@pytest.mark.parametrize("operator", ["in", "Gt", ""])
def test_an_unknown_operator_is_an_error(operator: str) -> None:
    """The API refuses it; to match nothing instead would be a guess."""
    expression = SelectorRequirement(key="a", operator=operator, values=["1"])

    with pytest.raises(UsageError, match="allowed: In, NotIn, Exists, DoesNotExist"):
        selector_of(LabelSelector(match_expressions=[expression]))


def test_selectors_read_as_kubectl_writes_them() -> None:
    """For findings: one line, in a stable order."""
    requirements = (
        Requirement("tier", "In", ("a", "b")),
        Requirement("new", "Exists"),
        Requirement("old", "DoesNotExist"),
    )

    assert "app=web, tier in (a, b), new, !old" == str(
        Selector(Selector.of({"app": "web"}).requirements + requirements)
    )
    assert "(everything)" == str(Selector())

"""Label selectors select what the API server's own lists select."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_containerpolicy.model.selectors import Requirement, Selector
from tests.live.conftest import Namespace

KEYS = ("app", "tier", "example.com/team", "empty")
VALUES = ("web", "api", "db", "", "a.b_c-1")
OBJECTS: list[dict[str, str]] = [
    {},
    {"app": "web"},
    {"app": "api", "tier": "db"},
    {"app": "web", "tier": "api", "example.com/team": "a.b_c-1"},
    {"example.com/team": "web", "empty": ""},
    {"app": "", "tier": "web"},
    {"app": "a.b_c-1", "empty": "", "tier": ""},
]

values = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3, unique=True).map(tuple)
requirement = st.one_of(
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from(("In", "NotIn")), values),
    st.builds(Requirement, st.sampled_from(KEYS), st.sampled_from(("Exists", "DoesNotExist"))),
)
selectors = st.lists(requirement, max_size=3).map(lambda found: Selector(tuple(found)))


@pytest.fixture
def labelled(namespace: Namespace) -> Namespace:
    """A namespace with one ConfigMap for each set of labels, named after its index."""
    namespace.apply(
        *(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": f"object-{index}", "labels": {**labels, "here": "yes"}},
            }
            for index, labels in enumerate(OBJECTS)
        )
    )
    return namespace


def test_selectors_select_what_the_server_selects(labelled: Namespace) -> None:
    """Any conjunction of In, NotIn, Exists and DoesNotExist, on labels absent, empty and set."""

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(selectors)
    def compare(selector: Selector) -> None:
        expected = _names_from_server(labelled, selector)
        found = {f"object-{i}" for i, labels in enumerate(OBJECTS) if selector.matches(labels)}
        assert expected == found

    compare()


def _names_from_server(namespace: Namespace, selector: Selector) -> set[str]:
    query = quote(",".join(["here=yes", *map(_text, selector.requirements)]))
    path = f"/api/v1/namespaces/{namespace.name}/configmaps?labelSelector={query}"
    answer: dict[str, Any] = json.loads(namespace.kubectl("get", "--raw", path))
    return {item["metadata"]["name"] for item in answer["items"]}


def _text(requirement: Requirement) -> str:
    match requirement.operator:
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"
    return f"{requirement.key} {requirement.operator.lower()} ({','.join(requirement.values)})"

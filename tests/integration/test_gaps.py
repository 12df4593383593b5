"""What could not be read never changes a verdict but to `not evaluated`.

Every example of the shipped policies is read with each kind of its platform missing in turn.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pytest_containerpolicy.examples import Example, find_examples, read_example
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.policies import Policy, builtin_pack, load_policy, policy_files
from pytest_containerpolicy.targets.documents import document_types
from pytest_containerpolicy.targets.inventory import EVERY_KIND, Inventory, Unreadable
from pytest_containerpolicy.verdicts import Verdict, evaluate

PACK = builtin_pack()
_NOT_FOUND_WRONG = ("passed", "not applicable")


@pytest.fixture(params=policy_files(PACK), ids=lambda file: file.parent.name)
def policy(request: pytest.FixtureRequest) -> Policy:
    """Each of the shipped policies."""
    file: Path = request.param
    return load_policy(file, PACK.name)


def _inventories(policy: Policy) -> Iterator[tuple[Example, Inventory]]:
    """Its examples as they are; those of Kubernetes also as if a cluster had answered."""
    for example in find_examples(policy):
        inventory = read_example(example)
        yield example, inventory
        if example.platform == "kubernetes":
            yield example, inventory.with_header(replace(inventory.header, live=True))


def _without(inventory: Inventory, kind: str) -> Inventory:
    header = inventory.header
    unreadable = (*header.unreadable, Unreadable(kind, "forbidden"))
    documents = {
        known: () if known == kind else inventory.documents(known) for known in inventory.kinds
    }
    return Inventory(replace(header, unreadable=unreadable), documents)


def _verdict(policy: Policy, inventory: Inventory) -> Verdict:
    return evaluate(policy, build_model(inventory)).verdict


def _changes(policy: Policy) -> Iterator[tuple[str, str, Verdict, Verdict]]:
    """Example, missing kind, verdict on all of it, verdict without the kind."""
    for example, inventory in _inventories(policy):
        before = _verdict(policy, inventory)
        for kind in document_types(example.platform):
            yield example.file.name, kind, before, _verdict(policy, _without(inventory, kind))


def test_a_missing_kind_hides_no_finding(policy: Policy) -> None:
    """What fails neither passes nor has nothing to judge when a kind can't be read."""
    hidden = [
        change
        for change in _changes(policy)
        if change[2] == "failed" and change[3] in _NOT_FOUND_WRONG
    ]

    assert [] == hidden


def test_a_missing_kind_raises_no_alarm(policy: Policy) -> None:
    """What does not fail does not begin to when a kind can't be read."""
    alarms = [
        change
        for change in _changes(policy)
        if change[2] in _NOT_FOUND_WRONG and change[3] == "failed"
    ]

    assert [] == alarms


def test_no_pass_without_what_is_judged(policy: Policy) -> None:
    """Without a kind that a policy's objects are built from, nothing passes."""
    passed = [
        (example.file.name, kind)
        for example, inventory in _inventories(policy)
        for kind in (EVERY_KIND, *build_model(inventory).sources_of(policy.check.noun))
        if _verdict(policy, _without(inventory, kind)) == "passed"
    ]

    assert [] == passed


def test_snapshot(policy: Policy) -> None:
    """A snapshot gives the very result that what it was taken of gives."""
    for example, inventory in _inventories(policy):
        restored = Inventory.from_bytes(inventory.to_bytes(), example.file.name)
        expected = evaluate(policy, build_model(inventory))

        assert expected == evaluate(policy, build_model(restored))

"""The shipped policies are well formed, and each of their examples gives what its name promises."""

from pathlib import Path

import pytest

from pytest_containerpolicy.examples import find_examples, problems
from pytest_containerpolicy.experiments.registry import Experiment
from pytest_containerpolicy.policies import builtin_pack, load_pack, load_policy, policy_files

PACK = builtin_pack()
FILES = policy_files(PACK)
EXAMPLES = [file for policy in FILES for file in sorted(policy.parent.glob("*.*.*"))]


def _name(file: Path) -> str:
    return file.relative_to(PACK.folder).as_posix()


@pytest.mark.parametrize("file", EXAMPLES, ids=_name)
def test_example(file: Path) -> None:
    """An example gives the verdict of its file name and exactly the findings of its comments."""
    policy = load_policy(file.with_name("policy.yaml"), PACK.name)
    example = next(example for example in find_examples(policy) if example.file == file)

    assert [] == problems(policy, example)


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_policy(file: Path) -> None:
    """A policy has enough examples and says how to mend what it finds on each platform."""
    policy = load_policy(file, PACK.name)
    fixes = [policy.fix_for(platform) for platform in policy.data.platforms]

    assert [] == [fix for fix in fixes if not fix.endswith(".")]
    assert policy.data.why.endswith(".")
    assert len(find_examples(policy)) >= 3 or isinstance(policy.check, Experiment)


def test_pack() -> None:
    """The pack has at least 32 policies, eight per challenge, twenty on several platforms."""
    policies = load_pack(PACK)
    challenges = [policy.challenge for policy in policies]
    main = ("storage", "networking", "resources", "upgrades")

    assert 32 <= len(policies)
    assert [] == [name for name in main if challenges.count(name) < 8]
    assert 20 <= sum(len(policy.data.platforms) > 1 for policy in policies)

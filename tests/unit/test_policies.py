"""Packs load strictly: an error names file, line, key, value found and what is allowed."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from pytest_containerpolicy.errors import PackError, UsageError
from pytest_containerpolicy.policies import (
    Pack,
    builtin_pack,
    find_pack,
    json_schema,
    load_pack,
    load_policy,
    policy_files,
    select,
)

GATE = "upgrades/readiness-gate"
POLICY = """\
# a comment before the first key
id: resources/small
title: Small containers
summary: that are not small
severity: low
platforms: [kubernetes]
check: memory_limit_set
params: {at_most: 1Gi}
profiles:
  baseline: {}
  strict: {at_most: 256Mi}
why: Because.
fix: Make it small.
"""


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """A pack with one policy."""
    folder = tmp_path / "resources" / "small"
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY)
    return Pack("test", tmp_path)


def _file(pack: Pack) -> Path:
    return policy_files(pack)[0]


def test_params_are_typed(pack: Pack) -> None:
    """Params become the check's types, and a profile overrides them."""
    assert {"at_most": 2**30} == load_policy(_file(pack), "test").params
    assert {"at_most": 2**28} == load_policy(_file(pack), "test", "strict").params


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("severity: low", "severity: urgent"), 5, ["severity", "'urgent'", "info, low, medium"]),
        (("severity:", "severty:"), 5, ["unknown key 'severty'", "did you mean 'severity'"]),
        (("title: Small containers\n", ""), 2, ["key 'title' is missing"]),
        (("title: Small", "title: 3 #"), 3, ["title", "found 3"]),
        (("id: resources/small", "id: resources/tiny"), 2, ["'resources/tiny'", "/small'"]),
        (("memory_limit_set", "memory_limt_set"), 7, ["'memory_limt_set'", "memory_limit_set"]),
        (("{at_most: 1Gi}", "{at_mst: 1Gi}"), 8, ["at_mst", "at_most"]),
        (("{at_most: 1Gi}", "{at_most: lots}"), 8, ["at_most", "'lots'"]),
        (("platforms: [kubernetes]", "platforms: []"), 6, ["platforms", "[]"]),
        (("platforms: [kubernetes]", "platforms: [nomad]"), 6, ["nomad"]),
        (("why: Because.", "why: [a"), 13, ["policy.yaml"]),
        (("why: Because.", "why: a\nwhy: b"), 13, ["why"]),
    ],
)  # fmt: skip
def test_errors(pack: Pack, change: tuple[str, str], line: int, words: list[str]) -> None:
    """A mistake in a policy is told in one line with file, line, key, value and the way out."""
    file = _file(pack)
    file.write_text(POLICY.replace(*change))

    with pytest.raises(PackError) as caught:
        load_policy(file, "test")

    message = str(caught.value)
    assert message.startswith(f"{file}:{line}:"), message
    assert [] == [word for word in words if word not in message], message
    assert "\n" not in message


def test_ids_are_unique(pack: Pack) -> None:
    """An alias that is another policy's id is refused."""
    other = pack.folder / "resources" / "other"
    other.mkdir()
    text = POLICY.replace("/small", "/other") + "aliases: [resources/small]\n"
    (other / "policy.yaml").write_text(text)

    with pytest.raises(PackError, match="'resources/small' is already the name of"):
        load_pack(pack)


def test_a_challenge_must_exist(tmp_path: Path) -> None:
    """A policy stands in a folder that is a challenge."""
    folder = tmp_path / "speed" / "fast"
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY.replace("resources/small", "speed/fast"))

    with pytest.raises(PackError, match=r"unknown challenge 'speed'.*upgrades"):
        load_pack(Pack("test", tmp_path))


def test_an_empty_pack_is_a_mistake(tmp_path: Path) -> None:
    """A folder without policies is refused, not passed."""
    with pytest.raises(PackError, match=r"no policy\.yaml in it"):
        load_pack(Pack("test", tmp_path))


def test_assumptions_can_be_measured() -> None:
    """What a pass assumes is found out by a policy that there is, with an experiment."""
    policies = load_pack(builtin_pack())
    levels = {policy.id: policy.level for policy in policies if policy.is_experiment}
    assuming = [policy.data for policy in policies if policy.assumption]

    assert {data.id: levels[data.measured_by] for data in assuming} == {
        data.id: data.measured_at for data in assuming
    }


def test_an_assumption_that_no_experiment_finds_out() -> None:
    """On a platform that the measuring policy does not know, nobody is sent to measure."""
    gate = next(policy for policy in load_pack(builtin_pack()) if policy.id == GATE)

    assert gate.assumption_on("kubernetes").endswith(
        "run with --cp-level=disrupt (upgrades/rollout-without-downtime)"
    )
    assert gate.assumption_on("docker").endswith("and no experiment finds it out on docker")


def test_selection() -> None:
    """Globs, challenges, severity and profile select; a glob that matches nothing is refused."""
    policies = load_pack(builtin_pack())

    def ids(**options: object) -> set[str]:
        return {policy.id for policy in select(policies, **options)}  # type: ignore[arg-type]

    assert {"resources/memory-limit"} == ids(selected=["*/memory-limit"])
    assert ids(selected=["storage"]) == ids(selected=["storage/*"])
    assert "resources/memory-limit" not in ids(ignored=["resources"])
    assert "resources/swap-bounded" not in ids(min_severity="medium", profile="strict")
    assert "resources/swap-bounded" not in ids()
    assert "resources/swap-bounded" in ids(profile="strict")
    assert {"resources/swap-bounded"} == ids(selected=["resources/swap-bounded"])
    with pytest.raises(UsageError, match="no policy matches 'resources/memory-limits'"):
        ids(selected=["resources/memory-limits"])


def test_selection_by_alias() -> None:
    """A former id takes a policy whatever the profile, as its id does."""
    policies = load_pack(builtin_pack())
    swap = next(policy for policy in policies if policy.id == "resources/swap-bounded")
    data = replace(swap.data, aliases=("resources/swap",))

    assert ["resources/swap-bounded"] == [
        policy.id for policy in select([replace(swap, data=data)], selected=["resources/swap"])
    ]


def test_schema_accepts_the_shipped_policies() -> None:
    """The shipped JSON Schema is the code's own and accepts every shipped policy."""
    pack = builtin_pack()
    shipped = json.loads((pack.folder / "policy.schema.json").read_text())
    validator = Draft202012Validator(shipped)

    assert json_schema() == shipped
    for file in policy_files(pack):
        assert [] == [
            error.message for error in validator.iter_errors(yaml.safe_load(file.read_text()))
        ]


def test_pack_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Pack
) -> None:
    """A package's pack is found by its entry point, and its checks are registered."""
    package = tmp_path / "installed" / "shop_policies"
    metadata = tmp_path / "installed" / "shop_policies-1.0.dist-info"
    folder = package / "resources" / "tiny"
    for path in (folder, metadata):
        path.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-policies\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[pytest_containerpolicy.packs]\nshop = shop_policies\n"
    )
    (package / "__init__.py").write_text(
        "from collections.abc import Iterator\n"
        "from pytest_containerpolicy import Violation, check\n"
        "from pytest_containerpolicy.model.container import Container\n"
        "@check()\n"
        "def shop_tiny(container: Container) -> Iterator[Violation]:\n"
        "    yield Violation(found='a', wanted='b')\n"
    )
    text = POLICY.replace("/small", "/tiny").replace("memory_limit_set", "shop_tiny")
    (folder / "policy.yaml").write_text(
        text.replace("{at_most: 1Gi}", "{}").replace("{at_most: 256Mi}", "{}")
    )
    monkeypatch.syspath_prepend(tmp_path / "installed")

    found = find_pack("shop", tmp_path)

    assert Pack("shop", package) == found
    assert ["resources/tiny"] == [policy.id for policy in load_pack(found)]
    with pytest.raises(PackError, match="did you mean 'shop'"):
        find_pack("shopp", tmp_path)

"""What a URI names for experiments, and what of it is there."""

from __future__ import annotations

import pytest

from pytest_containerpolicy.targets.uri import parse_target

SHOP = [("Deployment", "web"), ("StatefulSet", "db"), ("Deployment", "worker")]


@pytest.mark.parametrize("named", ["", "?workload=web", "?workload=Deployment/web&workload=DB"])
def test_everything_named_is_there(named: str) -> None:
    """A name alone and one with its kind, in whatever letters; a URI without names is fine, too."""
    assert "" == parse_target(f"swarm+unix:///docker.sock{named}").absent(SHOP)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("wbe", "names workload 'wbe', which is not there; did you mean 'web'?"),
        ("StatefulSet/web", "names workload 'statefulset/web', which is not there; did you mean"),
    ],
)
def test_what_is_misspelt_is_told(named: str, words: str) -> None:
    """Otherwise an experiment would find nothing to do, and the run would be green."""
    assert words in parse_target(f"swarm+unix:///docker.sock?workload={named}").absent(SHOP)

"""What the plan of a run lists, which is what the run will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_containerpolicy.laboratories import Laboratories
from pytest_containerpolicy.options import Settings
from pytest_containerpolicy.policies import builtin_pack, load_pack
from pytest_containerpolicy.readings import Readings
from pytest_containerpolicy.targets.uri import Timeouts, parse_target
from tests.kubernetes_models import controller, model_of_text

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: dev, context: {cluster: c, user: u}}]
"""
ROLLOUT = "upgrades/rollout-without-downtime"


@pytest.mark.parametrize(
    ("urls", "subjects"), [({}, "nothing"), ({"shop/web": "http://web/"}, "Deployment shop/web")]
)
def test_plan_lists_what_has_only_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: dict[str, str], subjects: str
) -> None:
    """A Deployment without a Service is rolled out if a URL is given, so that it is listed."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    target = parse_target(f"k8s://dev?kubeconfig={tmp_path}/kubeconfig&namespace=shop")
    readings = Readings([target], Timeouts())
    model = model_of_text(controller("Deployment", ""))
    monkeypatch.setattr(readings, "model", lambda _: model)
    settings = Settings(level="disrupt", urls=urls)
    [policy] = [policy for policy in load_pack(builtin_pack()) if policy.id == ROLLOUT]

    [line] = Laboratories(settings, readings, print).plan([(policy, target.id)], "disrupt")

    assert f"restarts its rollout under traffic: {subjects}" in line

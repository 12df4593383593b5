"""The shipped roles are enough for their level, and what they do not allow is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Namespace
from tests.live.kubernetes_access import account, kubeconfig_for

RBAC = Path(__file__).parents[2] / "examples" / "rbac"
LABELS = {"app": "web"}


def _web() -> list[dict[str, Any]]:
    container = {
        "name": "app",
        "image": "testbed/server:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "resources": {"requests": {"cpu": "5m"}, "limits": {"memory": "64Mi"}},
    }
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"terminationGracePeriodSeconds": 8, "containers": [container]},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template}
    port = {"port": 80, "targetPort": 8080}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": spec,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": LABELS, "ports": [port]},
        },
    ]


def _run(namespace: Namespace, folder: Path, level: str, *more: str) -> str:
    """What a run of all policies of a level prints, as the account that the roles are bound to."""
    target = f"k8s://?kubeconfig={folder / 'config'}&namespace={namespace.name}&workload=web"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            f"--cp-target={target}",
            f"--cp-level={level}",
            "--cp-prober-image=testbed/python:1",
            *more,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout + done.stderr


@pytest.fixture
def shop(namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """A namespace with a workload, and an account that may observe the cluster."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    namespace.apply(*_web())
    namespace.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    token = account(namespace, "auditor")
    kubeconfig_for(namespace.cluster, tmp_path, {"token": token})
    for name in ("observe", "probe", "disrupt"):
        namespace.cluster.kubectl("apply", "-f", str(RBAC / f"{name}.yaml"))
    subject = f"--serviceaccount={namespace.name}:auditor"
    everywhere = ("create", "clusterrolebinding", f"{namespace.name}-observe", subject)
    namespace.cluster.kubectl(*everywhere, "--clusterrole=containerpolicy-observe")
    return namespace


def _bind(shop: Namespace, role: str) -> None:
    subject = f"--serviceaccount={shop.name}:auditor"
    shop.kubectl("create", "rolebinding", role, f"--clusterrole={role}", subject)


def _needs(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("could not look")]


def test_roles(shop: Namespace, tmp_path: Path) -> None:
    """With the role of a level nothing is missing that the level is for; without it, it is said."""
    try:
        without = _run(shop, tmp_path, "probe", "--cp-select=resources/limits-in-force")
        _bind(shop, "containerpolicy-probe")
        probed = _run(shop, tmp_path, "probe")
        _bind(shop, "containerpolicy-disrupt")
        disrupted = _run(
            shop,
            tmp_path,
            "disrupt",
            "--cp-select=upgrades/rollout-without-downtime",
            "--cp-select=upgrades/bad-revision-is-harmless",
            "--cp-select=upgrades/stops-in-time",
        )
    finally:
        shop.cluster.kubectl("delete", "clusterrolebinding", f"{shop.name}-observe")

    assert "needs the right to" in without
    assert [] == [line for line in _needs(probed) if "right to" in line or "403" in line]
    assert "limits-in-force" not in "".join(_needs(probed))
    assert [] == _needs(disrupted)
    assert "3 passed" in disrupted, disrupted

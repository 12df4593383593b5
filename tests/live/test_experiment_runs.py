"""Runs of an experiment of a user's own on the cluster: planned, restored, claimed, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import kubernetes_lease
from tests.live.conftest import Namespace
from tests.live.kubernetes_access import account, kubeconfig_for
from tests.live.relay import relay
from tests.live.served import laboratory, workload
from tests.live.workloads import workload_document
from tests.testbed.shell import wait_until

CONFTEST = """
import os, time
from collections.abc import Iterator
from pytest_containerpolicy.checks import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments import experiment
from pytest_containerpolicy.experiments.lab import Lab, undo
from pytest_containerpolicy.experiments.kubernetes_lab import workload_path
from pytest_containerpolicy.model.workload import Workload


def mark(lab, path, value):
    lab.patch(path, {"metadata": {"annotations": {"example.com/busy": value}}})


@undo
def unmark(lab, path):
    mark(lab, path, None)
    if "example.com/busy" in (lab.get(path)["metadata"].get("annotations") or {}):
        raise CannotLook("the annotation is still there")


@experiment("disrupt", "marks it as busy for a while")
def is_marked(workload: Workload, lab: Lab, seconds: float = 0.1) -> Iterator[Violation]:
    path = workload_path(workload)
    with lab.claim(workload), lab.undoing(unmark, f"{workload.ref} is marked", path=path):
        mark(lab, path, "yes")
        lab.say(f"marked {workload.ref}")
        time.sleep(seconds)
    lab.record(f"{workload.ref} was busy for {seconds:g} s\\nsecond line")
    if workload.name == "bad":
        yield Violation(found="a bad name", wanted="a good one")
"""
POLICY = """
id: upgrades/marked
title: t
summary: have a bad name
severity: low
platforms: [kubernetes]
evidence: measured
experiment: is_marked
params: {seconds: %s}
why: w.
fix: f.
"""
RUN = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--cp-pack=pack"]
WAIT = 30.0
OUTPUT = "output.txt"
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the experiment and its policy, and a state folder of its own.

    What was started there ends with the test: a run that outlives it would disturb the next try.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    _write_policy(tmp_path, 0.1)
    yield tmp_path
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def _write_policy(suite: Path, seconds: float) -> None:
    folder = suite / "pack" / "upgrades" / "marked"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(POLICY % seconds)


@pytest.fixture
def shop(namespace: Namespace) -> Iterator[Namespace]:
    """A namespace with two Deployments."""
    namespace.apply(_deployment("web"), _deployment("bad"))
    yield namespace
    namespace.cluster.kubectl("label", "namespace", namespace.name, "containerpolicy/disrupt-")


def _deployment(name: str) -> dict[str, Any]:
    container = {"name": "app", "image": "testbed/pause:1"}
    return workload_document(name, {"containers": [container]}, replicas=0)


def _arguments(namespace: Namespace, more: str = "", kubeconfig: Path | None = None) -> list[str]:
    cluster = namespace.cluster
    file = kubeconfig or cluster.kubeconfig
    uri = f"k8s://?kubeconfig={file}&namespace={namespace.name}{more}"
    return [*RUN, f"--cp-target={uri}", "--cp-select=upgrades/marked", "--cp-level=disrupt"]


def _run(suite: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=suite, capture_output=True, text=True, timeout=120)


def _marked(namespace: Namespace) -> list[str]:
    items = json.loads(namespace.kubectl("get", "deployments", "-o", "json"))["items"]
    return [
        item["metadata"]["name"]
        for item in items
        if "example.com/busy" in item["metadata"].get("annotations", {})
    ]


def _leases(namespace: Namespace) -> list[str]:
    return namespace.kubectl("get", "leases", "-o", "name").split()


def test_run(suite: Path, shop: Namespace) -> None:
    """What is disrupted is listed first, figures and findings follow, and nothing is left."""
    done = _run(suite, _arguments(shop))

    assert 1 == done.returncode, done.stdout
    plan = f"marks it as busy for a while: Deployment {shop.name}/bad, Deployment {shop.name}/web"
    assert done.stdout.index(plan) < done.stdout.index(f"marked Deployment {shop.name}/bad")
    assert "1 of 2 workloads have a bad name" in done.stdout
    assert f"Deployment {shop.name}/web was busy for 0.1 s" in done.stdout
    assert [] == _marked(shop) + _leases(shop)
    assert [] == list((suite / "state" / "containerpolicy").iterdir())


def test_dry_run(suite: Path, shop: Namespace) -> None:
    """A dry run shows what would be done to what, and does nothing."""
    version = shop.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}")
    done = _run(suite, [*_arguments(shop, "&workload=web"), "--cp-dry-run"])

    assert 0 == done.returncode, done.stdout
    assert f"marks it as busy for a while: Deployment {shop.name}/web\n" in done.stdout
    assert version == shop.kubectl(
        "get", "deployment", "web", "-o", "jsonpath={.metadata.resourceVersion}"
    )


def _start(suite: Path, shop: Namespace) -> subprocess.Popen[str]:
    """A run that is in the middle of its experiment on one workload."""
    _write_policy(suite, 60)
    return _begun(suite, shop, _arguments(shop, "&workload=web"))


def _begun(suite: Path, shop: Namespace, arguments: list[str]) -> subprocess.Popen[str]:
    """A run whose experiment has begun; what it prints is in `_printed`."""
    with (suite / OUTPUT).open("w") as output:
        process = subprocess.Popen(
            arguments,
            cwd=suite,
            stdout=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            text=True,
            # Whoever runs this suite in the background has told it to ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    STARTED.append(process)
    wait_until("the experiment has begun", lambda: bool(_marked(shop)), WAIT)
    return process


def _printed(suite: Path) -> str:
    return (suite / OUTPUT).read_text()


def test_interrupted_once(suite: Path, shop: Namespace) -> None:
    """Ctrl-C ends the experiment and restores."""
    process = _start(suite, shop)
    process.send_signal(signal.SIGINT)

    assert pytest.ExitCode.INTERRUPTED == process.wait(WAIT)
    assert [] == _marked(shop) + _leases(shop)


def test_killed(suite: Path, shop: Namespace) -> None:
    """What a killed run left the next run on that target puts right, and only that target's."""
    process = _start(suite, shop)
    process.kill()
    process.wait()
    assert ["web"] == _marked(shop)
    _write_policy(suite, 0.1)

    elsewhere = _run(suite, [*RUN, "--cp-level=probe", "--cp-target=manifests:pack"])
    assert "is marked: run `containerpolicy restore`" in elsewhere.stdout
    assert ["web"] == _marked(shop)

    done = _run(suite, _arguments(shop, "&workload=web"))
    assert 0 == done.returncode, done.stdout
    assert f"restored: Deployment {shop.name}/web is marked" in done.stdout
    assert [] == _marked(shop) + _leases(shop)


def test_restore_command(suite: Path, shop: Namespace) -> None:
    """`containerpolicy restore` lists and undoes; a change whose function is unknown is kept."""
    process = _start(suite, shop)
    process.kill()
    process.wait()
    command = [str(Path(sys.executable).with_name("containerpolicy")), "restore"]

    listed = _run(suite, [*command, "--list"])
    done = _run(suite, command)

    assert f"Deployment {shop.name}/web is marked" in listed.stdout
    # The undo function of the user's own experiment stands in conftest.py, which no command loads.
    assert 1 == done.returncode
    assert "not restored: Deployment" in done.stderr
    assert [] == _leases(shop)
    _write_policy(suite, 0.1)
    assert 0 == _run(suite, _arguments(shop, "&workload=web")).returncode
    assert [] == _marked(shop)


def test_other_environment_is_not_touched(suite: Path, shop: Namespace) -> None:
    """What was changed on one environment is not undone on another one of the same name."""
    process = _start(suite, shop)
    process.kill()
    process.wait()
    journal = next((suite / "state" / "containerpolicy").glob("*.jsonl"))
    journal.write_text(journal.read_text().replace('"identity":"', '"identity":"other-'))

    done = _run(suite, _arguments(shop, "&workload=web"))

    assert pytest.ExitCode.USAGE_ERROR == done.returncode
    assert "leads to another environment now" in done.stdout + done.stderr
    assert ["web"] == _marked(shop)


def test_two_runs(suite: Path, shop: Namespace) -> None:
    """A workload that one run disrupts another run does not touch."""
    process = _start(suite, shop)
    second = suite / "second"
    second.mkdir()
    (second / "conftest.py").write_text(CONFTEST)
    _write_policy(second, 0.1)

    done = _run(second, _arguments(shop, "&workload=web"))

    assert 1 == done.returncode
    assert f"Deployment {shop.name}/web is being disrupted by run" in done.stdout
    process.send_signal(signal.SIGINT)
    process.wait(WAIT)


def test_server_away_while_restoring(suite: Path, shop: Namespace) -> None:
    """An API server that is away for seconds leaves nothing changed, and the verdict stands."""
    _write_policy(suite, 10)
    with relay(shop.cluster.server) as between:
        changes: dict[str, object] = {"server": between.url, "tls-server-name": "kubernetes"}
        kubeconfig = kubeconfig_for(shop.cluster, suite, changes=changes)
        arguments = _arguments(shop, "&workload=web", kubeconfig)
        process = _begun(suite, shop, arguments)
        between.cut()
        retries = f"trying again for 60 s: Deployment {shop.name}/web is marked"
        wait_until("the run misses the server", lambda: retries in _printed(suite), WAIT)
        time.sleep(3)
        between.mend()
        process.wait(60)

    assert 0 == process.returncode, _printed(suite)
    assert [] == _marked(shop) + _leases(shop)


def test_interrupted_and_not_restored(suite: Path, shop: Namespace) -> None:
    """Ctrl-C ends the run even if its undo fails: no other workload is touched after it."""
    broken = CONFTEST.replace(
        "def unmark(lab, path):", "def unmark(lab, path):\n    raise CannotLook('no')"
    )
    (suite / "conftest.py").write_text(broken)
    _write_policy(suite, 60)
    process = _begun(suite, shop, _arguments(shop))
    process.send_signal(signal.SIGINT)

    assert pytest.ExitCode.INTERRUPTED == process.wait(WAIT)
    assert f"not restored: Deployment {shop.name}/bad is marked: no;" in _printed(suite)
    assert ["bad"] == _marked(shop)


def test_lease_is_renewed(shop: Namespace, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim holds as long as its run, however short its lease; a dead run's ends by itself."""
    monkeypatch.setattr(kubernetes_lease, "_SECONDS", 3)
    with laboratory(shop) as lab, laboratory(shop) as other:
        web = workload(lab, "web")
        with lab.claim(web):
            time.sleep(5)
            with pytest.raises(CannotLook, match="is being disrupted by run"), other.claim(web):
                pass
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kubernetes_lease, "_RENEWALS", 0.1)
            with lab.claim(web):
                time.sleep(5)
                with other.claim(web):
                    assert 1 == len(_leases(shop))
                assert [] == _leases(shop)


def test_protected_namespace(suite: Path, shop: Namespace) -> None:
    """A namespace that is labelled so is left alone, and that is no pass."""
    label = ("label", "namespace", shop.name, "containerpolicy/disrupt=false")
    shop.cluster.kubectl(*label)

    done = _run(suite, _arguments(shop))

    assert 1 == done.returncode
    assert f"namespace {shop.name} is labelled containerpolicy/disrupt=false" in done.stdout
    assert "1 error" in done.stdout


def test_without_the_right(suite: Path, shop: Namespace) -> None:
    """A 403 is not evaluated, names the right, and leaves nothing."""
    cluster = shop.cluster
    token = account(shop, "reader")
    reader = f"--serviceaccount={shop.name}:reader"
    cluster.kubectl("create", "clusterrolebinding", shop.name, "--clusterrole=view", reader)
    try:
        kubeconfig = kubeconfig_for(cluster, suite, {"token": token})
        done = _run(suite, _arguments(shop, kubeconfig=kubeconfig))
    finally:
        cluster.kubectl("delete", "clusterrolebinding", shop.name)

    assert 1 == done.returncode
    assert "needs the right to POST /apis/coordination.k8s.io/v1/namespaces" in done.stdout
    assert "1 error" in done.stdout
    assert [] == list((suite / "state" / "containerpolicy").glob("*.jsonl"))


def test_interrupted_twice(suite: Path, shop: Namespace) -> None:
    """A second Ctrl-C leaves the rest to the next run, which finds it in the journal."""
    slow = CONFTEST.replace("def unmark(lab, path):", "def unmark(lab, path):\n    time.sleep(5)")
    (suite / "conftest.py").write_text(slow)
    process = _start(suite, shop)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)

    assert pytest.ExitCode.INTERRUPTED == process.wait(WAIT)
    assert ["web"] == _marked(shop)
    (suite / "conftest.py").write_text(CONFTEST)
    _write_policy(suite, 0.1)
    assert 0 == _run(suite, _arguments(shop, "&workload=web")).returncode
    assert [] == _marked(shop)

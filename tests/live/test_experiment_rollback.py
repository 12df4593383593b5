"""Bad revisions tried on real workloads: who notices, and whether they are really taken back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_containerpolicy.checks.registry import Judgement
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab
from pytest_containerpolicy.experiments.registry import find_experiment
from pytest_containerpolicy.experiments.restore import restore
from pytest_containerpolicy.experiments.rollback import rehearse_rollback
from pytest_containerpolicy.targets.uri import Timeouts
from tests.live.conftest import Namespace
from tests.live.rewriting import SOLE_PODS, TEMPLATES, rewritten
from tests.live.served import DELAY, laboratory, model_of, rolled_out, served, workload

SECONDS = 3
IMAGE = "testbed/server:1"
SAFE = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
KILLED = """
import sys
from pytest_containerpolicy.experiments.lab import LabOptions, open_lab
from pytest_containerpolicy.experiments.rollback import rehearse_rollback
from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.readings import take_inventory
from pytest_containerpolicy.targets.uri import Timeouts, parse_target

target = parse_target(sys.argv[1])
options = LabOptions(level="disrupt", prober_image="testbed/python:1", progress=print)
lab = open_lab(target, Timeouts(), options)
[found] = build_model(take_inventory(target, Timeouts())).all(Workload)
rehearse_rollback(found, lab, seconds=300)
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A journal of its own for each test, with nothing left in it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    assert [] == list((tmp_path / "state" / "containerpolicy").glob("*.jsonl"))


def test_harmless(namespace: Namespace) -> None:
    """A Deployment that starts new pods first goes on serving, and is as it was."""
    rolled_out(namespace, served("web", grace=8, lifecycle=DELAY, strategy=SAFE))
    with laboratory(namespace) as lab:
        rehearsal = rehearse_rollback(workload(lab, "web"), lab, seconds=SECONDS)

    assert rehearsal, rehearsal
    assert (2, 2, ()) == (
        rehearsal.revision.before,
        rehearsal.revision.fewest_ready,
        rehearsal.revision.stops,
    )
    assert "ErrImagePull" in str(rehearsal)
    _require_as_before(namespace, "deployment", "web")


def test_recreate(namespace: Namespace) -> None:
    """With Recreate nobody is left to serve, and that is what the finding says."""
    rolled_out(namespace, served("web", grace=1, strategy={"type": "Recreate"}))
    with laboratory(namespace) as lab:
        judgement = _judge(lab)

    assert [] == judgement.gaps
    [finding] = judgement.findings
    assert "requests failed" in finding.violation.found
    assert "Recreate stops all pods before it starts new ones" in finding.violation.why
    _require_as_before(namespace, "deployment", "web")


def test_stateful_set(namespace: Namespace) -> None:
    """A StatefulSet waits for its broken pod for ever: it is deleted, and the report says so."""
    rolled_out(namespace, served("db", "StatefulSet", grace=8, lifecycle=DELAY))
    with laboratory(namespace) as lab:
        rehearsal = rehearse_rollback(workload(lab, "db"), lab, seconds=SECONDS)
        assert "deleted pod db-1: a StatefulSet waits for its broken pods" in lab.figures

    assert rehearsal, rehearsal
    assert (2, 1, 1) == (
        rehearsal.revision.before,
        rehearsal.revision.fewest_ready,
        rehearsal.guaranteed,
    )
    _require_as_before(namespace, "statefulset", "db")


def test_daemon_set(namespace: Namespace) -> None:
    """A DaemonSet loses the pod of one node and gets it back."""
    rolled_out(namespace, served("agent", "DaemonSet", grace=8, lifecycle=DELAY))
    with laboratory(namespace) as lab:
        rehearsal = rehearse_rollback(workload(lab, "agent"), lab, seconds=SECONDS)

    assert rehearsal, rehearsal
    assert 1 == rehearsal.revision.before - rehearsal.revision.fewest_ready
    _require_as_before(namespace, "daemonset", "agent")


def test_killed_run(namespace: Namespace) -> None:
    """What a run that was killed left behind, its successor takes back."""
    rolled_out(namespace, served("web", grace=1, strategy=SAFE))
    uri = f"k8s://?kubeconfig={namespace.cluster.kubeconfig}&namespace={namespace.name}"
    program = [sys.executable, "-u", "-c", KILLED, uri]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        line = next(text for text in run.stdout if "bad revision" in text)
        run.send_signal(signal.SIGKILL)
    assert "stuck" in line
    assert "containerpolicy.invalid" in _image(namespace, "deployment", "web")

    assert [] == restore(Timeouts(), lambda _: None)
    _require_as_before(namespace, "deployment", "web")


def test_image_changed_meanwhile(namespace: Namespace) -> None:
    """An image that somebody else sets meanwhile stays, and nothing is judged."""
    rolled_out(namespace, served("web", grace=1, strategy=SAFE))
    change = ("set", "image", "deployment/web", "app=testbed/distroless:1")

    def listen(text: str) -> None:
        if "bad revision" in text:
            namespace.kubectl(*change)

    with laboratory(namespace, progress=listen) as lab:
        judgement = _judge(lab)

    [gap] = judgement.gaps
    assert "was changed by somebody else meanwhile" in gap
    assert "testbed/distroless:1" == _image(namespace, "deployment", "web")


def test_image_that_admission_changes_in_templates(namespace: Namespace) -> None:
    """Where our image would be stored under another name it is not set at all, and that is said."""
    rolled_out(namespace, served("web", grace=1, strategy=SAFE))
    before = namespace.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec}")
    with rewritten(namespace, TEMPLATES), laboratory(namespace) as lab:
        judgement = _judge(lab)

    [gap] = judgement.gaps
    assert "admission changes 'containerpolicy.invalid/never:" in gap
    assert "to 'registry.invalid/never:" in gap
    assert before == namespace.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec}")


def test_image_that_admission_changes_in_pods(namespace: Namespace) -> None:
    """A StatefulSet whose pods get another image than their template is freed of the broken one."""
    rolled_out(namespace, served("db", "StatefulSet", grace=8, lifecycle=DELAY))
    with rewritten(namespace, SOLE_PODS), laboratory(namespace) as lab:
        rehearsal = rehearse_rollback(workload(lab, "db"), lab, seconds=SECONDS)
        assert "deleted pod db-1: a StatefulSet waits for its broken pods" in lab.figures

    assert "registry.invalid/never:" in str(rehearsal)
    _require_as_before(namespace, "statefulset", "db")


def _judge(lab: KubernetesLab) -> Judgement:
    check = find_experiment("bad_revision_is_harmless").using(lab)
    return check.judge(model_of(lab), {"seconds": SECONDS})


def _image(namespace: Namespace, kind: str, name: str) -> str:
    found: dict[str, Any] = json.loads(namespace.kubectl("get", kind, name, "-o", "json"))
    image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def _require_as_before(namespace: Namespace, kind: str, name: str) -> None:
    assert IMAGE == _image(namespace, kind, name)
    namespace.kubectl("rollout", "status", f"{kind}/{name}", "--timeout=1s")
    assert "" == namespace.kubectl("get", "leases,pods", "-l", "containerpolicy/run", "-o", "name")

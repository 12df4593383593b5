"""How stops and crashes of pods are told apart, from their documents."""

from __future__ import annotations

from typing import Any, cast

import pytest

from pytest_containerpolicy.experiments import kubernetes_crashing
from pytest_containerpolicy.experiments.kubernetes_lab import KubernetesLab, Refused
from pytest_containerpolicy.experiments.kubernetes_watch import Life
from pytest_containerpolicy.experiments.replacement import Stop
from pytest_containerpolicy.experiments.stops import GracefulStop


def _pod(**status: Any) -> dict[str, Any]:
    ended = {"exitCode": 137, **status.pop("ended", {})}
    return {
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u"},
        "spec": {"terminationGracePeriodSeconds": 10, "containers": [{"name": "app"}]},
        "status": {
            "containerStatuses": [{"name": "app", "state": {"terminated": ended}, **status}]
        },
    }


@pytest.mark.parametrize(
    ("seconds", "status", "killed"),
    [
        (10.4, {}, True),
        (9.3, {}, True),
        (0.5, {}, False),
        (0.5, {"stopSignal": "SIGKILL"}, True),
        (10.4, {"ended": {"reason": "OOMKilled"}}, False),
        (10.4, {"ended": {"exitCode": 0}}, False),
    ],
)
def test_who_killed_it(seconds: float, status: dict[str, Any], killed: bool) -> None:
    """137 is the kubelet's doing once the grace period is over; before, it is the program's own."""
    stop = Life(_pod(**status), told=100.0, ended=100.0 + seconds).stop

    assert stop is not None
    assert killed is stop.killed


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (None, "no request was held open meanwhile: give slow_path"),
        ("", "the request that it had open: finished"),
    ],
)
def test_what_was_not_tried_is_said(request_: str | None, words: str) -> None:
    """The figures tell a request that was finished from one that never was."""
    stop = Stop(name="web-0", seconds=1.0, codes={"app": 0}, killed=False)

    assert words in str(GracefulStop("Deployment web", 10, stop, request_, 2.0))


class _Refusing:
    def __init__(self, status: int) -> None:
        self._status = status

    def execute(self, *args: Any, **options: Any) -> None:
        raise Refused("exec in pod shop/web-0: refused", self._status, "refused")


@pytest.mark.parametrize(("status", "problem"), [(403, True), (0, False), (500, False)])
def test_exec_that_ends_with_the_container(
    monkeypatch: pytest.MonkeyPatch, status: int, problem: bool
) -> None:
    """A connection that breaks is the kill's own doing; one that is forbidden kills nothing."""
    monkeypatch.setattr(kubernetes_crashing, "_beside", lambda *_: "debugger")
    pod = _pod(containerID="containerd://c0ffee")
    lab = cast(KubernetesLab, _Refusing(status))

    found = kubernetes_crashing._kill(lab, pod, {"name": "app"}, lambda: None)

    assert ("exec in pod shop/web-0: refused" if problem else "") == found

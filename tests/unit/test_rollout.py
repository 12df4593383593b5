"""What follows from a measured rollout: causes, violations, and when nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_containerpolicy.checks.registry import Violation
from pytest_containerpolicy.errors import CannotLook
from pytest_containerpolicy.experiments.availability import Budget, Caveats
from pytest_containerpolicy.experiments.kubernetes_vantage import entrance_of
from pytest_containerpolicy.experiments.measurement import Measurement, Tick, measured
from pytest_containerpolicy.experiments.replacement import Replacement, Stop
from pytest_containerpolicy.experiments.rollout import Rollout
from pytest_containerpolicy.experiments.rollout_causes import causes_of
from pytest_containerpolicy.experiments.viewpoint import Viewpoint, caveats_of, likely_paths
from pytest_containerpolicy.model.workload import Workload
from tests.kubernetes_models import model_of_text, workload_named

RATE = 100.0
WEB = """\
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: app, ports: [{{containerPort: 8080, name: www}}], {container}}}]}}
  {spec}
"""
SERVICE = """\
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {{app: web}}, clusterIP: {ip}, ports: {ports}}}
"""
GATE = "readinessProbe: {httpGet: {path: /readyz, port: 8080}}"
DELAY = "lifecycle: {preStop: {sleep: {seconds: 5}}}"


def _web(container: str = GATE, spec: str = "replicas: 2", *services: str) -> Workload:
    text = WEB.format(spec=spec, container=container)
    shown = services or (_service("web", "[{port: 80, targetPort: 8080}]"),)
    return workload_named(model_of_text(text + "".join(shown)), "web")


def _service(name: str, ports: str, ip: str = "10.0.0.1") -> str:
    return SERVICE.format(name=name, ports=ports, ip=ip)


def _measurement(failures: Sequence[str], late: float = 0.0) -> Measurement:
    ticks = [Tick(n / RATE, 0.0, 0.002, failure) for n, failure in enumerate(failures)]
    if late:
        ticks.append(Tick(len(ticks) / RATE, late, 0.002, ""))
    return measured(
        ticks,
        vantage="through service shop/web",
        rate=RATE,
        connections="new",
        started=0.0,
        duration=len(ticks) / RATE + late,
    )


def _replaced(seconds: float = 0.3, *, killed: bool = False, **changes: Any) -> Replacement:
    codes = {"app": 137 if killed else 0}
    stop = Stop(name="web-1", seconds=seconds, codes=codes, killed=killed)
    return Replacement(seconds=12.4, copies=2, completed=True, stops=(stop,), **changes)


def _causes(workload: Workload, replacement: Replacement, *failures: str) -> list[str]:
    found = _measurement(["", *failures, ""])
    return [cause.text for cause in causes_of(workload, replacement, found)]


def test_no_failure_has_no_cause() -> None:
    """Where nothing failed nothing is explained, whatever is declared."""
    assert [] == _causes(_web("image: web"), _replaced())


def test_gone_before_the_endpoints_knew() -> None:
    """Lost connections and pods that ended at once, without and with a hook that is too short."""
    lost = "pods were gone before the endpoints knew: "
    assert [f"{lost}no preStop, the process exits on SIGTERM (exit 0 after 0.3 s)"] == _causes(
        _web(), _replaced(), "refused", "timeout"
    )
    short = "lifecycle: {preStop: {sleep: {seconds: 1}}}"
    assert [
        f"{lost}the preStop hook and the process are over too soon (exit 0 after 1.2 s)"
    ] == _causes(_web(f"{GATE}, {short}"), _replaced(1.2), "refused")


def test_killed_before_the_endpoints_knew() -> None:
    """A program that does not end by itself is gone with its grace period."""
    short = "killed at the end of a grace period that is too short (exit 137 after 1.1 s)"
    assert [f"pods were gone before the endpoints knew: {short}"] == _causes(
        _web(), _replaced(1.1, killed=True), "timeout"
    )


def test_no_readiness_probe() -> None:
    """Failing answers, and a container that nothing gates."""
    assert ["no readiness probe: requests reach pods that can't answer yet"] == _causes(
        _web(DELAY), _replaced(5.2), "503"
    )


def test_probe_too_early() -> None:
    """Failing answers in spite of a probe: it says what is not so."""
    assert ["pods answer with 503 while they count as ready"] == _causes(
        _web(f"{GATE}, {DELAY}"), _replaced(5.2), "503"
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("strategy: {type: Recreate}", "Recreate stops all pods before it starts new ones"),
        ("replicas: 1", "its only pod stops before the next one serves"),
        (
            "strategy: {rollingUpdate: {maxUnavailable: 100%}}\n  replicas: 2",
            "RollingUpdate lets all pods be away at once",
        ),
    ],
)
def test_all_away_at_once(spec: str, expected: str) -> None:
    """When no pod was ready, the strategy or the count of pods is to blame first."""
    found = _causes(_web(GATE, spec), _replaced(5.0, without_ready=3.2), "refused")
    assert [f"{expected}: no pod was ready for 3.2 s"] == found


def test_report() -> None:
    """A rollout's text has what, figures, why and what mends it, in at most 80 columns."""
    found = _measurement(["", "refused", ""])
    causes = causes_of(_web(), _replaced(), found)
    text = str(
        Rollout(
            workload="Deployment shop/web",
            replacement=_replaced(),
            measurement=found,
            causes=causes,
        )
    )
    assert "rollout of Deployment shop/web: 12.4 s, 2 replaced" == text.splitlines()[0]
    assert "  fix  lifecycle: {preStop: {sleep: {seconds: 5}}}" == text.splitlines()[-1]
    assert max(map(len, text.splitlines())) <= 80


def test_budget() -> None:
    """Failures beyond the budget, or too long a gap within it, are violations."""
    found = _measurement(["", "refused", "503", ""])
    assert [] == list(Budget(2).violations(found, "p", "w"))
    assert [
        Violation(
            found="2 of 4 requests failed (1 refused, 1 503), for 20 ms at the longest",
            wanted="at most 1",
            path="p",
            why="w",
        )
    ] == list(Budget(1).violations(found, "p", "w"))
    [gap] = Budget(2, longest_gap_ms=10).violations(found, "p", "w")
    assert ("nobody was served for 20 ms", "at most 10 ms") == (gap.found, gap.wanted)


@pytest.mark.parametrize(
    ("caveats", "failures", "late", "gap"),
    [
        (Caveats(), [""], 0.0, ""),
        (Caveats(), [""], 1.5, "held up for 1.5 s at a stretch"),
        (Caveats(unseen="later"), [""], 0.0, "but later"),
        (Caveats(unseen="later"), ["refused"], 0.0, ""),
        (Caveats(doubtful="on purpose"), ["503"], 0.0, "on purpose"),
        (Caveats(doubtful="on purpose"), ["503", "refused"], 0.0, ""),
        (Caveats(doubtful="on purpose"), [""], 0.0, ""),
    ],
)
def test_caveats(caveats: Caveats, failures: list[str], late: float, gap: str) -> None:
    """No pass where failures stay unseen, no failure where an answer may be meant so."""
    found = _measurement(["", *failures, ""], late)
    if not gap:
        caveats.require_conclusive(found, Budget())
        return
    with pytest.raises(CannotLook, match=gap):
        caveats.require_conclusive(found, Budget())


def test_blind_for_a_share_of_the_time() -> None:
    """Many short stalls hide as much as one long one, and are no pass; a few are."""
    stalled, fine = (
        _figures([Tick(s + n / RATE, 0.0, 0.002, "") for s in range(10) for n in range(sent)])
        for sent in (10, 98)
    )

    Caveats().require_conclusive(fine, Budget())
    with pytest.raises(CannotLook, match=r"held up for 9\.0 of 10\.0 s in all"):
        Caveats().require_conclusive(stalled, Budget())


def test_requests_that_were_not_sent() -> None:
    """At a high rate requests that were never sent leave short steps, and still are no pass."""
    ticks = [Tick(n / 1000, 0.0, 0.002, "unsent" if n % 2 else "") for n in range(10_000)]

    with pytest.raises(CannotLook, match="did not send 5000 of 10000 requests"):
        Caveats().require_conclusive(_figures(ticks, rate=1000), Budget())


def _figures(ticks: Sequence[Tick], rate: float = RATE) -> Measurement:
    return measured(ticks, vantage="v", rate=rate, connections="new", started=0.0, duration=10.0)


PROBED = "livenessProbe: {httpGet: {path: /livez, port: 8080}}, " + GATE


def test_paths() -> None:
    """A readiness probe's path is the last that is asked for, and what it answers is doubtful."""
    workload = _web(PROBED)
    assert ("/", "/livez", "/readyz") == likely_paths(workload)
    base = Viewpoint(text="", bases=("http://10.0.0.1:80",))
    found = [
        bool(caveats_of(base, workload, f"http://10.0.0.1:80{path}", chosen).doubtful)
        for path, chosen in (("/", ""), ("/livez", ""), ("/readyz", ""), ("/readyz", "/readyz"))
    ]
    assert [False, False, True, False] == found


def test_entrance() -> None:
    """The port that a probe asks by HTTP is where clients come in; a headless service is last."""
    ports = "[{port: 9000, targetPort: 9000, name: metrics}, {port: 80, targetPort: www, name: x}]"
    headless = _service("pods", "[{port: 80, targetPort: 8080}]", "None")
    entrance = entrance_of(_web(GATE, "replicas: 2", headless, _service("web", ports)))
    assert ("service shop/web", 80, True) == (entrance.name, entrance.number, entrance.is_http)
    assert ("http", "https") == entrance.schemes


def test_headless_entrance() -> None:
    """The name of a headless service leads to the pods' own port; without a probe TCP will do."""
    headless = _service("pods", "[{port: 80, targetPort: www}]", "None")
    entrance = entrance_of(_web("image: web", "replicas: 2", headless))
    assert ("pods.shop.svc", 8080) == (entrance.host, entrance.number)
    assert ("http", "https", "tcp") == entrance.schemes


def test_no_entrance() -> None:
    """Without a TCP port of a service it takes a URL."""
    udp = _service("web", "[{port: 53, protocol: UDP}]")
    with pytest.raises(CannotLook, match="--cp-url shop/web=URL"):
        entrance_of(_web(GATE, "replicas: 2", udp))

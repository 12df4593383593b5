"""Recorded outputs of `look.sh`, and copies of containers to go with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_containerpolicy.experiments.inside.copies import Copy
from pytest_containerpolicy.experiments.inside.survey import parse_sections
from pytest_containerpolicy.experiments.inside.vitals import Vitals, parse_vitals
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.workload import Workload
from pytest_containerpolicy.targets.inventory import Header, Platform
from pytest_containerpolicy.targets.kubernetes_exec import Output

RECORDED = Path(__file__).parent / "recorded" / "inside"


def recorded(name: str, copy: Copy | None = None) -> Vitals:
    """What was read in a real container."""
    text = (RECORDED / f"{name}.txt").read_text()
    return parse_vitals(copy or engine_copy(), parse_sections(Output(0, text, "")))


def engine_copy(host: dict[str, Any] | None = None, **config: Any) -> Copy:
    """A container of an engine, with parts of its `HostConfig` and `Config`."""
    document = {"Id": "1", "HostConfig": host or {}, "Config": config}
    return Copy(container=_container("docker"), name="container web", document=document, status={})


def pod_copy(
    container: dict[str, Any] | None = None,
    pod: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    conditions: tuple[dict[str, str], ...] = (),
) -> Copy:
    """A container of a pod, with parts of its spec, of the pod's spec, and its status."""
    spec = {"containers": [{"name": "app", **(container or {})}], **(pod or {})}
    return Copy(
        container=_container("kubernetes"),
        name="pod web-1",
        document={"spec": spec, "status": {"conditions": list(conditions)}},
        status=status or {},
    )


def task_copy(limits: dict[str, int], failed: tuple[dict[str, Any], ...] = ()) -> Copy:
    """A task of a Swarm service, with its limits and the failed ones before it."""
    task = {"Spec": {"Resources": {"Limits": limits}}}
    return Copy(
        container=_container("swarm"),
        name="task web.1",
        document={"Id": "1"},
        status={},
        task=task,
        failed=failed,
    )


def _container(platform: Platform) -> Container:
    model = Model(Header(target="test", platform=platform), {})
    workload = Workload(
        ref=ObjectRef(kind="service", name="web"), model=model, platform=platform, labels={}
    )
    return Container(name="app", path="", workload=workload)

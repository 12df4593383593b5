"""Kubernetes objects as text, and what is looked up in their model."""

from __future__ import annotations

import yaml

from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload
from tests.kubernetes_values import model_of

# For `str.format(spec=...)`.
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: lonely, namespace: shop}}
spec:
  {spec}
"""


def controller(kind: str, spec: str) -> str:
    """A workload `shop/web` of that kind with one container; the spec is added as YAML fields."""
    version = "argoproj.io/v1alpha1" if kind == "Rollout" else "apps/v1"
    template = "{metadata: {labels: {app: web}}, spec: {containers: [{name: app}]}}"
    fields = f"{spec}, " if spec else ""
    return (
        f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: web, namespace: shop}},"
        f" spec: {{{fields}template: {template}}}}}"
    )


def model_of_text(text: str, *, live: bool = False) -> Model:
    """The model of YAML documents as files declare them, or as an API server gives them."""
    return model_of(yaml.safe_load_all(text), live=live)


def workload_named(model: Model, name: str) -> Workload:
    """The first workload by that name in any namespace."""
    return next(workload for workload in model.all(Workload) if workload.name == name)


def container_named(model: Model, name: str) -> Container:
    """The first container by that name in any workload."""
    return next(container for container in model.all(Container) if container.name == name)

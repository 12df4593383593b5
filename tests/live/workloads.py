"""Documents of workloads for a real cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def workload_document(
    name: str, pod: Mapping[str, Any], *, kind: str = "Deployment", **spec: Any
) -> dict[str, Any]:
    """A workload with pods of a spec, all labelled `app: NAME`; `spec` is added to its own."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": dict(pod)}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }

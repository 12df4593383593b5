"""A policy's patches, applied: each must mend what the policy found in its own examples.

A patch is a merge patch of the object that a finding is about (on Kubernetes of the container, if
it is about one): mappings merge, lists of named things merge by name, `null` removes, the rest is
replaced.
"""

import re
from typing import Any

import yaml

from pytest_containerpolicy.checks.registry import Finding
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def merge(document: Any, patch: Any) -> Any:
    """What a document becomes under a merge patch; neither is changed."""
    if isinstance(patch, dict):
        base = document if isinstance(document, dict) else {}
        merged = {key: value for key, value in base.items() if patch.get(key, value) is not None}
        changed = {k: merge(base.get(k), value) for k, value in patch.items() if value is not None}
        return merged | changed
    if _is_named(document) and _is_named(patch):
        changes = {item["name"]: item for item in patch}
        merged_list = [merge(item, changes.pop(item["name"], {})) for item in document]
        return [*merged_list, *changes.values()]
    return patch


def mend(content: list[Any], findings: tuple[Finding, ...], model: Model, patch: Any) -> list[Any]:
    """The documents of an example, patched at every finding."""
    for finding in findings:
        content = [_mended(document, finding, model, patch) for document in content]
    return content


def dump(content: list[Any]) -> str:
    """Documents as a YAML file."""
    return yaml.safe_dump_all(content, sort_keys=False)


def _mended(document: Any, finding: Finding, model: Model, patch: Any) -> Any:
    path = _object_path(document, finding, model.platform)
    return (
        document
        if path is None
        else _at(document, [*path, *_container_path(finding, model)], patch)
    )


def _object_path(document: Any, finding: Finding, platform: str) -> list[str | int] | None:
    """The way from a document of an example to the object of a finding; None if it is not there."""
    name = finding.ref.name
    match platform:
        case "compose":
            return ["services", name]
        case "docker":
            return ["containers", _index(document["containers"], "Name", f"/{name}")]
        case "swarm":
            specs = [service["Spec"] for service in document["services"]]
            return ["services", _index(specs, "Name", name)]
    metadata = document["metadata"]
    found = (document["kind"], metadata["name"], metadata.get("namespace", "default"))
    return [] if found == (finding.ref.kind, name, finding.ref.namespace) else None


def _index(items: list[Any], key: str, value: str) -> int:
    return [item[key] for item in items].index(value)


def _container_path(finding: Finding, model: Model) -> list[str | int]:
    if not finding.container:
        return []
    workload = next(w for w in model.all(Workload) if w.ref == finding.ref)
    container = next(c for c in workload.containers if c.name == finding.container)
    return [name or int(number) for name, number in _STEP.findall(container.path)]


def _at(document: Any, path: list[str | int], patch: Any) -> Any:
    if not path:
        return merge(document, patch)
    step, *rest = path
    if isinstance(step, int):
        return [_at(item, rest, patch) if n == step else item for n, item in enumerate(document)]
    return {**document, step: _at(document.get(step, {}), rest, patch)}


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(i, dict) and "name" in i for i in value)

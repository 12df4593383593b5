"""Kubernetes objects to models, and models to values that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pytest_containerpolicy.model.build import build_model
from pytest_containerpolicy.model.container import Container
from pytest_containerpolicy.model.from_kubernetes import SOURCES
from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.targets.inventory import Header, Inventory
from pytest_containerpolicy.targets.kubernetes_documents import BY_NAME
from pytest_containerpolicy.targets.yaml_files import load_documents
from tests.nouns import values

# What the server decides, or what only files can tell.
NOT_COMPARED = {
    "file",
    "line",
    "node_port",
    "cluster_ip",
    "phase",
    "disruptions_allowed",
    "used",
    "storage_class_name",
    "replicas_declared",
}


def objects_of(file: Path) -> list[dict[str, Any]]:
    """The objects of a file whose kinds the model reads; nodes are nobody's to declare."""
    contents = (document.content for document in load_documents(file))
    items = (item for content in contents for item in content.get("items", [content]))
    return [item for item in items if item.get("kind") in BY_NAME and item["kind"] != "Node"]


def model_of(objects: Iterable[dict[str, Any]], *, live: bool) -> Model:
    """The model of some objects as an API server gives them, or as files do."""
    documents: dict[str, list[Any]] = {}
    for item in objects:
        kind = BY_NAME[item["kind"]]
        documents.setdefault(kind.plural, []).append(msgspec.convert(item, kind.type))
    header = Header(target="test", platform="kubernetes", live=live)
    return build_model(Inventory(header, documents))


def values_of(model: Model) -> dict[str, Any]:
    """Every value of every object by its path, so that a difference names itself."""
    assert () == model.header.unreadable
    pairs: dict[str, Any] = {}
    for noun in SOURCES.keys() - {Container}:
        objects: tuple[Any, ...] = model.all(noun)
        for found in objects:
            pairs |= _flat(f"{noun.__name__} {found.ref}", values(found, NOT_COMPARED))
    return pairs


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name in value:
            yield from _flat(f"{path}.{name}", value[name])
    elif isinstance(value, list):
        yield path, len(value)
        for index, item in enumerate(value):
            yield from _flat(f"{path}[{index}]", item)
    else:
        yield path, value

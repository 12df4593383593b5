"""The values of the model's nouns, without what refers back, so that two models can be compared."""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from pytest_containerpolicy.model.model import Model
from pytest_containerpolicy.model.workload import Workload

_BACK_REFERENCES = ("model", "workload")


def values(noun: Any, without: Collection[str] = ()) -> Any:
    """A noun and everything in it as plain values, less the fields named in `without`."""
    if isinstance(noun, Struct):
        return {
            name: values(getattr(noun, name), without)
            for name in noun.__struct_fields__
            if name not in (*_BACK_REFERENCES, *without)
        }
    if isinstance(noun, tuple | list):
        return [values(item, without) for item in noun]
    return noun


def workload_values(model: Model, without: Collection[str] = ()) -> dict[str, Any]:
    """The values of a model's workloads by name."""
    return {workload.name: values(workload, without) for workload in model.all(Workload)}

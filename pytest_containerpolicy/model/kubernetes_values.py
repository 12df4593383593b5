"""What Kubernetes objects have in common: references, selectors, amounts."""

from collections.abc import Mapping
from typing import Any

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.model.cluster import Amount
from pytest_containerpolicy.model.quantities import quantity, whole_bytes
from pytest_containerpolicy.model.refs import ObjectRef
from pytest_containerpolicy.model.selectors import Requirement, Selector
from pytest_containerpolicy.targets.kubernetes_pods import (
    KubernetesObject,
    LabelSelector,
    Quantity,
    SelectorRequirement,
)

_LABEL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_NODE_OPERATORS = (*_LABEL_OPERATORS, "Gt", "Lt")


def ref_of(kind: str, found: KubernetesObject) -> ObjectRef:
    """How an object is named in findings."""
    metadata, origin = found.metadata, found.origin
    return ObjectRef(
        kind=kind,
        name=metadata.name,
        namespace=metadata.namespace,
        file=origin.file if origin else "",
        line=origin.line if origin else 0,
    )


def selector_of(found: LabelSelector | None) -> Selector | None:
    """A label selector, or None where there is none. Raises `UsageError` for a bad operator."""
    if found is None:
        return None
    equal = Selector.of(found.match_labels or {}).requirements
    return Selector(equal + requirements(found.match_expressions, _LABEL_OPERATORS))


def requirements(
    found: list[SelectorRequirement] | None, operators: tuple[str, ...] = _NODE_OPERATORS
) -> tuple[Requirement, ...]:
    """Conditions on labels or on nodes. Raises `UsageError` for an operator that is not allowed."""
    for requirement in found or ():
        if requirement.operator not in operators:
            allowed = ", ".join(operators)
            raise UsageError(
                f"operator {requirement.operator!r} of a selector (allowed: {allowed})"
            )
    return tuple(Requirement(r.key, r.operator, tuple(r.values or ())) for r in found or ())


def count_of(value: int | str, path: str) -> Amount:
    """A count or a percentage as written. Raises `UsageError`, naming the path, for other text."""
    if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdigit()):
        raise UsageError(f"{path}: {value!r} is neither a count nor a percentage such as 25%")
    return value


def bytes_in(amounts: Mapping[str, Quantity] | None, name: str, path: str) -> int | None:
    """The bytes of one entry. Raises `UsageError`, naming the path, if it is not a quantity."""
    value = amounts.get(name) if amounts else None
    return None if value is None else _convert(whole_bytes, value, f"{path}.{name}")


def number_in(amounts: Mapping[str, Quantity] | None, name: str, path: str) -> float | None:
    """The number of one entry: cores, pods. Raises `UsageError` if it is not a quantity."""
    value = amounts.get(name) if amounts else None
    return None if value is None else _convert(quantity, value, f"{path}.{name}")


def numbers(amounts: Mapping[str, Quantity] | None, path: str) -> dict[str, float]:
    """Every entry as a number. Raises `UsageError`, naming the path, if one is not a quantity."""
    return {name: _convert(quantity, amounts[name], f"{path}.{name}") for name in amounts or ()}  # type: ignore[index]


def _convert(convert: Any, value: Quantity, path: str) -> Any:
    try:
        return convert(value)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None

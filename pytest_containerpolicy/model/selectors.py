"""Label selectors, implemented once, with the meaning that the API server gives them.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
Absent and empty selectors differ by the field they stand in (a PodDisruptionBudget without one
selects nothing, a NetworkPolicy's empty one selects every pod); whoever holds the field decides.
"""

from collections.abc import Mapping

from msgspec import Struct

Labels = Mapping[str, str]


class Requirement(Struct, frozen=True):
    """One condition on a label: `In`, `NotIn`, `Exists`, `DoesNotExist`; for nodes `Gt`, `Lt`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            # A label that is absent is also "not in": the API's rule, often got wrong.
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return self._compares(value)
        return False

    def _compares(self, value: str | None) -> bool:
        try:
            left, right = int(value or ""), int(self.values[0])
        except (ValueError, IndexError):
            return False
        return left > right if self.operator == "Gt" else left < right


class Selector(Struct, frozen=True):
    """A set of conditions that must all hold; without any it selects everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, labels: Labels) -> "Selector":
        """The selector that demands exactly these label values."""
        return cls(tuple(Requirement(key, "In", (labels[key],)) for key in sorted(labels)))

    @property
    def is_empty(self) -> bool:
        return not self.requirements

    def matches(self, labels: Labels) -> bool:
        # A loop, not all(): this is asked for every pair of selector and workload.
        for requirement in self.requirements:  # noqa: SIM110
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return ", ".join(_text(requirement) for requirement in self.requirements) or "(everything)"


def _text(requirement: Requirement) -> str:
    values = ", ".join(requirement.values)
    match requirement.operator:
        case "In" if len(requirement.values) == 1:
            return f"{requirement.key}={values}"
        case "Exists":
            return requirement.key
        case "DoesNotExist":
            return f"!{requirement.key}"
        case operator:
            return f"{requirement.key} {operator.lower()} ({values})"

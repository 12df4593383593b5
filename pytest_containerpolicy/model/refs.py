"""How objects are named in findings."""

from msgspec import Struct


class ObjectRef(Struct, frozen=True, kw_only=True):
    """One object: kind, namespace and name in the platform's own words; its file if it has one."""

    kind: str
    name: str
    namespace: str = ""
    file: str = ""
    line: int = 0

    @property
    def qualified_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.qualified_name}"

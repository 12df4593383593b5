"""Target URIs: what a user writes to say which environment to judge.

    k8s://CONTEXT?namespace=a&kubeconfig=PATH    engine+ssh://user@host    compose:PATH[,PATH]

Parsed strictly: a misspelt scheme or key would otherwise judge another environment
than the one that was meant.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from pytest_containerpolicy.errors import TargetError
from pytest_containerpolicy.targets.inventory import Inventory, Platform

_FEW = 20
_TARGETS = "pytest_containerpolicy.targets"
SCHEMES = {
    "k8s": f"{_TARGETS}.kubernetes:KubernetesTarget",
    "k8s+incluster": f"{_TARGETS}.kubernetes:KubernetesTarget",
    "engine": f"{_TARGETS}.engine:EngineTarget",
    "engine+unix": f"{_TARGETS}.engine:EngineTarget",
    "engine+tcp": f"{_TARGETS}.engine:EngineTarget",
    "engine+ssh": f"{_TARGETS}.engine:EngineTarget",
    "swarm": f"{_TARGETS}.swarm:SwarmTarget",
    "swarm+unix": f"{_TARGETS}.swarm:SwarmTarget",
    "swarm+tcp": f"{_TARGETS}.swarm:SwarmTarget",
    "swarm+ssh": f"{_TARGETS}.swarm:SwarmTarget",
    "compose": f"{_TARGETS}.compose:ComposeTarget",
    "manifests": f"{_TARGETS}.manifests:ManifestsTarget",
    "snapshot": f"{_TARGETS}.snapshot:SnapshotTarget",
}


class Timeouts(Struct, frozen=True):
    """How long to wait for a connection and for an answer, in seconds."""

    connect: float = 3.0
    read: float = 30.0


class TargetUri(Struct, frozen=True, kw_only=True):
    """A URI in parts. `is_file` tells `compose:PATH` from `compose://PROJECT`."""

    text: str
    scheme: str
    authority: str = ""
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    is_file: bool = False

    @property
    def kind(self) -> str:
        """The scheme before any `+`."""
        return self.scheme.partition("+")[0]

    @property
    def transport(self) -> str:
        """The scheme after the `+`, such as `unix`; empty without one."""
        return self.scheme.partition("+")[2]

    def values(self, key: str) -> list[str]:
        """Every value of a query key, in order."""
        return [value for name, value in self.query if name == key]

    def value(self, key: str) -> str | None:
        """The only value of a query key. Raises `TargetError` if it is given twice."""
        values = self.values(key)
        if len(values) > 1:
            raise TargetError(f"{self.text}: {key} is given {len(values)} times, one is allowed")
        return values[0] if values else None

    def allow(self, keys: Collection[str]) -> None:
        """Raise `TargetError` for a query key that this kind of target does not know."""
        for key, value in self.query:
            if key not in keys:
                raise TargetError(f"{self.text}: unknown key {key!r}{suggestion(key, keys)}")
            if not value:
                raise TargetError(f"{self.text}: {key} has no value")


class Target(ABC):
    """One environment to judge. Making one does no I/O beyond local configuration files."""

    platform: ClassVar[Platform | None] = None
    is_live: ClassVar[bool] = False
    scope_example: ClassVar[str] = ""
    uri: str
    id: str
    workloads: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def from_uri(cls, uri: TargetUri) -> "Target":
        """Raises `TargetError` if the URI can't be meant."""

    @abstractmethod
    def read(self, timeouts: Timeouts) -> Inventory:
        """Read everything once. Raises `Unreachable` or `UsageError` if nothing can be read."""

    @property
    def names_scope(self) -> bool:
        """Whether the URI names what experiments may disrupt."""
        return bool(self.workloads)

    @property
    def durable_uri(self) -> str:
        """A URI that leads to the same environment whatever the settings of the day are."""
        return self.uri

    def covers(self, kind: str, name: str) -> bool:
        """Whether experiments may act on a workload: the URI names it, or names none."""
        names = {name.lower(), f"{kind}/{name}".lower()}
        return not self.workloads or not names.isdisjoint(self.workloads)

    def absent(self, workloads: Collection[tuple[str, str]]) -> str:
        """What the URI names, and is not among these workloads (kind, name); empty if all are."""
        known = {text.lower() for kind, name in workloads for text in (name, f"{kind}/{name}")}
        absent = next((name for name in self.workloads if name not in known), "")
        near = suggestion(absent, known)
        return f"{self.uri} names workload {absent!r}, which is not there{near}" if absent else ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uri}>"


def workloads_of(uri: TargetUri) -> tuple[str, ...]:
    """The workloads that a URI names with `workload=NAME` or `workload=KIND/NAME`."""
    return tuple(sorted({name.lower() for name in uri.values("workload")}))


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The nearest allowed word, and all if they are few: `; did you mean 'a'? (allowed: a, b)`."""
    words = sorted(allowed)
    near = get_close_matches(word, words, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if len(words) <= _FEW:
        return f"{hint} (allowed: {', '.join(words) or 'none'})"
    closest = get_close_matches(word, words, n=_FEW // 4, cutoff=0)
    return f"{hint} (allowed: {', '.join(closest)} and {len(words) - len(closest)} more)"


def split_uri(text: str) -> TargetUri:
    """Split a target URI. Raises `TargetError` for an unknown scheme."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        raise TargetError(f"{text}: unknown scheme {scheme!r}{suggestion(scheme, SCHEMES)}")
    if not rest.startswith("//"):
        return TargetUri(text=text, scheme=scheme, path=rest, is_file=True)
    try:
        parts = urlsplit("x:" + rest)
    except ValueError as error:
        raise TargetError(f"{text}: {error} (write special characters as %XX)") from None
    if parts.fragment:
        raise TargetError(f"{text}: a target has no #fragment")
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return TargetUri(
        text=text,
        scheme=scheme,
        authority=unquote(parts.netloc),
        path=unquote(parts.path),
        query=query,
    )


def parse_target(text: str) -> Target:
    """The target that a URI names. Raises `TargetError`, in one line, if there is none."""
    uri = split_uri(text.strip())
    module, _, name = SCHEMES[uri.scheme].partition(":")
    target_class: type[Target] = getattr(import_module(module), name)
    return target_class.from_uri(uri)


def parse_targets(texts: Iterable[str]) -> tuple[Target, ...]:
    """All targets, sorted by id. Raises `TargetError` if two share an id."""
    targets: dict[str, Target] = {}
    for target in map(parse_target, texts):
        if target.id in targets:
            raise TargetError(
                f"{target.uri}: the same target as {targets[target.id].uri} ({target.id}):"
                " give it once"
            )
        targets[target.id] = target
    return tuple(targets[name] for name in sorted(targets))

"""From the documents of files to typed Kubernetes objects, each knowing its file and line."""

import re
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from pytest_containerpolicy.targets.inventory import EVERY_KIND, CustomResource, Unreadable
from pytest_containerpolicy.targets.kubernetes_documents import BY_NAME, KINDS, Kind
from pytest_containerpolicy.targets.kubernetes_pods import KubernetesObject, Origin
from pytest_containerpolicy.targets.yaml_files import Document

_NAMED = 5
# Served besides the version that the model reads, with the same meaning of what it reads.
_ALSO_SERVED = {"autoscaling/v1", "gateway.networking.k8s.io/v1beta1"}
# Groups of Kubernetes itself, whose objects make no pods.
_OWN_GROUPS = (".k8s.io",)
# https://kubernetes.io/docs/reference/using-api/deprecation-guide/
_FORMER_GROUP = "extensions"
_PLACE = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<expected>.*?)`, got .*", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class ManifestObjects:
    """What the files of a target declare, as it is collected.

    `count` is the number of Kubernetes objects, whether or not a policy reads their kind.
    """

    def __init__(self) -> None:
        self.files = 0
        self.count = 0
        self.unreadable: list[Unreadable] = []
        self.custom_resources: list[CustomResource] = []
        self._objects: dict[str, dict[tuple[str, str], KubernetesObject]] = {}
        self._other_kinds: Counter[str] = Counter()
        self._foreign: list[str] = []
        self._repeated: list[str] = []

    @property
    def by_kind(self) -> dict[str, list[KubernetesObject]]:
        return {kind: list(objects.values()) for kind, objects in self._objects.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the verdicts should know of the files."""
        notes = list(self._repeated)
        if self._foreign:
            notes.append(f"not Kubernetes objects ({len(self._foreign)}): {_some(self._foreign)}")
        if self._other_kinds:
            kinds = [f"{kind} ({count})" for kind, count in sorted(self._other_kinds.items())]
            notes.append(f"kinds that no policy reads: {', '.join(kinds)}")
        return tuple(notes)

    def why_empty(self, path: str) -> str:
        """One line on why there is nothing to judge."""
        if self.unreadable:
            more = len(self.unreadable) - 1
            return f"{self.unreadable[0]}{f' (and {more} more)' if more else ''}"
        if self._foreign:
            return f"{path}: holds no Kubernetes object, only {_some(self._foreign)}"
        return (
            f"{path}: holds no Kubernetes object (looked into {self.files} *.yaml, *.yml, *.json)"
        )

    def add(self, document: Document, file: str, *, has_lines: bool = True) -> None:
        """Take in a document, or the items of a list. `has_lines` is false for rendered text."""
        if not _is_object(document.content):
            self._foreign.append(f"{file}:{document.line}" if has_lines else file)
            return
        for path, content in _flatten(document.content):
            line = document.line_of(path) if has_lines else 0
            self._add_object(content, _Place(document, path, Origin(file=file, line=line)))

    def _add_object(self, content: Any, place: "_Place") -> None:
        if not _is_object(content):
            self._foreign.append(place.text())
            return
        self.count += 1
        kind = BY_NAME.get(content["kind"])
        version = content["apiVersion"]
        if kind is None or not _is_version_of(kind, version):
            self._add_other(content, place)
        elif version not in (kind.group_version, *_ALSO_SERVED):
            reason = f"{place.text()}: apiVersion {version} of {kind.name} is not served any more"
            self._add_gap(kind, content, f"{reason}: write {kind.group_version}")
        else:
            self._decode(kind, content, place)

    def _add_other(self, content: Any, place: "_Place") -> None:
        name, version = content["kind"], content["apiVersion"]
        group = _group(version)
        known = [kind.name for kind in KINDS if kind.group == group]
        if near := get_close_matches(name, known, n=1, cutoff=0.85):
            reason = f"{place.text()}: {version} has no kind {name!r}; did you mean {near[0]!r}?"
            self.unreadable.append(Unreadable(EVERY_KIND, reason))
        else:
            kind = f"{name}.{group}" if "." in group else name
            self._other_kinds[kind] += 1
            if "." in group and not group.endswith(_OWN_GROUPS):
                self.custom_resources.append(_custom_resource(kind, content))

    def _add_gap(self, kind: Kind, content: Any, reason: str) -> None:
        namespace = _namespace(kind, content) if kind.namespaced else None
        self.unreadable.append(Unreadable(kind.plural, reason, namespace))

    def _decode(self, kind: Kind, content: Any, place: "_Place") -> None:
        try:
            found: KubernetesObject = _convert(kind, content)
        except msgspec.ValidationError as error:
            self._add_gap(kind, content, place.explain(str(error), content))
            return
        found.origin = place.origin
        found.metadata.namespace = _namespace(kind, content)
        found.metadata.name = found.metadata.name or found.metadata.generate_name
        if not found.metadata.name:
            self._add_gap(kind, content, f"{place.text('metadata')}: metadata.name is missing")
            return
        self._keep(kind, found)

    def _keep(self, kind: Kind, found: KubernetesObject) -> None:
        objects = self._objects.setdefault(kind.plural, {})
        key = (found.metadata.namespace, found.metadata.name)
        if key in objects:
            first, last = (_at(manifest) for manifest in (objects.pop(key), found))
            name = "/".join(part for part in key if part)
            self._repeated.append(f"{kind.name} {name} is declared twice, {last} wins over {first}")
        objects[key] = found


class _Place:
    """Where an object stands: its document, its path there, and its origin."""

    def __init__(self, document: Document, path: str, origin: Origin) -> None:
        self._document = document
        self._path = path
        self.origin = origin

    def text(self, path: str = "") -> str:
        if not self.origin.line:
            return self.origin.file
        line = self._document.line_of(f"{self._path}.{path}".strip("."))
        return f"{self.origin.file}:{line}"

    def explain(self, message: str, content: Any) -> str:
        """A validation error in the words of the file: `f.yaml:3: spec.replicas: expected int`."""
        match = _PLACE.match(message)
        problem, whole_path = (match["problem"], match["path"] or "") if match else (message, "")
        path, in_values, _ = whole_path.partition("[...]")
        if expected := _EXPECTED.fullmatch(problem):
            problem = f"expected {expected['expected'].replace(' | null', '')}"
            # The message does not say which of a mapping's values it is about.
            problem += " as values" if in_values else f", found {_shown(_at_path(content, path))}"
        return f"{self.text(path)}: {path}: {problem}" if path else f"{self.text()}: {problem}"


def _is_object(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("apiVersion"), str)
        and isinstance(content.get("kind"), str)
    )


def _flatten(content: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    items = content.get("items")
    if not content["kind"].endswith("List") or not isinstance(items, list):
        yield path, content
        return
    kind = content["kind"].removesuffix("List")
    # A list of one kind leaves kind and version out of its items.
    implied = {"apiVersion": content["apiVersion"], "kind": kind} if kind else {}
    for index, item in enumerate(items):
        place = f"{path}.items[{index}]".lstrip(".")
        whole = implied | item if isinstance(item, dict) else item
        if _is_object(whole):
            yield from _flatten(whole, place)
        else:
            yield place, whole


def _group(version: str) -> str:
    return version.rpartition("/")[0]


def _is_version_of(kind: Kind, version: str) -> bool:
    return _group(version) == kind.group or _group(version) == _FORMER_GROUP


def _namespace(kind: Kind, content: Any) -> str:
    return _in_metadata(content, "namespace") or "default" if kind.namespaced else ""


def _in_metadata(content: Any, key: str) -> str:
    metadata = content.get("metadata")
    written = metadata.get(key) if isinstance(metadata, dict) else None
    return written if isinstance(written, str) else ""


def _custom_resource(kind: str, content: Any) -> CustomResource:
    return CustomResource(
        kind=kind,
        name=_in_metadata(content, "name"),
        namespace=_in_metadata(content, "namespace") or "default",
    )


def _convert(kind: Kind, content: Any) -> KubernetesObject:
    try:
        return msgspec.convert(content, kind.type)  # type: ignore[no-any-return]
    except msgspec.ValidationError:
        # For the API an explicit null is the same as nothing.
        return msgspec.convert(_without_nulls(content), kind.type)  # type: ignore[no-any-return]


def _without_nulls(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nulls(value) for key, value in content.items() if value is not None}
    if isinstance(content, list):
        return [_without_nulls(item) for item in content]
    return content


def _at_path(content: Any, path: str) -> Any:
    for index, key in _STEP.findall(path):
        try:
            content = content[int(index)] if index else content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)


def _at(found: KubernetesObject) -> str:
    origin = found.origin or Origin(file="", line=0)
    return f"{origin.file}:{origin.line}" if origin.line else origin.file


def _some(places: list[str]) -> str:
    more = len(places) - _NAMED
    return ", ".join(places[:_NAMED]) + (f" and {more} more" if more > 0 else "")

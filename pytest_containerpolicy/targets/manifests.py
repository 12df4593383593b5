"""Kubernetes objects in files: `manifests:PATH`.

A folder, a file, `-` for standard input, a kustomization (rendered by kubectl) or a chart
(rendered by helm).
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_containerpolicy.errors import TargetError, Unreachable, UsageError
from pytest_containerpolicy.targets.inventory import EVERY_KIND, Header, Inventory, Unreadable
from pytest_containerpolicy.targets.manifest_objects import ManifestObjects
from pytest_containerpolicy.targets.uri import Target, TargetUri, Timeouts
from pytest_containerpolicy.targets.yaml_files import parse_documents, read_file, read_stream

_SUFFIXES = (".yaml", ".yml", ".json")
_KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_CHART = "Chart.yaml"
_SOURCE = b"# Source: "


class ManifestsTarget(Target):
    """The objects that files declare. Nothing is known of a cluster: no nodes, no status."""

    platform = "kubernetes"

    def __init__(self, uri: str, path: str) -> None:
        self.uri = uri
        self.path = path
        shown = path if path == "/" else path.rstrip("/")
        self.id = f"manifests:{shown.replace('::', ':')}"

    @classmethod
    def from_uri(cls, uri: TargetUri) -> "ManifestsTarget":
        if not uri.is_file or not uri.path:
            raise TargetError(
                f"{uri.text}: write manifests:PATH, or manifests:- for standard input"
            )
        return cls(uri.text, uri.path)

    def read(self, timeouts: Timeouts) -> Inventory:
        objects = ManifestObjects()
        self._collect(objects, timeouts)
        if not objects.count:
            raise Unreachable(objects.why_empty(self.path))
        header = Header(
            target=self.id,
            platform="kubernetes",
            live=False,
            notes=objects.notes,
            unreadable=tuple(objects.unreadable),
            custom_resources=tuple(objects.custom_resources),
        )
        return Inventory(header, objects.by_kind)

    def _collect(self, objects: ManifestObjects, timeouts: Timeouts) -> None:
        path = Path(self.path)
        if self.path == "-":
            _add(objects, "<stdin>", read_stream(sys.stdin.buffer, "<stdin>"))
        elif path.is_dir():
            _collect_folder(objects, path, timeouts)
        elif path.exists():
            _add_file(objects, path)
        else:
            raise Unreachable(f"{self.path}: no such file or folder")


def _collect_folder(objects: ManifestObjects, folder: Path, timeouts: Timeouts) -> None:
    if (folder / _CHART).is_file():
        # A chart's test pods run when somebody asks for them, they are not deployed.
        command = ["helm", "template", "--skip-tests", _release_name(folder), str(folder)]
        rendered = _render(command, timeouts)
        for document in parse_documents(rendered, f"helm template {folder}"):
            objects.add(document, _chart_file(folder, rendered, document.line), has_lines=False)
        return
    if kustomization := _kustomization(folder):
        rendered = _render(["kubectl", "kustomize", str(folder)], timeouts)
        for document in parse_documents(rendered, f"kubectl kustomize {folder}"):
            objects.add(document, str(kustomization), has_lines=False)
        return
    for file in _files(folder, objects):
        _add_file(objects, file)


def _files(folder: Path, objects: ManifestObjects) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if needs := _rendered_by(Path(parent)):
            # Its files are not what is deployed: bases, patches and templates.
            folders.clear()
            reason = f"{parent} is a {needs}: judge it as target manifests:{parent}"
            objects.unreadable.append(Unreadable(EVERY_KIND, reason))
            continue
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(_SUFFIXES))


def _rendered_by(folder: Path) -> str:
    if (folder / _CHART).is_file():
        return "chart"
    return "kustomization" if _kustomization(folder) else ""


def _kustomization(folder: Path) -> Path | None:
    candidates = (folder / name for name in _KUSTOMIZATIONS)
    return next((file for file in candidates if file.is_file()), None)


def _add_file(objects: ManifestObjects, file: Path) -> None:
    try:
        content = read_file(file)
    except UsageError as error:
        objects.unreadable.append(Unreadable(EVERY_KIND, str(error)))
        return
    _add(objects, str(file), content)


def _add(objects: ManifestObjects, name: str, content: bytes) -> None:
    objects.files += 1
    try:
        documents = parse_documents(content, name)
    except UsageError as error:
        hint = ": a Helm template? Give the chart's folder, the one with Chart.yaml"
        reason = f"{error}{hint if b'{{' in content else ''}"
        objects.unreadable.append(Unreadable(EVERY_KIND, reason))
        return
    for document in documents:
        objects.add(document, name)


def _render(command: list[str], timeouts: Timeouts) -> bytes:
    program, text = command[0], " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, the folder is one argument
            command, capture_output=True, timeout=timeouts.read, check=False
        )
    except FileNotFoundError:
        raise Unreachable(
            f"`{text}`: {program} is not on PATH: install it, or give its output as manifests:-"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"`{text}`: no answer within {timeouts.read:g} s") from None
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise Unreachable(f"`{text}` failed: {reason or f'exit code {done.returncode}'}")
    return done.stdout


def _release_name(folder: Path) -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower())
    return name.strip("-")[:53].rstrip("-") or "release-name"


def _chart_file(folder: Path, rendered: bytes, line: int) -> str:
    # Helm names the template in a comment above each document, from the chart's name on.
    for text in reversed(rendered.split(b"\n")[: line - 1]):
        if text.startswith(_SOURCE):
            template = text.removeprefix(_SOURCE).decode(errors="replace").partition("/")[2]
            return str(folder / template)
        if not text.startswith(b"#"):
            break
    return str(folder)

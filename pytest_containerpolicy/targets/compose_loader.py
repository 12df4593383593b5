"""Compose files read and put together: variables, `extends`, `include`, overrides, long forms.

In the order of Docker Compose, as the order decides what a variable, a reset or a relative path
means: https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
"""

import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.compose_canonical import FormError, Json, make_canonical
from pytest_containerpolicy.targets.compose_interpolation import (
    InterpolationError,
    MalformedVariable,
    Variables,
    parse_env_file,
    substitute,
)
from pytest_containerpolicy.targets.compose_merge import MergeError, drop, merge, remove_repeated
from pytest_containerpolicy.targets.compose_schema import find_problem
from pytest_containerpolicy.targets.compose_yaml import ComposeDocument, path_text, read_documents
from pytest_containerpolicy.targets.yaml_files import read_file

Steps = tuple[str | int, ...]
_ABSOLUTE = re.compile(r"/|\\\\|[a-zA-Z]:[/\\]")
_REMOTE = ("oci://", "http://", "https://", "git@", "git://", "ssh://", "github.com/")
_SECRET = frozenset(("args", "command", "content", "entrypoint", "environment", "labels"))
_SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")


class Setting(Struct, frozen=True, kw_only=True):
    """Where files are read: the folder that relative paths start at, the variables' values.

    `including` holds the files that led here.
    """

    folder: Path
    variables: Variables
    including: tuple[Path, ...] = ()


class Loader(Struct):
    """Reads files into one tree and remembers the documents, for the lines of what is wrong."""

    documents: list[ComposeDocument] = field(default_factory=list)
    _read: dict[Path, list[ComposeDocument]] = field(default_factory=dict)

    def read(self, file: Path) -> list[ComposeDocument]:
        """The documents of a file, parsed once. Raises `UsageError`."""
        if file not in self._read:
            self._read[file] = read_documents(file)
        return self._read[file]

    def load(self, files: Sequence[Path], setting: Setting) -> Json:
        """The files as one tree of long forms with absolute paths. Raises `UsageError`."""
        content: Json = {}
        for file in files:
            for document in self.read(file):
                self.documents.append(document)
                content = self._add(content, document, setting)
        _resolve_paths(content, setting.folder)
        return content

    def error(self, path: Sequence[str | int], problem: str) -> UsageError:
        """An error at a path, with the file and line of the document that has most of it."""
        # The first of the deepest: `max` keeps it, so the last file read goes first.
        nearest = max(reversed(self.documents), key=lambda read: _depth(read.data, path))
        return _error(nearest, path, problem)

    def _add(self, content: Json, document: ComposeDocument, setting: Setting) -> Json:
        data = _interpolated(document, setting.variables)
        self._extend_all(data, document, setting)
        drop(content, document.dropped)
        including = (*setting.including, document.file.resolve())
        for index, entry in enumerate(_entries(data, document)):
            self._include(entry, index, data, document, setting, including)
        data.pop("include", None)
        try:
            content = merge(content, data)
            remove_repeated(content)
            self._validate(content)
            content.pop("version", None)
            make_canonical(content)
            remove_repeated(content)
        except MergeError as error:
            raise _error(document, error.path, str(error)) from None
        except FormError as error:
            raise self.error(error.key, str(error)) from None
        return content

    def _validate(self, content: Json) -> None:
        problem = find_problem(content)
        if problem is not None:
            raise self.error(problem.path, problem.text)

    def _extend_all(self, data: Json, document: ComposeDocument, setting: Setting) -> None:
        services = data.get("services")
        if isinstance(services, dict):
            for name in list(services):
                source = _Source(services, document, setting.folder)
                services[name] = self._extended(name, source, setting, ())

    def _extended(
        self, name: str, source: "_Source", setting: Setting, seen: tuple[tuple[Path, str], ...]
    ) -> Any:
        """A service with what it extends put under it; `seen` are the services that led here."""
        service, document = source.services[name], source.document
        extends = service.get("extends") if isinstance(service, dict) else None
        if extends is None:
            return service
        path = ("services", name, "extends")
        if (document.file, name) in seen:
            chain = " -> ".join(service for _, service in (*seen, (document.file, name)))
            raise _error(document, path, f"a cycle: {chain}")
        reference, file = _extends_parts(extends, document, path)
        origin = self._origin(file, source, setting, path) if file else source
        if reference not in origin.services:
            raise _error(
                document, path, f"there is no service {reference!r} in {origin.document.file}"
            )
        base = self._extended(reference, origin, setting, (*seen, (document.file, name)))
        if base is None:
            return service
        below = {"services": {name: deepcopy(base)}}
        drop(below, document.dropped)
        try:
            merged: Json = merge(below["services"][name], service, ("services", name))
        except MergeError as error:
            raise _error(document, error.path, str(error)) from None
        merged.pop("extends", None)
        return merged

    def _origin(self, file: str, source: "_Source", setting: Setting, path: Steps) -> "_Source":
        """The services of another file, in long forms with absolute paths."""
        found = _local(file, source.folder, source.document, path)
        content: Json = {}
        for document in self.read(found):
            data = _interpolated(document, setting.variables)
            drop(content, document.dropped)
            content = merge(content, {"services": data.get("services") or {}})
        services = content.get("services") or {}
        for name, service in services.items() if isinstance(services, dict) else ():
            alone = {"services": {name: service}}
            # What is wrong with a service is said once it is merged, as Compose does.
            if find_problem(alone) is None:
                make_canonical(alone)
                _resolve_paths(alone, found.parent)
                if isinstance(service.get("extends"), dict) and "file" in service["extends"]:
                    service["extends"]["file"] = str(found.parent / service["extends"]["file"])
        return _Source(services, document, found.parent)

    def _include(
        self,
        entry: Any,
        index: int,
        data: Json,
        document: ComposeDocument,
        setting: Setting,
        including: tuple[Path, ...],
    ) -> None:
        path = ("include", index)
        options = {"path": entry} if isinstance(entry, str) else entry
        problem = find_problem({"include": [options]})
        if problem is not None:
            raise _error(document, path, problem.text)
        files = [
            _local(name, setting.folder, document, path)
            for name in _as_list(options.get("path", []))
        ]
        if not files:
            raise _error(document, path, "needs a path")
        if files[0].resolve() in including:
            chain = " -> ".join(map(str, (*including, files[0].resolve())))
            raise _error(document, path, f"a cycle: {chain}")
        own = _include_setting(options, files[0], setting, including)
        self._import(self.load(files, own), data, document, path)

    def _import(self, source: Json, data: Json, document: ComposeDocument, path: Steps) -> None:
        for section in _SECTIONS:
            target = data.setdefault(section, {}) if source.get(section) else {}
            for name, resource in (source.get(section) or {}).items():
                if name in target and target[name] != resource:
                    raise _error(document, path, f"{section}.{name} is declared here, too")
                target[name] = resource


class _Source(Struct, frozen=True):
    """Services, the document they stand in, and the folder that its relative files start at."""

    services: Json
    document: ComposeDocument
    folder: Path


def _interpolated(document: ComposeDocument, variables: Variables) -> Json:
    data = document.data
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{document.file}:{document.lines.line}: must be a mapping of sections")
    # The document keeps its own data: it tells which file has which part of a path.
    return {key: _replaced(value, document, variables, (key,)) for key, value in data.items()}


def _replaced(value: Any, document: ComposeDocument, variables: Variables, path: Steps) -> Any:
    if isinstance(value, dict):
        return {
            key: _replaced(item, document, variables, (*path, key)) for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _replaced(item, document, variables, (*path, index)) for index, item in enumerate(value)
        ]
    if isinstance(value, str) and "$" in value:
        try:
            return substitute(value, variables)
        except MalformedVariable as error:
            shown = f", found {value!r}" if _SECRET.isdisjoint(path) else ""
            raise _error(document, path, f"{error}{shown}") from None
        except InterpolationError as error:
            raise _error(document, path, str(error)) from None
    return value


def _entries(data: Json, document: ComposeDocument) -> list[Any]:
    entries = data.get("include")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise _error(document, ("include",), "must be a list")
    return entries


def _extends_parts(extends: Any, document: ComposeDocument, path: Steps) -> tuple[str, str]:
    if isinstance(extends, str):
        return extends, ""
    if not isinstance(extends, dict) or not isinstance(extends.get("service"), str):
        raise _error(document, path, "needs the key 'service'")
    return extends["service"], str(extends.get("file") or "")


def _include_setting(
    options: Json, first: Path, setting: Setting, including: tuple[Path, ...]
) -> Setting:
    named = options.get("project_directory")
    folder = setting.folder / named if named else first.parent
    files = [setting.folder / name for name in _as_list(options.get("env_file", []))]
    own = read_env_files(files or default_env_file(folder), setting.variables.values)
    return Setting(
        folder=folder,
        variables=replace(setting.variables, values={**own, **setting.variables.values}),
        including=including,
    )


def default_env_file(folder: Path) -> list[Path]:
    """The `.env` of a folder, if there is one."""
    file = folder / ".env"
    return [file] if file.is_file() else []


def read_env_files(files: Sequence[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of env files, later files win. Raises `UsageError` naming file and line."""
    values: dict[str, str] = {}
    for file in files:
        text = read_file(file).decode(errors="replace")
        try:
            values |= parse_env_file(text, {**values, **environment})
        except InterpolationError as error:
            raise UsageError(f"{file}: {error}") from None
    return values


def _local(name: str, folder: Path, document: ComposeDocument, path: Steps) -> Path:
    if name.startswith(_REMOTE):
        raise _error(
            document,
            path,
            f"{name} is not a local file: give the output of `docker compose config` instead",
        )
    file = folder / Path(name).expanduser()
    if not file.is_file():
        raise _error(document, path, f"{file} is not a file")
    return file


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else value


def _error(document: ComposeDocument, path: Sequence[str | int], problem: str) -> UsageError:
    place = f"{path_text(path)}: " if path else ""
    return UsageError(f"{document.file}:{document.line(path)}: {place}{problem}")


def _depth(data: Any, path: Sequence[str | int]) -> int:
    for depth, step in enumerate(path):
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(path)


def _resolve_paths(content: Json, folder: Path) -> None:
    for service in content.get("services", {}).values():
        for mount in service.get("volumes") or ():
            if mount.get("type") == "bind" and mount.get("source"):
                mount["source"] = _absolute(mount["source"], folder)
        for file in service.get("env_file") or ():
            file["path"] = _absolute(file["path"], folder)
        service.update(
            {"label_file": [_absolute(file, folder) for file in service["label_file"]]}
            if "label_file" in service
            else {}
        )
    for volume in (content.get("volumes") or {}).values():
        options = (volume or {}).get("driver_opts") or {}
        if options.get("o") == "bind" and options.get("device"):
            options["device"] = _absolute(str(options["device"]), folder)


def _absolute(path: str, folder: Path) -> str:
    expanded = os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111
    if not expanded or _ABSOLUTE.match(expanded):
        return expanded
    return posixpath.normpath(f"{folder.absolute()}/{expanded}")

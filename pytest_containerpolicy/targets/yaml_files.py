"""YAML and JSON files: read strictly, and asked afterwards where a field stands.

Plain scalars mean what the API server's tools make of them: YAML 1.1 booleans, no base-60
numbers, timestamps stay text, and keys are text (https://github.com/kubernetes-sigs/yaml).
Duplicate keys, documents that expand without bound and oversized files are errors.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.yaml_lines import line_of, list_items
from pytest_containerpolicy.targets.yaml_scalars import (
    CONVERTERS,
    MAP,
    MERGE,
    NOT_TEXT,
    SEQ,
    STR,
    plain_tag,
)

LARGEST_FILE = 16 * 2**20
MOST_ALIASED_NODES = 400_000
DEEPEST_NESTING = 300


class Document(Struct, frozen=True):
    """One document of a file: its content in plain types, and the line that it starts at."""

    line: int
    content: Any
    node: Any = None

    def line_of(self, path: str) -> int:
        """The line of a field path, or of its nearest ancestor that exists."""
        return line_of(self.node, path) if self.node else self.line


def load_documents(file: Path) -> list[Document]:
    """Every document of a file that is not empty.

    Raises `UsageError`, with file and line, if it can't be read, is not YAML or is too large.
    """
    return parse_documents(read_file(file), str(file))


def read_file(file: Path) -> bytes:
    """The bytes of a file. Raises `UsageError` if it can't be read or is too large."""
    try:
        with file.open("rb") as stream:
            return read_stream(stream, str(file))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def read_stream(stream: BinaryIO, name: str) -> bytes:
    """What a stream holds. Raises `UsageError` if it is more than `LARGEST_FILE`."""
    content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise UsageError(f"{name}: larger than {LARGEST_FILE >> 20} MiB: split it, or leave it out")
    return content


def parse_documents(content: bytes, name: str) -> list[Document]:
    """Every document of a YAML or JSON text that is not empty; `name` is used in errors.

    Raises `UsageError`, with name and line, if it is not YAML.
    """
    # JSON is YAML, and an order of magnitude faster to read as what it is; what is not
    # flawless goes through YAML, which knows the line to complain about.
    if content.lstrip()[:1] == b"{" and (document := _json(content)) is not None:
        return [document]
    with yaml_errors(name):
        documents = [
            Document(_first_line(root), _value(root), root) for root in parse_nodes(content, name)
        ]
    return [document for document in documents if document.content is not None]


@contextmanager
def yaml_errors(name: str) -> Iterator[None]:
    """Turn the parser's complaints into `UsageError` with name and line."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        raise UsageError(f"{name}: not text: byte {error.position}: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        raise UsageError(_explain(error, name)) from None
    except RecursionError:
        # Nesting is bounded, a chain of aliases is not.
        raise UsageError(f"{name}: its aliases are nested too deeply to be read") from None


def parse_nodes(content: bytes, name: str) -> Iterator[Node]:
    """The root node of every document, bounded in depth and in what its aliases expand to.

    Call it within `yaml_errors`: it raises the parser's own complaints.
    """
    may_alias = b"*" in content and b"&" in content
    for root in _compose(content):
        if may_alias:
            _check_aliases(root, name)
        yield root


def locate(file: str | Path, document_line: int, path: str) -> int:
    """The line of a field such as `spec.containers[0].image` of the document at a line.

    The line of a Compose service lies within its document, and the path starts at that one's top.
    Of a field that is not there, the line of its nearest ancestor. The file is read again: this
    is for the few objects that something is said of.
    """
    roots = _roots(str(file))
    for root in roots:
        for node in (root, *list_items(root)):
            if node.start_mark.line + 1 == document_line:
                return line_of(node, path)
    above = [root for root in roots if root.start_mark.line < document_line]
    return max(document_line, line_of(above[-1], path)) if above else document_line


class _Loader(yaml.CSafeLoader):
    """The C parser with the scalars of this module; faster, too, than the regular expressions."""

    _depth = 0

    # Called around every node; without a bound the C parser overflows the process's stack.
    def descend_resolver(self, parent: Node | None, index: Any) -> None:
        self._depth += 1
        if self._depth > DEEPEST_NESTING:
            raise _complaint(parent, f"nested deeper than {DEEPEST_NESTING} levels")

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: type, value: str, implicit: tuple[bool, bool]) -> str:
        if kind is ScalarNode:
            if implicit[0] and (not value or value[0] in NOT_TEXT):
                return plain_tag(value)
            return STR
        return SEQ if kind is SequenceNode else MAP


def _first_line(node: Node) -> int:
    line: int = node.start_mark.line + 1
    return line


def _compose(content: bytes) -> Iterator[Node]:
    loader = _Loader(content)
    try:
        while loader.check_node() and (node := loader.get_node()):
            yield node
    finally:
        loader.dispose()


def _value(node: Node) -> Any:
    if isinstance(node, ScalarNode):
        return node.value if node.tag == STR else _scalar(node)
    if isinstance(node, MappingNode):
        return _mapping(node)
    return [_value(item) for item in node.value]


def _scalar(node: ScalarNode) -> Any:
    convert = CONVERTERS.get(node.tag)
    try:
        return convert(node.value) if convert else node.value
    except ValueError:
        raise _complaint(node, f"{node.value!r} is not of type {node.tag}") from None


def _mapping(node: MappingNode) -> dict[str, Any]:
    content = {
        key.value if key.tag == STR else _key(key): _value(value) for key, value in node.value
    }
    if len(content) != len(node.value):
        _refuse_duplicate(node)
    if "<<" in content:
        return _merged(node, content)
    return content


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise _complaint(node, "a key must be text, found a list or a mapping")
    value = _scalar(node)
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def _refuse_duplicate(node: MappingNode) -> None:
    seen: dict[str, Node] = {}
    for key_node, _ in node.value:
        key = _key(key_node)
        if key in seen:
            first = seen[key].start_mark.line + 1
            raise _complaint(key_node, f"duplicate key {key!r}, first given in line {first}")
        seen[key] = key_node


def _merged(node: MappingNode, content: dict[str, Any]) -> dict[str, Any]:
    key = next(key for key, _ in node.value if key.value == "<<")
    if key.tag != MERGE:
        return content
    sources = content.pop("<<")
    merged: dict[str, Any] = {}
    # Earlier sources win over later ones, and the mapping's own keys over all.
    for source in reversed(sources if isinstance(sources, list) else [sources]):
        if not isinstance(source, dict):
            raise _complaint(key, "<< merges mappings only")
        merged |= source
    return merged | content


def _check_aliases(root: Node, name: str) -> None:
    sizes: dict[int, int] = {}
    expanded = _expanded_size(root, sizes)
    if expanded - len(sizes) > MOST_ALIASED_NODES:
        raise UsageError(
            f"{name}:{root.start_mark.line + 1}: its aliases expand to {expanded:,} values:"
            " write them out or remove them"
        )


def _expanded_size(node: Node, sizes: dict[int, int]) -> int:
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise _complaint(node, "an alias inside of what it stands for")
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1 + sum(_expanded_size(child, sizes) for child in _children(node))
    sizes[id(node)] = size
    return size


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, SequenceNode):
        yield from node.value


def _json(content: bytes) -> Document | None:
    try:
        value = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return Document(1 + content[: content.index(b"{")].count(b"\n"), value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("duplicate key")
    return content


def _complaint(node: Node | None, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark if node else None)


def _explain(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark else ""
    context = f" ({error.context})" if error.context else ""
    return f"{name}{line}: {error.problem}{context}"


def _roots(file: str) -> tuple[Node, ...]:
    try:
        status = Path(file).stat()
        return _roots_of(file, (status.st_mtime_ns, status.st_size))
    except (OSError, UsageError, yaml.YAMLError):
        return ()


# More than the findings that one failure lists, or each list would start all over.
@lru_cache(maxsize=64)
def _roots_of(file: str, state: tuple[int, int]) -> tuple[Node, ...]:  # noqa: ARG001
    # The state of the file is part of the cache's key.
    return tuple(_compose(read_file(Path(file))))

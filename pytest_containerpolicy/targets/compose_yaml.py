"""Compose files as YAML: plain data, the lines it stands on, and the tags `!reset` and `!override`.

Compose resolves plain scalars by YAML 1.2 with a few exceptions, so neither PyYAML's own types nor
those of Kubernetes fit: `22:22` is text, `yes` is text, `0777` is octal, `1_000` is a number.
Merge tags: https://github.com/compose-spec/compose-spec/blob/main/13-merge.md
"""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct
from yaml.nodes import MappingNode, Node, ScalarNode

from pytest_containerpolicy.targets.yaml_files import (
    Document,
    parse_nodes,
    read_file,
    yaml_errors,
)

Steps = tuple[str, ...]
_STANDARD = "tag:yaml.org,2002:"
_TEXT = _STANDARD + "str"
_TYPED = frozenset(_STANDARD + name for name in ("int", "float", "bool", "null", "merge"))
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_OCTAL = re.compile(r"([-+]?)0([0-7]+)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ][0-9:.]+(?:Z|[+-][0-9:]+)?)?")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class ComposeDocument(Struct, frozen=True):
    """One YAML document of a Compose file.

    `dropped` holds the paths that its `!reset` and `!override` tags take out of the files before.
    """

    file: Path
    data: Any
    lines: Document
    dropped: tuple[Steps, ...] = ()
    has_variables: bool = True

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a field, or of its nearest ancestor that is in this document."""
        return self.lines.line_of(path_text(path))


def path_text(path: Sequence[str | int]) -> str:
    """A path for people: `services.web.ports[0]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def read_documents(file: Path) -> list[ComposeDocument]:
    """The documents of a Compose file, in the order in which Compose merges them.

    Raises `UsageError`, naming file and line, for what can't be read or is not YAML.
    """
    content = read_file(file)
    with yaml_errors(str(file)):
        return [_document(file, root, content) for root in parse_nodes(content, str(file))]


def _document(file: Path, root: Node, content: bytes) -> ComposeDocument:
    tagged = b"!reset" in content or b"!override" in content
    return ComposeDocument(
        file=file,
        data=_value(root),
        lines=Document(root.start_mark.line + 1, None, root),
        dropped=tuple(_dropped(root, ())) if tagged else (),
        has_variables=b"$" in content,
    )


def _value(node: Node) -> Any:
    if isinstance(node, ScalarNode):
        text: str = node.value
        # A date is a type of its own to Compose, which no key allows.
        is_text = node.tag == _TEXT and (text[4:5] != "-" or bool(node.style))
        return text if is_text else _scalar(node)
    if isinstance(node, MappingNode):
        return _mapping(node)
    return [_value(item) for item in node.value if item.tag != "!reset"]


def _scalar(node: ScalarNode) -> Any:
    # Text with an own tag, and what only YAML 1.1 takes for a boolean, is text.
    return _plain(node.value) if node.tag in _TYPED or not node.style else node.value


@lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _DATE.fullmatch(text):
        return _date(text)
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return int(_OCTAL.sub(r"\g<1>0o\2", digits) if _OCTAL.fullmatch(digits) else digits, 0)
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _date(text: str) -> Any:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _mapping(node: MappingNode) -> dict[str, Any]:
    content: dict[str, Any] = {}
    reset = 0
    for key, value in node.value:
        if value.tag == "!reset":
            reset += 1
        else:
            content[key.value if key.tag == _TEXT else _key(key)] = _value(value)
    if len(content) + reset != len(node.value):
        _refuse_duplicate(node)
    return _merged(node, content) if "<<" in content else content


def _key(node: Node) -> str:
    value = _scalar(node) if isinstance(node, ScalarNode) else None
    if not isinstance(value, str):
        raise _complaint(node, f"a key must be text, found {node.value!r}: put it in quotes")
    return value


def _refuse_duplicate(node: MappingNode) -> None:
    seen: dict[str, Node] = {}
    for key, _ in node.value:
        if key.value in seen:
            first = seen[key.value].start_mark.line + 1
            raise _complaint(key, f"duplicate key {key.value!r}, first given in line {first}")
        seen[key.value] = key


def _merged(node: MappingNode, content: dict[str, Any]) -> dict[str, Any]:
    sources = content.pop("<<")
    merged: dict[str, Any] = {}
    # Earlier sources win over later ones, and the mapping's own keys over all.
    for source in reversed(sources if isinstance(sources, list) else [sources]):
        if not isinstance(source, dict):
            raise _complaint(node, "<< merges mappings only")
        merged |= source
    return merged | content


def _complaint(node: Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _dropped(node: Node, path: Steps) -> Iterator[Steps]:
    if node.tag in ("!reset", "!override"):
        yield path
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _dropped(value, path if key.value == "<<" else (*path, key.value))

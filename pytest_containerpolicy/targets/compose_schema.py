"""Whether a Compose file has the shape that Compose accepts: keys, types and allowed values.

The schema is the specification's own, as Docker Compose embeds it. It is walked here, because a
general validator takes longer than all other reading together.
https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

Schema = Mapping[str, Any]
Steps = tuple[str | int, ...]
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
# What these hold may be secret, so it is not shown.
_HIDDEN = frozenset(("args", "command", "content", "entrypoint", "environment", "labels"))
_MOST_LISTED = 25


class Problem(Struct, frozen=True):
    """What is wrong where: `services.web.ports`, `must be a list, found 'x'`."""

    path: Steps
    text: str


def find_problem(content: Any) -> Problem | None:
    """The first place where a Compose file differs from the specification, or None."""
    return next(_problems(content, _schema(), ()), None)


@cache
def _schema() -> Schema:
    text = files(__package__).joinpath("compose_schema.json").read_text(encoding="utf-8")
    schema: Schema = json.loads(text)
    resolved: Schema = _resolve(schema, schema["definitions"])
    return resolved


def _resolve(node: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with every reference replaced by what it refers to, types by Python's."""
    if isinstance(node, list):
        return [_resolve(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions)
    resolved = {key: _resolve(value, definitions) for key, value in node.items()}
    if isinstance(node.get("patternProperties"), dict):
        resolved["patternProperties"] = [
            (re.compile(pattern), schema)
            for pattern, schema in resolved["patternProperties"].items()
        ]
    if isinstance(node.get("type"), str | list):
        resolved["type"] = [node["type"]] if isinstance(node["type"], str) else node["type"]
        resolved["python"] = frozenset(kind for name in resolved["type"] for kind in _TYPES[name])
    return resolved


def _problems(value: Any, schema: Schema, path: Steps) -> Iterator[Problem]:
    if "oneOf" in schema:
        yield from _one_of(value, schema["oneOf"], path)
        return
    allowed = schema.get("python")
    if allowed is not None and type(value) not in allowed:
        yield Problem(path, f"must be {_type_names(schema)}, found {_shown(value, path)}")
        return
    check = _CHECKS.get(type(value))
    if check is not None:
        yield from check(value, schema, path)


def _one_of(value: Any, alternatives: list[Schema], path: Steps) -> Iterator[Problem]:
    found: list[Problem] = []
    for schema in alternatives:
        problem = next(_problems(value, schema, path), None)
        if problem is None:
            return
        found.append(problem)
    deepest = max(found, key=lambda problem: len(problem.path))
    if len(deepest.path) == len(path) and all("python" in schema for schema in alternatives):
        fitting = [
            p for p, s in zip(found, alternatives, strict=True) if type(value) in s["python"]
        ]
        types = " or ".join(_type_names(schema) for schema in alternatives)
        deepest = (fitting or [Problem(path, f"must be {types}, found {_shown(value, path)}")])[0]
    yield deepest


def _mapping(value: dict[str, Any], schema: Schema, path: Steps) -> Iterator[Problem]:
    properties = schema.get("properties", {})
    for key, content in value.items():
        known = properties.get(key) if key in properties else _by_pattern(key, schema)
        if known is not None:
            yield from _problems(content, known, (*path, key))
        elif schema.get("additionalProperties") is False:
            yield Problem((*path, key), _unknown_key(key, schema))
    for key in schema.get("required", ()):
        if key not in value:
            yield Problem(path, f"needs the key {key!r}")


def _by_pattern(key: str, schema: Schema) -> Schema | None:
    for pattern, content in schema.get("patternProperties", ()):
        if pattern.search(key):
            found: Schema = content
            return found
    return None


def _unknown_key(key: str, schema: Schema) -> str:
    words = sorted(schema.get("properties", ()))
    if not words:
        return "a name has letters, digits, dots, hyphens and underscores only"
    near = get_close_matches(key, words, n=1, cutoff=0.5)
    if near:
        return f"unknown key, did you mean {near[0]!r}?"
    allowed = f" (allowed: {', '.join(words)})" if len(words) <= _MOST_LISTED else ""
    return f"unknown key{allowed}; own keys start with x-"


def _list(value: list[Any], schema: Schema, path: Steps) -> Iterator[Problem]:
    items = schema.get("items")
    if items is not None:
        for index, item in enumerate(value):
            yield from _problems(item, items, (*path, index))
    if schema.get("uniqueItems"):
        for index, item in enumerate(value):
            if item in value[:index]:
                yield Problem((*path, index), "is given twice")


def _scalar(value: Any, schema: Schema, path: Steps) -> Iterator[Problem]:
    if "enum" in schema and value not in schema["enum"]:
        yield Problem(
            path, f"must be one of {', '.join(schema['enum'])}, found {_shown(value, path)}"
        )
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield Problem(path, f"must match {schema['pattern']}, found {_shown(value, path)}")
    if "minimum" in schema and value < schema["minimum"]:
        yield Problem(path, f"must be at least {schema['minimum']}, found {value}")
    if "maximum" in schema and value > schema["maximum"]:
        yield Problem(path, f"must be at most {schema['maximum']}, found {value}")


_CHECKS: dict[type, Callable[[Any, Schema, Steps], Iterator[Problem]]] = {
    dict: _mapping,
    list: _list,
    str: _scalar,
    int: _scalar,
    float: _scalar,
}


def _type_names(schema: Schema) -> str:
    return " or ".join(_WORDS[name] for name in schema["type"])


def _shown(value: Any, path: Steps) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, datetime):
        return "a date: put it in quotes"
    if not _HIDDEN.isdisjoint(path):
        return "another type"
    return "nothing" if value is None else repr(value)

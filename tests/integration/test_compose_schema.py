"""The schema that Compose files are checked against is Docker Compose's own."""

import json
import mmap
from importlib.resources import files
from typing import Any

from tests.compose_reference import BINARY

_START = b'{\n  "$schema": "https://json-schema.org/draft-07/schema",\n  "$id": "compose_spec.json"'
_REMARKS = ("$schema", "$id", "$comment", "default", "deprecated", "description", "title")


def test_schema_is_the_one_that_compose_embeds() -> None:
    """The shipped schema equals that of the newest Docker Compose, less its remarks."""
    with BINARY.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_START)
        embedded, _ = json.JSONDecoder().raw_decode(
            content[start : start + 200_000].decode("latin-1")
        )
    shipped = files("pytest_containerpolicy.targets").joinpath("compose_schema.json").read_text()
    assert _without_remarks(embedded) == _without_remarks(json.loads(shipped))


def _without_remarks(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_remarks(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property may have such a name; a remark is never a schema itself.
    return {
        key: _without_remarks(value)
        for key, value in node.items()
        if key not in _REMARKS or isinstance(value, dict)
    }

"""Files are read strictly, as the API server's tools read them, and know their lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_containerpolicy.errors import UsageError
from pytest_containerpolicy.targets.yaml_files import (
    LARGEST_FILE,
    load_documents,
    locate,
    parse_documents,
)

RECORDED = Path(__file__).parent / "recorded" / "kubernetes"


def _content(text: str) -> object:
    (document,) = parse_documents(text.encode(), "f.yaml")
    return document.content


def _complaint(content: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        parse_documents(content if isinstance(content, bytes) else content.encode(), "f.yaml")
    return str(caught.value)


def test_scalars_are_those_of_kubectl() -> None:
    """Booleans, numbers, dates, keys, merges and anchors read as recorded from kubectl."""
    expected = json.loads((RECORDED / "scalars.json").read_bytes())
    (document,) = load_documents(RECORDED / "scalars.yaml")

    assert expected == document.content["spec"]


def test_documents_know_the_line_they_start_at() -> None:
    """Comments and separators before a document are not its start; empty ones are left out."""
    text = "# top\na: 1\n---\n# none\n---\n\nb: 2\n---\n{c: 3}\n"

    found = [(document.line, document.content) for document in parse_documents(text.encode(), "f")]

    assert [(2, {"a": 1}), (7, {"b": 2}), (9, {"c": 3})] == found


def test_infinities_are_floats() -> None:
    """`.inf` and `-.INF` are numbers; JSON could not carry them, YAML can."""
    assert {"a": float("inf"), "b": float("-inf")} == _content("{a: .inf, b: -.INF}")


def test_unknown_tags_are_ignored() -> None:
    """A tag such as CloudFormation's does not stop the value from being read."""
    assert {"a": "x", "b": {"c": 1}} == _content("a: !Ref x\nb: !Thing {c: 1}")


def test_own_keys_win_over_merged_ones() -> None:
    """Of a list of merged mappings the earlier one wins, the mapping's own keys always do."""
    text = "{x: &x {a: 1, b: 1, c: 1}, z: &z {b: 2, d: 2}, m: {c: 3, <<: [*x, *z]}}"

    assert {"a": 1, "b": 1, "c": 3, "d": 2} == _content(text)["m"]  # type: ignore[index]


def test_a_quoted_merge_key_is_a_key() -> None:
    """`"<<"` in quotes is text like any other."""
    assert {"<<": {"a": 1}} == _content('"<<": {a: 1}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml:4: duplicate key 'c', first given in line 3"),
        ("1: a\n'1': b\n", "f.yaml:2: duplicate key '1', first given in line 1"),
        ('{"a": 1,\n"a": 2}', "f.yaml:2: duplicate key 'a', first given in line 1"),
        ("a: b: c", "f.yaml:1: mapping values are not allowed in this context"),
        ("? [a]\n: b", "f.yaml:1: a key must be text, found a list or a mapping"),
        ("a: !!int x", "f.yaml:1: 'x' is not of type tag:yaml.org,2002:int"),
        ("<<: 1", "f.yaml:1: << merges mappings only"),
        (b"a: \xff\xfe", "f.yaml: not text: byte 3: invalid leading UTF-8 octet"),
        (b"\x00\x01\x02", "f.yaml: not text: byte 0: control characters are not allowed"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str | bytes, expected: str) -> None:
    """Duplicate keys, syntax, odd keys and bytes that are no text name the file and the line."""
    assert expected == _complaint(text)


def test_an_unclosed_flow_is_an_error() -> None:
    """A file that ends in the middle is not read as far as it goes."""
    assert _complaint("a: [1, 2").startswith("f.yaml:2: did not find expected ',' or ']'")


def test_aliases_that_expand_without_bound_are_refused() -> None:
    """Nine levels of nine aliases stand for billions of values."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 10)]
    text = "\n".join(["l0: &l0 [1, 2, 3, 4, 5, 6, 7, 8, 9]", *levels])

    assert _complaint(text).startswith("f.yaml:1: its aliases expand to ")


def test_a_chain_of_aliases_is_refused() -> None:
    """Each anchor holds the one before: a nesting that no line shows."""
    text = "\n".join(["l0: &l0 [1]", *(f"l{i}: &l{i} [*l{i - 1}]" for i in range(1, 850))])

    assert _complaint(text) == "f.yaml: its aliases are nested too deeply to be read"


def test_an_alias_to_itself_is_refused() -> None:
    """A list that holds itself has no end."""
    assert _complaint("a: &a [*a]") == "f.yaml:1: an alias inside of what it stands for"


@pytest.mark.parametrize("text", ["[" * 900, "- " * 900, '{"a":' * 900])
def test_deep_nesting_is_refused(text: str) -> None:
    """No manifest is nested that deeply."""
    assert "nested deeper than 300 levels" in _complaint(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, '{"a":' * 100_000])
def test_bottomless_nesting_is_refused(text: str) -> None:
    """It would overflow the stack of an older libyaml; newer ones have a bound of their own."""
    assert re.search("nested deeper|maximum nesting depth", _complaint(text))


def test_ordinary_anchors_are_fine() -> None:
    """Anchors that save a few lines are what they are for."""
    assert {"a": {"x": 1}, "b": {"x": 1}} == _content("a: &a {x: 1}\nb: *a")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """50 MiB are not read to find out that they are no manifest."""
    file = tmp_path / "huge.yaml"
    with file.open("wb") as stream:
        stream.truncate(50 * 2**20)

    with pytest.raises(UsageError) as caught:
        load_documents(file)

    limit = LARGEST_FILE >> 20
    assert f"{file}: larger than {limit} MiB: split it, or leave it out" == str(caught.value)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    """What the system says of the file, and the file's name."""
    with pytest.raises(UsageError, match=r"absent\.yaml: No such file or directory$"):
        load_documents(tmp_path / "absent.yaml")


def test_json_is_read_as_such() -> None:
    """Escapes that YAML does not know are JSON's own."""
    (document,) = parse_documents(b'\n {"a": "\\ud83d\\ude00", "b": 1e3, "c": null}', "f.json")

    assert (2, {"a": "\N{GRINNING FACE}", "b": 1000, "c": None}) == (
        document.line,
        document.content,
    )


LOCATED = """\
kind: List
items:
- kind: Deployment
  spec:
    containers:
    - name: app
      resources:
        limits: {memory: 1Gi}
---
metadata:
  labels:
    app.kubernetes.io/name: web
    app: web
"""


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        (1, "items[0].spec.containers[0]", 6),
        (3, "spec.containers[0].resources.limits.memory", 8),
        (3, "spec.containers[0].resources.requests.memory", 7),
        (3, "spec.containers[7].image", 5),
        (3, "spec.containers[*].image", 5),
        (3, "", 3),
        (10, "metadata.labels.app.kubernetes.io/name", 12),
        (10, "metadata.labels.app", 13),
        (10, "status", 10),
        (99, "spec", 99),
    ],
)
def test_a_field_is_located(tmp_path: Path, line: int, path: str, expected: int) -> None:
    """The line of the field, else of its nearest ancestor; items of lists are documents too."""
    file = tmp_path / "f.yaml"
    file.write_text(LOCATED)

    assert expected == locate(file, line, path)


def test_locating_in_a_file_that_is_gone_keeps_the_line(tmp_path: Path) -> None:
    """Between reading and reporting a file may vanish: the document's line still stands."""
    assert locate(tmp_path / "gone.yaml", 7, "spec") == 7


def test_a_changed_file_is_located_anew(tmp_path: Path) -> None:
    """What was remembered of a file does not outlive the file's content."""
    file = tmp_path / "f.yaml"
    file.write_text("a: 1\nb: 2\n")
    assert locate(file, 1, "b") == 2

    file.write_text("a: 1\n\n\nb: 2\n")

    assert locate(file, 1, "b") == 4

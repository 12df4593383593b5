"""Variables in Compose files: `${VAR:-default}` and the like, and the `.env` files they come from.

https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md
The corners (greedy braces, defaults that are evaluated even when they are not needed) are those of
Docker Compose 2.40.3; a differential test against it keeps them so.
"""

import re
from collections.abc import Mapping

from msgspec import Struct, field

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<named>[_a-zA-Z][_a-zA-Z0-9]*)"
    r"|\{(?:(?P<braced>[_a-zA-Z][_a-zA-Z0-9]*(?::?[-+?].*)?)\}|(?P<invalid>)))"
)
_OPERATOR = re.compile(r":?[-+?]")
_KEY = re.compile(r"[\w.\-\[\]\t\v\f\r ]*")
_ESCAPE = re.compile(r'\\[abcfnrtv$"\\]|\\0\d{0,3}')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class InterpolationError(ValueError):
    """Text whose variables can't be replaced; the message says why."""


class MalformedVariable(InterpolationError):
    """Text with a `${` that is no variable. `text` may be secret; the message leaves it out."""

    def __init__(self, text: str) -> None:
        super().__init__("invalid interpolation: write ${NAME}, or $$ for a dollar sign")
        self.text = text


class Variables(Struct):
    """Values by name; remembers the names that were asked for and had none.

    Of those `unset` have no default either, and are taken as blank.
    """

    values: Mapping[str, str]
    unset: set[str] = field(default_factory=set)
    without_value: set[str] = field(default_factory=set)

    def get(self, name: str) -> str | None:
        if name not in self.values:
            self.without_value.add(name)
        return self.values.get(name)

    def get_or_blank(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            self.unset.add(name)
        return value or ""


def substitute(template: str, variables: Variables) -> str:
    """`template` with its variables replaced; an unset one without default is blank.

    Raises `InterpolationError` for a malformed `${` and for a required variable that is missing.
    """
    if "$" not in template:
        return template
    return _VARIABLE.sub(lambda match: _replacement(match[0], template, variables), template)


def _replacement(text: str, template: str, variables: Variables) -> str:
    text, rest = _split_at_closing_brace(text)
    match = _VARIABLE.fullmatch(text)
    if match is None or match["invalid"] is not None:
        raise MalformedVariable(template)
    if match["escaped"]:
        return "$"
    if match["named"]:
        return variables.get_or_blank(match["named"])
    return _braced(match["braced"], variables) + substitute(rest, variables)


def _split_at_closing_brace(text: str) -> tuple[str, str]:
    # The pattern is greedy, `${A:-x}-${B:-y}` is one match: cut it where the first brace closes.
    depth = 0
    for index, character in enumerate(text):
        if character == "}":
            depth -= 1
            if depth == 0:
                return text[: index + 1], text[index + 1 :]
        depth += character == "{"
    return text, ""


def _braced(expression: str, variables: Variables) -> str:
    operator = _OPERATOR.search(expression)
    if operator is None:
        return variables.get_or_blank(expression)
    name, argument = expression[: operator.start()], expression[operator.end() :]
    argument = substitute(argument, variables)
    value = variables.get(name)
    present = value is not None and (value != "" or operator[0][0] != ":")
    match operator[0][-1]:
        case "+":
            return argument if present else value or ""
        case "?" if not present:
            reason = f": {argument}" if argument else ""
            raise InterpolationError(f"required variable {name} is missing a value{reason}")
        case "-" if not present:
            return argument
    return value or ""


def parse_env_file(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `.env` file; values may refer to `environment` and to earlier lines.

    Raises `InterpolationError`, naming the line, for what Compose can't read either.
    """
    return _EnvFile(text.removeprefix("\ufeff"), environment).parse()


class _EnvFile:
    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self._text = text
        self._position = 0
        self._environment = environment
        self._values: dict[str, str] = {}

    def parse(self) -> dict[str, str]:
        while self._skip_to_statement():
            key, inherited = self._read_key()
            if inherited:
                if key in self._environment:
                    self._values[key] = self._environment[key]
            else:
                self._values[key] = self._read_value()
        return self._values

    def _skip_to_statement(self) -> bool:
        blank = re.compile(r"(?:\s|#[^\n]*(?:\n|\Z))*").match(self._text, self._position)
        self._position = blank.end() if blank else self._position
        return self._position < len(self._text)

    def _read_key(self) -> tuple[str, bool]:
        export = re.compile(r"export[ \t]+").match(self._text, self._position)
        start = export.end() if export else self._position
        match = _KEY.match(self._text, start)
        end = match.end() if match else start
        separator = self._text[end : end + 1]
        key = self._text[start:end].rstrip()
        if separator not in ("=", ":", "\n", ""):
            raise self._error(f"unexpected character {separator!r} in variable name")
        if " " in key:
            raise self._error("a variable name can't contain a space")
        self._position = end + 1
        return key, separator in ("\n", "")

    def _read_value(self) -> str:
        match = re.compile(r"[ \t\v\f\r]*").match(self._text, self._position)
        self._position = match.end() if match else self._position
        if self._text[self._position : self._position + 1] in ("'", '"'):
            return self._read_quoted(self._text[self._position])
        end = self._text.find("\n", self._position)
        end = len(self._text) if end < 0 else end
        value = self._text[self._position : end].partition(" #")[0].rstrip()
        self._position = end
        return self._expand(value)

    def _read_quoted(self, quote: str) -> str:
        pattern = re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL)
        match = pattern.match(self._text, self._position)
        if match is None:
            raise self._error("unterminated quoted value")
        self._position = match.end()
        value = match[1].replace("\\" + quote, quote)
        return self._expand(_ESCAPE.sub(_unescape, value)) if quote == '"' else value

    def _expand(self, value: str) -> str:
        return substitute(value, Variables({**self._values, **self._environment}))

    def _error(self, problem: str) -> InterpolationError:
        line = self._text.count("\n", 0, self._position) + 1
        return InterpolationError(f"line {line}: {problem}")


def _unescape(match: re.Match[str]) -> str:
    text = match[0][1:]
    if text == "$":
        return "$$"
    if text.startswith("0"):
        return chr(int(text[1:], 8)) if len(text) == 4 and text.isdigit() else match[0]
    return _ESCAPED.get(text, text)

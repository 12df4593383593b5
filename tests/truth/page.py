"""The page of the truth table, from the last measurement that was kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import Struct

from pytest_containerpolicy.policies import builtin_pack
from tests.truth.campaign import Answers
from tests.truth.cases import CORPUS, Case, Challenge
from tests.truth.measuring import RATE, Answer
from tests.truth.scores import Row, Score, rows, score

MEASURED = CORPUS / "measured.json"
_LONGEST = 160
_INTRODUCTION = f"""\
<!-- Generated from tests/truth by `python -m tests.truth`; measured by `python -m tests.truth measure`. -->

# What declared verdicts are worth

Each case of [tests/truth](../tests/truth) is a deployable file with a known fault, or its mended
twin. It is judged from the file alone by the declared policies, in profile `audit`; then it is
deployed and measured by the experiments, with {RATE} requests a second where there is traffic.

* **precision**: of the faults that the declared policies predict, the share that is measured.
* **recall**: of the faults that are measured, the share that the declared policies predict.

Both count the questions that configuration can answer. Those that it can't - what the program does
on SIGTERM, whether the network enforces policies, how many nodes there are - are marked with *;
there profile `audit` never passes on the declared policies alone."""


class Kept(Struct, frozen=True):
    """A measurement that is kept: when, and the answers of each case."""

    day: str
    cases: dict[str, Answers]


def page_file() -> Path:
    """Where the page stands."""
    return builtin_pack().folder / "truth.md"


def kept() -> Kept:
    """The measurement that is kept beside the corpus."""
    return msgspec.json.decode(MEASURED.read_bytes(), type=Kept)


def keep(found: Kept) -> None:
    """Keep a measurement."""
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    MEASURED.write_bytes(text + b"\n")


def page(found: Kept) -> str:
    """The page: scores per challenge, then each case."""
    table = rows({name: _outcomes(answers) for name, answers in found.cases.items()})
    scores = [score(challenge, table) for challenge in get_args(Challenge)]
    lines = [_INTRODUCTION, "", f"Measured on {found.day}: {_counts(table)}.", ""]
    lines += ["| challenge | questions | faults predicted | measured | both | precision | recall |"]
    lines += ["|---|---|---|---|---|---|---|", *map(_score_line, scores), ""]
    for challenge in get_args(Challenge):
        lines += [f"## {challenge.capitalize()}", ""]
        lines += ["| case | question | predicted | measured | in figures |", "|---|---|---|---|---|"]
        own = (row for row in table if row.case.challenge == challenge)
        lines += [_line(row, found.cases[row.case.id][row.question]) for row in own]
        lines.append("")
    return "\n".join(lines)


def _outcomes(answers: Answers) -> dict[str, str]:
    return {question: answer.outcome for question, answer in answers.items()}


def _counts(table: list[Row]) -> str:
    cases = {row.case.id for row in table}
    hidden = sum(not row.is_knowable for row in table)
    return (
        f"{len(cases)} cases on {len({row.case.platform for row in table})} platforms,"
        f" {len(table)} questions, {hidden} of them beyond configuration"
    )


def _score_line(of: Score) -> str:
    return (
        f"| {of.challenge} | {of.questions} | {of.predicted} | {of.measured} | {of.both}"
        f" | {of.precision:.2f} | {of.recall:.2f} |"
    )


def _line(row: Row, answer: Answer) -> str:
    case = row.case
    link = f"[{case.platform}/{case.name}](../tests/truth/{case.id}.yaml)"
    star = "" if row.is_knowable else "*"
    told = "-" if row.predicted == "silent" else row.predicted
    return (
        f"| {link}: {_cell(case.header.about)} | {row.question}{star} | {told} | {row.measured}"
        f" | {_cell(_shown(case, answer))} |"
    )


def _shown(case: Case, answer: Answer) -> str:
    text = answer.text.partition(", wanted ")[0] if answer.outcome == "fault" else answer.text
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rsplit(' ', 1)[0]} ..."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").rstrip(".")


def documents() -> Iterator[tuple[Path, str]]:
    """The generated files and their text."""
    yield page_file(), page(kept())

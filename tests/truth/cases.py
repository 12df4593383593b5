"""Read the corpus: every file is a case, and a header that is wrong in any way is an error."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from pytest_containerpolicy.targets.inventory import Platform

CORPUS = Path(__file__).parent
Challenge = Literal["upgrades", "storage", "resources", "networking"]
Outcome = Literal["ok", "fault"]
Question = Literal[
    "rollout",
    "rollback",
    "graceful-stop",
    "crash",
    "drain",
    "start-order",
    "data",
    "written",
    "limits",
    "services",
    "reachability",
    "ports",
    "isolation",
]


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """What a case's file says of itself.

    `expect` has what is measured for each question; `unknowable` are the questions that the
    configuration can't answer. `needs` is what the environment must have. What never becomes ready
    has `starts: false`; `warm_up` is for how many seconds what seems to be ready can't answer yet.
    `mended_by` is the case beside it without the fault, or `PLATFORM/CASE`.
    """

    about: str
    subject: str
    expect: dict[Question, Outcome]
    unknowable: tuple[Question, ...] = ()
    needs: Literal["", "network-policies"] = ""
    starts: bool = True
    warm_up: int = 0
    mended_by: str = ""


class Case(Struct, frozen=True):
    """One case. `name` is unique on its platform and within its challenge."""

    file: Path
    challenge: Challenge
    platform: Platform
    name: str
    header: Header

    @property
    def id(self) -> str:
        """What tests and tables call it: `upgrades/kubernetes/recreate`."""
        return f"{self.challenge}/{self.platform}/{self.name}"

    @property
    def subject(self) -> str:
        """The workload that is judged and measured: `Deployment/web`, or a plain name."""
        return self.header.subject

    @property
    def is_faulty(self) -> bool:
        """Whether any question about it is answered with a fault."""
        return "fault" in self.header.expect.values()


@cache
def cases() -> tuple[Case, ...]:
    """All cases, sorted. Raises `ValueError` that names the file and what is wrong with it."""
    found = tuple(sorted(map(_case, CORPUS.glob("*/*/*.yaml")), key=lambda case: case.id))
    by_id = {case.id: case for case in found}
    for case in found:
        for problem in _problems(case, by_id):
            raise ValueError(f"{case.file}: {problem}")
    return found


def _case(file: Path) -> Case:
    lines = takewhile(lambda line: line.startswith("# "), file.read_text().splitlines())
    text = "\n".join(line.removeprefix("# ") for line in lines)
    challenge, platform = file.parts[-3:-1]
    try:
        header = msgspec.yaml.decode(text.encode(), type=Header)
        return Case(
            file=file,
            challenge=msgspec.convert(challenge, Challenge),
            platform=msgspec.convert(platform, Platform),
            name=file.stem,
            header=header,
        )
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file}: {error}") from None


def _problems(case: Case, by_id: dict[str, Case]) -> Iterator[str]:
    header = case.header
    if not header.expect:
        yield "expects nothing"
    if unasked := set(header.unknowable) - set(header.expect):
        yield f"unknowable {', '.join(sorted(unasked))} is not in expect"
    if case.is_faulty != bool(header.mended_by):
        yield "a case with a fault, and no other, names the one that mends it (mended_by)"
    beside = header.mended_by if "/" in header.mended_by else f"{case.platform}/{header.mended_by}"
    twin = by_id.get(f"{case.challenge}/{beside}")
    if header.mended_by and (twin is None or twin.is_faulty):
        yield f"mended_by {header.mended_by}: no case without a fault is called so"
    if case.platform in ("swarm", "docker") and case.subject != f"truth-{case.name}":
        yield f"subject {case.subject}: wanted truth-{case.name}"


def questions() -> tuple[Question, ...]:
    """Every question that a case may ask."""
    return get_args(Question)

"""All cases deployed and measured, several side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.testbed import docker_engine, kubernetes, swarm
from tests.truth.cases import Case, Outcome, Question
from tests.truth.deployments import Beds
from tests.truth.measuring import Answer, measure

SIDE_BY_SIDE = 5
Answers = dict[Question, Answer]


@contextmanager
def open_beds(folder: Path) -> Iterator[Beds]:
    """The real environments; `folder` is for what cases keep on the host."""
    with ExitStack() as stack:
        cluster = stack.enter_context(kubernetes())
        engine = stack.enter_context(docker_engine())
        yield Beds(cluster, engine, stack.enter_context(swarm()), folder)


def measure_all(
    cases: Iterable[Case], beds: Beds, said: Callable[[str], None] = lambda _: None
) -> dict[str, Answers]:
    """The answers of each case by its id.

    Those that need a network that enforces policies come first; at the others nothing does. A case
    that does not answer as it expects is measured once more, alone.
    """
    # The longest first; sorted by name, neighbours are of several platforms.
    chosen = sorted(cases, key=lambda case: (-len(case.header.expect), case.name))
    cluster, found = beds.cluster, dict[str, Answers]()
    for need, surroundings in (
        ("network-policies", cluster.enforce_network_policies),
        ("", cluster.ignore_network_policies),
    ):
        own = [case for case in chosen if case.header.needs == need]
        if not own:
            continue
        with surroundings():
            found |= _measured(own, beds, said, SIDE_BY_SIDE)
            found |= _measured(_differing(own, found), beds, said, 1)
    return found


def outcomes(answers: Answers) -> dict[Question, str]:
    """What came out for each question, without the words."""
    return {question: answer.outcome for question, answer in answers.items()}


def expected(case: Case) -> dict[Question, Outcome]:
    """What a case's file says comes out."""
    return case.header.expect


def _differing(cases: Iterable[Case], found: dict[str, Answers]) -> list[Case]:
    return [case for case in cases if outcomes(found[case.id]) != expected(case)]


def _measured(
    cases: Sequence[Case], beds: Beds, said: Callable[[str], None], side_by_side: int
) -> dict[str, Answers]:
    def one(case: Case) -> Answers:
        started = time.monotonic()
        answers = _answers(case, beds)
        words = ", ".join(f"{question} {a.outcome}: {a.text}" for question, a in answers.items())
        sign = "" if outcomes(answers) == expected(case) else " OTHERWISE"
        said(f"{case.id}{sign} ({time.monotonic() - started:.0f} s): {words}")
        return answers

    with ThreadPoolExecutor(side_by_side) as pool:
        return dict(zip([case.id for case in cases], pool.map(one, cases), strict=True))


def _answers(case: Case, beds: Beds) -> Answers:
    """What a case answers; whatever stops it is no answer to any of its questions."""
    try:
        return measure(case, beds)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return dict.fromkeys(case.header.expect, Answer("unknown", text))

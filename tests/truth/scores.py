"""How often declared verdicts predict what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from tests.truth.cases import Case, Challenge, Question, cases
from tests.truth.predictions import Prediction, predicted


class Row(Struct, frozen=True):
    """One question to one case: what files say, and what came out."""

    case: Case
    question: Question
    predicted: Prediction
    measured: str

    @property
    def audited(self) -> Prediction:
        """What profile audit says, which assumes nothing that no configuration shows."""
        return predicted(self.case, self.question, assuming=False)

    @property
    def is_knowable(self) -> bool:
        """Whether the answer is in the configuration at all."""
        return self.question not in self.case.header.unknowable


class Score(Struct, frozen=True):
    """How many faults of a challenge were predicted, measured, and both; of so many questions.

    Of the faults that configuration can't show (`hidden`), an audit says of `unknown` that it does
    not know, and has nothing to say of the others.
    """

    challenge: Challenge
    questions: int
    predicted: int
    measured: int
    both: int
    hidden: int
    unknown: int

    @property
    def precision(self) -> float:
        """The share of predicted faults that came out."""
        return self.both / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        """The share of measured faults that were predicted."""
        return self.both / self.measured if self.measured else 1.0


def rows(measured: Mapping[str, Mapping[Question, str]]) -> list[Row]:
    """Every question that was measured, in the order of the corpus."""
    return [
        Row(case, question, predicted(case, question), measured[case.id][question])
        for case in cases()
        if case.id in measured
        for question in case.header.expect
        if question in measured[case.id]
    ]


def score(challenge: Challenge, of: Iterable[Row]) -> Score:
    """The score of one challenge, over what configuration can tell."""
    all_of_it = [row for row in of if row.case.challenge == challenge]
    own = [row for row in all_of_it if row.is_knowable]
    hidden = [row for row in all_of_it if not row.is_knowable and row.measured == "fault"]
    foretold = [row for row in own if row.predicted == "fault"]
    return Score(
        challenge=challenge,
        questions=len(own),
        predicted=len(foretold),
        measured=sum(row.measured == "fault" for row in own),
        both=sum(row.measured == "fault" for row in foretold),
        hidden=len(hidden),
        unknown=sum(row.audited == "unknown" for row in hidden),
    )

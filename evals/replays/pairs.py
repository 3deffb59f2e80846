"""Pairs: a judge or a person takes the better of two results, without knowing which is the change."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from ...nodes.ask import Ask
from ...nodes.steps import Step
from ...state.errors import BudgetExceeded, InvalidAnswer, ModelError, UnboundRole
from ...state.session.session import Session
from ...tracing.export.scores import score
from ...tracing.record.reads import read_rows
from ..running.runner import spread
from ..scoring.evaluators import shown_whole
from ..scoring.judge import CACHE_S, JUDGE_ROLE, SYSTEM, judging
from .cases import CaseDifference, Preference

PREFERRED: Final = "preferred"  # the score by which a person's choice is on record
BY_A_PERSON: Final = "a person's choice"
Choice = Literal["first", "second", "tie"]
VALUES: dict[Preference, float] = {"change": 1.0, "recorded": -1.0, "tie": 0.0}


class PairVerdict(BaseModel):
    """What a judge of a pair answers."""

    reason: str = Field(max_length=500)
    better: Choice


@dataclass
class PairExhibit:
    """What a judge of a pair looks at: the question, and both results as text."""

    question: str
    exhibits: str


def choose(pair: PairExhibit) -> Ask[PairVerdict]:
    return Ask(f"{pair.question}\n\n{pair.exhibits}", system=ORDER, temperature=0.0, max_tokens=400)


ORDER = (
    f"{SYSTEM} Two results for one input are shown. Say which is better by the rubric: first, second, or tie."
)


@dataclass(frozen=True)
class Pair:
    """Two results of one case, in an order that was drawn; `swapped` tells that the change stands first."""

    case: CaseDifference
    first: dict[str, Any]
    second: dict[str, Any]
    swapped: bool

    @property
    def shared_values(self) -> dict[str, Any]:
        """What both sides have in common, which is what they were given."""
        case = self.case
        return {name: value for name, value in case.recorded.values.items() if name not in case.differs}

    def preference(self, choice: Choice) -> Preference:
        """Return what a choice among the two means."""
        if choice == "tie":
            return "tie"
        return "change" if (choice == "first") == self.swapped else "recorded"


def pairs_of(cases: Sequence[CaseDifference], seed: int, fields: Sequence[str] = ()) -> Iterator[Pair]:
    """Yield the pairs to decide between: cases that differ in these fields, or in any."""
    for case in cases:
        if not case.ended:
            continue
        names = [name for name in case.differs if name in fields or not fields]
        if not names:
            continue
        sides = [{name: case.differs[name][which] for name in names} for which in (0, 1)]
        swapped = random.Random(f"{seed} {case.origin}").random() < 0.5  # noqa: S311
        if swapped:
            sides.reverse()
        yield Pair(case, sides[0], sides[1], swapped)


@dataclass(frozen=True)
class PairJudge:
    """A model of the role `judge` that takes the better of two results; equal ones are a tie, unasked."""

    question: str
    seed: int
    fields: Sequence[str] = ()
    left: list[str] = field(default_factory=list)  # what the budget did not reach

    async def decide(self, cases: Sequence[CaseDifference], jobs: int) -> list[CaseDifference]:
        """Return the cases with what the judge took; what a person took stands."""
        decided: dict[str, tuple[Preference | None, str]] = {}
        step: Step[Any, PairVerdict] = Step(
            choose,
            "verdict",
            state=PairExhibit,
            answer=PairVerdict,
            model=JUDGE_ROLE,
            tries=2,
            cache_s=CACHE_S,
        )

        async def one(pair: Pair) -> None:
            if pair.case.preferred is not None:
                return
            shown = shown_whole({"input": pair.shared_values, "first": pair.first, "second": pair.second})
            try:
                verdict = await step.answer(PairExhibit(self.question, shown), judging.get())
            except UnboundRole:
                raise
            except BudgetExceeded:
                self.left.append(pair.case.origin)
                return
            except (InvalidAnswer, ModelError) as error:
                decided[pair.case.origin] = (None, f"the judge did not decide: {error}")
                return
            decided[pair.case.origin] = (pair.preference(verdict.better), verdict.reason)

        pairs = list(pairs_of(cases, self.seed, self.fields))
        await spread(pairs, one, jobs, lambda: bool(self.left))
        origins = {pair.case.origin for pair in pairs}
        return [
            replace(case, preferred=decided[case.origin][0], reason=decided[case.origin][1])
            if case.origin in decided
            else replace(case, preferred="tie", reason="the two are equal")
            if case.origin not in origins and case.ended and case.preferred is None
            else case
            for case in cases
        ]


def decided_by_people(session: Session, cases: Sequence[CaseDifference]) -> list[CaseDifference]:
    """Return the cases with what people took before."""
    return [_with_choice(session, case) for case in cases]


def _with_choice(session: Session, case: CaseDifference) -> CaseDifference:
    for row in reversed(read_rows(session.journal.query, "scores", case.thread)):
        if row["name"] == PREFERRED:
            preferred = next(name for name, value in VALUES.items() if value == row["value"])
            return replace(case, preferred=preferred, reason=row["comment"] or BY_A_PERSON)
    return case


def decide(
    session: Session,
    cases: Sequence[CaseDifference],
    seed: int,
    ask: Callable[[Pair, int, int], Choice | None],
    fields: Sequence[str] = (),
) -> list[CaseDifference]:
    """Let a person take the better result of each pair that nobody decided; `ask` returns None to stop."""
    open_pairs = [pair for pair in pairs_of(cases, seed, fields) if pair.case.preferred is None]
    random.Random(seed).shuffle(open_pairs)  # noqa: S311
    preferences: dict[str, Preference] = {}
    for number, pair in enumerate(open_pairs, 1):
        choice = ask(pair, number, len(open_pairs))
        if choice is None:
            break
        preferences[pair.case.origin] = preference = pair.preference(choice)
        score(session, pair.case.thread, PREFERRED, VALUES[preference], comment=BY_A_PERSON)
    return [
        replace(case, preferred=preferences[case.origin], reason="a person's choice")
        if case.origin in preferences
        else case
        for case in cases
    ]


def score_of(preferred: Preference | None) -> tuple[float, float]:
    """Return which share of a case each side wins: what is on record, and the change."""
    if preferred == "tie" or preferred is None:
        return 0.5, 0.5
    return (0.0, 1.0) if preferred == "change" else (1.0, 0.0)

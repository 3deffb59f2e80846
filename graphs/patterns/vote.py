"""The vote: several draws or voters answer one question, and the majority counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, overload

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.costs import All, Times, cost_of
from ...nodes.node import Decider, Node, Update, record_decision
from ...nodes.steps import Step
from ...state.errors import DefinitionError, NoAnswer
from ...state.json_text import json_text
from ...state.schema import StateType, check_fields, extended, fields_of, restored, values_of
from ...state.serde import allow
from ..engine.branches import FATAL, Branch, branch, timed
from ..engine.options import answered_field, check_field, check_timeout, may_be
from ..engine.race import RACE, Race, Start, forget_race, race_of
from ..engine.workflow import NodeLike, SoFar, Workflow, name_of, state_of
from ..engine.writes import spread

V = TypeVar("V")
U = TypeVar("U")

BALLOTS = "stepgraph_ballots"


@dataclass(frozen=True)
class Ballot:
    """The vote of one voter: the text its answer counts by and what it wrote, or why there is none."""

    number: int
    voter: str
    answer: str | None = None
    update: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class Tally:
    """How a vote went.

    `counts` has the ballots of each answer, as text; `agreement` is the leader's share of them, 0 to 1.
    `asked` voters were there; those not in `counts` failed, or were called off once it was decided.
    """

    decided: bool
    counts: dict[str, int]
    agreement: float
    asked: int
    failed: dict[str, str] = field(default_factory=dict)
    warning: str = ""


Ballots = Annotated[list[Ballot], Topic]

allow(Ballot)
allow(Tally)


def is_decided(answers: Sequence[str | None], voters: int, needed: int) -> bool:
    """Tell whether the ballots that are missing can no longer change the outcome; None failed.

    It is decided both ways: by a winner, and when no answer can reach `needed` any more. Failures alone
    decide nothing: else who comes first would say whether nobody has won, or nobody has answered.
    """
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return False
    lead = max(counts.values())
    return lead >= needed or lead + voters - len(answers) < needed


@dataclass(frozen=True)
class _Voting:
    """How the ballots count."""

    field: str
    voters: int
    needed: int
    key: Callable[[Any], Hashable]
    timeout_s: float | None


@dataclass(frozen=True)
class _Voter:
    """Casts one ballot, and cancels the other voters once the vote is decided."""

    number: int
    name: str
    voting: _Voting

    async def __call__(self, state: Any, config: RunnableConfig, work: Branch) -> Update:
        race = await race_of(state, config, self.number, BALLOTS, self._note)
        limited = partial(timed, work, self.voting.timeout_s, f"Voter {self.number + 1}")
        try:
            update = await race.run(self.number, limited)
            if update is None:
                return {}
            ballot = self._cast({**values_of(state), **update}[self.voting.field], update)
        except FATAL:
            raise
        except Exception as error:
            ballot = Ballot(self.number, self.name, failure=f"{type(error).__name__}: {error}")
        self._note(race, ballot)
        return {BALLOTS: ballot}

    def _cast(self, answer: Any, update: Update) -> Ballot:
        key = self.voting.key(answer)
        return Ballot(self.number, self.name, key if isinstance(key, str) else json_text(key), update)

    def _note(self, race: Race, ballot: Ballot) -> int:
        race.results[ballot.number] = ballot.answer
        # A race that is rebuilt from the checkpoint may be decided already: it ends here, unpaid.
        if is_decided(list(race.results.values()), self.voting.voters, self.voting.needed):
            race.call_off()
        return ballot.number


@dataclass(eq=False)
class _Count(Node[Any]):
    """Counts the ballots and writes what the winners wrote, or the word for no majority."""

    state: StateType
    voting: _Voting
    uncertain: Any
    at_zero: Callable[[Any], bool]
    tally: str | None

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        forget_race(input, config)
        ballots: list[Ballot] = sorted(values_of(input).get(BALLOTS) or (), key=lambda b: b.number)
        failed = {f"{b.voter} {b.number + 1}": b.failure for b in ballots if b.failure is not None}
        cast = [b for b in ballots if b.answer is not None]
        voting = self.voting
        if not cast:
            reasons = "; ".join(f"{voter}: {reason}" for voter, reason in failed.items())
            raise NoAnswer(f"vote on {voting.field!r}: none of {voting.voters} voters answered. {reasons}")
        counts = Counter(str(b.answer) for b in cast)
        (leader, votes), *_ = counts.most_common()
        decided = votes >= voting.needed
        warning = _warning(cast, at_zero=self.at_zero(restored(input, self.state)))
        tally = Tally(decided, dict(counts), votes / len(cast), voting.voters, failed, warning)
        self._record(config, leader, tally)
        update = {voting.field: self.uncertain}
        if decided:
            update = next(b.update for b in cast if b.answer == leader)
        return spread({**update, **({self.tally: tally} if self.tally else {})})

    def _record(self, config: RunnableConfig | None, leader: str, tally: Tally) -> None:
        shown = ", ".join(f"{answer[:60]}: {votes}" for answer, votes in tally.counts.items())
        rest = self.voting.voters - sum(tally.counts.values()) - len(tally.failed)
        notes = [f"{shown}; {self.voting.needed} of {self.voting.voters} needed"]
        notes += [f"{len(tally.failed)} failed"] if tally.failed else []
        notes += [f"{rest} called off"] if rest else []
        notes += [tally.warning] if tally.warning else []
        choice = leader[:200] if tally.decided else "uncertain"
        reason = "; ".join(notes)
        record_decision(
            config, "vote", choice, confidence=tally.agreement, reason=reason, decided=tally.decided
        )


def _warning(ballots: Sequence[Ballot], *, at_zero: bool) -> str:
    """Return what makes the ballots look as if more of them would not help, empty if nothing does."""
    if at_zero:
        return "drawn at temperature 0: the draws of one prompt repeat one another"
    sides: dict[str, set[str]] = {}
    draws = Counter(ballot.voter for ballot in ballots)
    for ballot in ballots:
        sides.setdefault(ballot.voter, set()).add(str(ballot.answer))
    firm = min(draws.values()) > 1 and all(len(answers) == 1 for answers in sides.values())
    if firm and len(set.union(*sides.values())) > 1:
        return "each voter agrees with itself but not with the others: systematic, more draws will not help"
    return ""


@overload
def vote(
    voters: Decider[StateT, V] | Sequence[Decider[StateT, V]],
    n: int = 1,
    *,
    field: str | None = None,
    needed: int | None = None,
    uncertain: U,
    key: Callable[[Any], Hashable] = ...,
    tally: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT, V | U]: ...
@overload
def vote(
    voters: Decider[StateT, V] | Sequence[Decider[StateT, V]],
    n: int = 1,
    *,
    field: str | None = None,
    needed: int | None = None,
    key: Callable[[Any], Hashable] = ...,
    tally: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT, V | None]: ...
@overload
def vote(
    voters: NodeLike[StateT] | Sequence[NodeLike[StateT]],
    n: int = 1,
    *,
    field: str | None = None,
    needed: int | None = None,
    uncertain: Any = None,
    key: Callable[[Any], Hashable] = ...,
    tally: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT]: ...
def vote(
    voters: Any,
    n: int = 1,
    *,
    field: str | None = None,
    needed: int | None = None,
    uncertain: Any = None,
    key: Callable[[Any], Hashable] = lambda value: value,
    tally: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Ask several times at once and keep the answer of the majority.

    `voters` is a part that is drawn `n` times, or several (other prompts, other models) that are each
    drawn `n` times. All of them write `field`, by default the one that a step writes. An answer wins
    with `needed` votes, by default more than half of all voters; else the field becomes `uncertain`.
    `key` makes equal what is meant equally, such as `str.lower`. Of all that the winners wrote, the
    first one's is kept. As soon as the outcome is certain, voters under way are cancelled and not paid.

    A voter that raises, or takes longer than `timeout_s` seconds, abstains; if all do, NoAnswer is
    raised. `tally` names a field that takes a `Tally`: counts, agreement, failures, and a warning
    if errors look systematic rather than random. Draw at a temperature above 0.

    Costs what its voters cost: n draws of a step make at most n model calls, and `needed` at least.

        vote(mood, 5, uncertain="uncertain")
    """
    kinds = list(voters) if isinstance(voters, Sequence) else [voters]
    if not kinds or not isinstance(n, int) or n < 1:
        raise DefinitionError("vote() needs voters and a number of draws: vote(mood, 5) or vote([one, two]).")
    state = state_of(kinds, "vote")
    check_timeout("vote", timeout_s)
    field = answered_field("vote", kinds, field)
    graph: Workflow[Any] = Workflow(state, name or f"vote_{field}")
    _check_outcome(graph, field, uncertain)
    check_field("vote", state, Tally, tally=tally)
    total = n * len(kinds)
    needed = total // 2 + 1 if needed is None else needed
    if not isinstance(needed, int) or not total // 2 < needed <= total:
        raise DefinitionError(
            f"vote(needed={needed!r}): expected more than half of {total} voters, and at most all."
        )

    seen = extended(state, RACE, str)
    start = graph.add_part(Start(), "start")
    voting = _Voting(field, total, needed, key, timeout_s)
    steps = [part for part in kinds if isinstance(part, Step)] if n > 1 else []
    counting = _Count(
        state, voting, uncertain, lambda state: any(step.ask(state).temperature == 0 for step in steps), tally
    )
    ballots = extended(seen, BALLOTS, Ballots)
    count = graph.add_part(counting, "count", reads=ballots, writes=[field, tally])
    graph.add_edge(START, start)
    drawn: list[str] = []
    for number in range(total):
        part = kinds[number % len(kinds)]
        draw = number // len(kinds) if n > 1 else None
        cast = _Voter(number, name_of(part), voting)
        voter = graph.add_part(part, runs_as=branch(part, graph, cast, draw=draw), reads=seen)
        drawn.append(voter)
        graph.add_edge(start, voter)
        graph.add_edge(voter, count)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        return SoFar(hidden=frozenset(drawn if values.get(BALLOTS) else ()))

    graph.so_far = so_far
    graph.writes = field
    graph.add_edge(count, END)
    alone = len(kinds) == 1
    graph.cost = All(tuple(Times(cost_of(part), needed if alone else 0, n) for part in kinds))
    return graph


def _check_outcome(graph: Workflow[Any], field: str, uncertain: Any) -> None:
    check_fields(graph.state, [field], "vote(field=…)")
    if field not in graph.plain_fields():
        raise DefinitionError(f"vote: {field!r} has a reducer; the outcome of a vote needs a plain field.")
    if not may_be(fields_of(graph.state)[field], uncertain):
        raise DefinitionError(
            f"vote: {graph.state.__name__}.{field} cannot be {uncertain!r}, the word for no majority. Let "
            "the field take it, or give another word: vote(…, uncertain=…)."
        )

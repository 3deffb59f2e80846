"""The vote: several draws or voters answer one question, and the majority counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import All, Times, cost_of
from ...nodes.node import Node, record_decision
from ...nodes.steps import Step
from ...state.errors import DefinitionError, StepgraphError
from ...state.json_text import json_text
from ...state.schema import accepts, check_fields, extended, fields_of, values_of
from ...state.serde import allow
from ..engine.branches import FATAL, Branch, branch, timed
from ..engine.options import answered_field, check_field, check_timeout
from ..engine.race import RACE, Race, Start, forget_race, race_of
from ..engine.workflow import NodeLike, Workflow, name_of, state_of

BALLOTS = "stepgraph_ballots"


@dataclass(frozen=True)
class Ballot:
    """What one voter said: the text its answer counts by and what it wrote, or why there is none."""

    number: int
    voter: str
    said: str | None = None
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

allow(Ballot, Tally)


def is_decided(said: Sequence[str | None], voters: int, needed: int) -> bool:
    """Tell whether the ballots that are missing can no longer change the outcome; None failed."""
    counts = Counter(answer for answer in said if answer is not None)
    lead = max(counts.values(), default=0)
    return lead >= needed or lead + voters - len(said) < needed


class _Voter:
    """Casts one ballot, and calls the others off once the vote is decided."""

    def __init__(
        self,
        number: int,
        part: Any,
        field: str,
        key: Callable[[Any], Hashable],
        voters: int,
        needed: int,
        timeout_s: float | None,
    ) -> None:
        self._number = number
        self._part = part
        self._field = field
        self._key = key
        self._voters = voters
        self._needed = needed
        self._timeout_s = timeout_s

    async def __call__(self, state: Any, config: RunnableConfig, work: Branch) -> dict[str, Any]:
        race = await race_of(state, config, self._number, BALLOTS, self._note)
        try:
            found = await race.run(
                self._number, lambda: timed(work, self._timeout_s, f"Voter {self._number + 1}")
            )
            if found is None:
                return {}
            ballot = self._cast({**values_of(state), **found}[self._field], found)
        except FATAL:
            raise
        except Exception as error:
            ballot = Ballot(self._number, name_of(self._part), failure=f"{type(error).__name__}: {error}")
        self._note(race, ballot)
        return {BALLOTS: ballot}

    def _cast(self, answer: Any, update: dict[str, Any]) -> Ballot:
        said = self._key(answer)
        text = said if isinstance(said, str) else json_text(said)
        return Ballot(self._number, name_of(self._part), text, update)

    def _note(self, race: Race, ballot: Ballot) -> int:
        race.found[ballot.number] = ballot.said
        if is_decided(list(race.found.values()), self._voters, self._needed):
            race.call_off()
        return ballot.number


class _Count(Node[Any]):
    """Counts the ballots and writes what the majority said."""

    name = "count"

    def __init__(
        self,
        field: str,
        uncertain: Any,
        voters: int,
        needed: int,
        cold: Callable[[Any], bool],
        tally: str | None,
    ) -> None:
        self._field = field
        self._uncertain = uncertain
        self._voters = voters
        self._needed = needed
        self._cold = cold
        self._tally = tally

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        forget_race(input, config)
        ballots: list[Ballot] = sorted(values_of(input).get(BALLOTS) or (), key=lambda b: b.number)
        failed = {f"{b.voter} {b.number + 1}": b.failure for b in ballots if b.failure is not None}
        cast = [b for b in ballots if b.said is not None]
        if not cast:
            reasons = "; ".join(f"{voter}: {reason}" for voter, reason in failed.items())
            raise StepgraphError(
                f"vote on {self._field!r}: none of {self._voters} voters answered. {reasons}"
            )
        counts = Counter(str(b.said) for b in cast)
        (leader, votes), *_ = counts.most_common()
        decided = votes >= self._needed
        warning = _warning(cast, cold=self._cold(input))
        tally = Tally(decided, dict(counts), votes / len(cast), self._voters, failed, warning)
        self._record(config, leader, tally)
        update = {self._field: self._uncertain}
        if decided:
            update = next(b.update for b in cast if b.said == leader)
        return {**update, **({self._tally: tally} if self._tally else {})}

    def _record(self, config: RunnableConfig | None, leader: str, tally: Tally) -> None:
        shown = ", ".join(f"{said[:60]}: {votes}" for said, votes in tally.counts.items())
        rest = self._voters - sum(tally.counts.values()) - len(tally.failed)
        told = [f"{shown}; {self._needed} of {self._voters} needed"]
        told += [f"{len(tally.failed)} failed"] if tally.failed else []
        told += [f"{rest} called off"] if rest else []
        told += [tally.warning] if tally.warning else []
        choice = leader[:200] if tally.decided else "uncertain"
        reason = "; ".join(told)
        record_decision(
            config, "vote", choice, confidence=tally.agreement, reason=reason, decided=tally.decided
        )


def _warning(ballots: Sequence[Ballot], *, cold: bool) -> str:
    """Return what makes the ballots look as if more of them would not help, empty if nothing does."""
    if cold:
        return "drawn at temperature 0: the draws of one prompt repeat one another"
    sides: dict[str, set[str]] = {}
    draws = Counter(ballot.voter for ballot in ballots)
    for ballot in ballots:
        sides.setdefault(ballot.voter, set()).add(str(ballot.said))
    firm = min(draws.values()) > 1 and all(len(said) == 1 for said in sides.values())
    if firm and len(set.union(*sides.values())) > 1:
        return "each voter agrees with itself but not with the others: systematic, more draws will not help"
    return ""


def vote(
    voters: NodeLike[StateT] | Sequence[NodeLike[StateT]],
    n: int = 1,
    *,
    field: str | None = None,
    needed: int | None = None,
    uncertain: Any = None,
    key: Callable[[Any], Hashable] = lambda value: value,
    tally: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Ask several times at once and keep what the majority says.

    `voters` is a part that is drawn `n` times, or several (other prompts, other models) that are each
    drawn `n` times. All of them write `field`, by default the one that a step writes. An answer wins
    with `needed` votes, by default more than half of all voters; else the field becomes `uncertain`.
    `key` makes equal what is meant equally, such as `str.lower`. Of all that the winners wrote, the
    first one's is kept. As soon as the outcome is certain, voters under way are cancelled and not paid.

    A voter that raises, or takes longer than `timeout_s` seconds, abstains; if all do, StepgraphError
    is raised. `tally` names a field that takes a `Tally`: counts, agreement, failures, and a warning
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
    graph: Workflow[StateT] = Workflow(state, name or f"vote_{field}")
    _check_outcome(graph, field, uncertain)
    if tally is not None:
        check_field(state, tally, Tally, f"vote(tally={tally!r})")
    total = n * len(kinds)
    needed = total // 2 + 1 if needed is None else needed
    if not isinstance(needed, int) or not total // 2 < needed <= total:
        raise DefinitionError(
            f"vote(needed={needed!r}): expected more than half of {total} voters, and at most all."
        )

    seen = extended(state, RACE, str)
    start = graph.take_node(Start(), state)
    cold = [part for part in kinds if isinstance(part, Step)] if n > 1 else []
    count = graph.take_node(
        _Count(
            field, uncertain, total, needed, lambda given: any(_is_cold(part, given) for part in cold), tally
        ),
        extended(seen, BALLOTS, Ballots),
    )
    graph.add_edge(START, start)
    for number in range(total):
        part = kinds[number % len(kinds)]
        cast = _Voter(number, part, field, key, total, needed, timeout_s)
        draw = number // len(kinds)
        voter = graph.take_lane(
            part, name_of(part), branch(part, graph, cast, draw=draw if n > 1 else None), seen
        )
        graph.add_edge(start, voter)
        graph.add_edge(voter, count)
    graph.add_edge(count, END)
    graph.note_writes(field, tally)
    alone = len(kinds) == 1
    graph.cost = All(tuple(Times(cost_of(part), needed if alone else 0, n) for part in kinds))
    return graph


def _check_outcome(graph: Workflow[Any], field: str, uncertain: Any) -> None:
    check_fields(graph.state, [field], "vote(field=…)")
    if field not in graph.plain_fields():
        raise DefinitionError(f"vote: {field!r} has a reducer; the outcome of a vote needs a plain field.")
    kind = type(uncertain) if uncertain is not None else None
    annotation = fields_of(graph.state)[field]
    if not accepts(annotation, Literal[uncertain] if isinstance(uncertain, str) else kind):
        raise DefinitionError(
            f"vote: {graph.state.__name__}.{field} cannot be {uncertain!r}, the word for no majority. Let "
            "the field take it, or give another word: vote(…, uncertain=…)."
        )


def _is_cold(part: Step[Any, Any], state: Any) -> bool:
    return part.ask(state).temperature == 0

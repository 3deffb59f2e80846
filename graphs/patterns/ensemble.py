"""The ensemble: several answers to one input, of which the best is picked or one is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.channels import Topic
from langgraph.graph import END, START
from langgraph.typing import StateT

from ...nodes.costs import costs_of
from ...nodes.node import Decider, Node, PlainFunction, Update, record_decision
from ...state.errors import DefinitionError, NoAnswer
from ...state.json_text import json_text
from ...state.schema import check_fields, extended, restored, values_of
from ...state.serde import allow
from ..engine.branches import FATAL, Branch, branch, timed
from ..engine.deciding import answer_of, ask_first, reader_of
from ..engine.options import answered_field, check_timeout
from ..engine.workflow import NodeLike, Pattern, SoFar, Workflow, name_of, state_of
from ..engine.writes import same, spread

ENTRIES = "stepgraph_entries"
ANSWERED = "stepgraph_answered"


@dataclass(frozen=True)
class Entry:
    """What one candidate wrote, or why there is nothing."""

    number: int
    name: str
    update: Update = field(default_factory=dict)
    failure: str | None = None


Entries = Annotated[list[Entry], Topic]

allow(Entry)


@dataclass(frozen=True)
class _Candidate:
    """Enters what a candidate wrote."""

    number: int
    name: str
    timeout_s: float | None

    async def __call__(self, state: Any, config: RunnableConfig, work: Branch) -> Update:
        try:
            update = await timed(work, self.timeout_s, f"Candidate {self.name!r}")
        except FATAL:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            record_decision(config, "ensemble", "left out", reason=f"{self.name}: {reason}")
            return {ENTRIES: Entry(self.number, self.name, failure=reason)}
        return {ENTRIES: Entry(self.number, self.name, update)}


@dataclass(eq=False)
class _Pick(Node[Any]):
    """Writes all answers to the list, if there is one, and what the best candidate wrote."""

    field: str
    into: str | None
    score: Callable[[Any], float] | None
    picked: bool

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        values = values_of(input)
        entries = _entries(values)
        answered = [entry for entry in entries if entry.failure is None]
        if not answered:
            reasons = "; ".join(f"{entry.name}: {entry.failure}" for entry in entries)
            raise NoAnswer(f"ensemble on {self.field!r}: no candidate answered. {reasons}")
        answers = _answers(values, answered, self.field)
        update: Update = {} if self.into is None else {self.into: answers}
        if self.picked:
            update[ANSWERED] = answered
        if self.score is None:
            return update
        scores = [_number(self.score(answer)) for answer in answers]
        best = max(range(len(answered)), key=lambda n: scores[n])
        shown = ", ".join(f"{entry.name}: {score:g}" for entry, score in zip(answered, scores, strict=True))
        record_decision(
            config, "ensemble", answered[best].name, reason=f"{shown}; {json_text(answers[best])[:200]}"
        )
        return spread({**answered[best].update, **update})


@dataclass(eq=False)
class _Choose(Node[Any]):
    """Writes what the candidate wrote that the picker names, by its number or by its answer."""

    picker: Decider[Any, Any]
    field: str

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        values = values_of(input)
        answered: list[Entry] = values[ANSWERED]
        answers = _answers(values, answered, self.field)
        value = await self.picker.answer(restored(input, self.picker.state), config)
        best = _position(value, answers)
        if best is None:
            raise NoAnswer(
                f"ensemble on {self.field!r}: {self.picker.name!r} picked {value!r:.100}; expected the "
                f"number of one of {len(answers)} answers, from 0, or the answer itself."
            )
        name, reason = answered[best].name, f"picked by {self.picker.name}; {json_text(answers[best])[:200]}"
        record_decision(config, "ensemble", name, reason=reason)
        return spread({**answered[best].update, **self.picker.update(value)})


def _position(value: Any, answers: Sequence[Any]) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(answers):
        return value
    return next((number for number, answer in enumerate(answers) if same(answer, value)), None)


def _entries(values: Mapping[str, Any]) -> list[Entry]:
    return sorted(values.get(ENTRIES) or (), key=lambda entry: entry.number)


def _answers(values: Mapping[str, Any], answered: Sequence[Entry], field: str) -> list[Any]:
    return [{**values, **entry.update}[field] for entry in answered]


def _number(score: Any) -> float:
    number = float(score)
    return -math.inf if math.isnan(number) else number


def ensemble(
    candidates: Sequence[NodeLike[StateT]],
    *,
    score: Callable[[Any], float] | None = None,
    pick: Decider[StateT, Any] | PlainFunction[StateT, Any] | Pattern[StateT] | None = None,
    merge: NodeLike[StateT] | None = None,
    into: str | None = None,
    field: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Give one input to several candidates at once; pick the best answer by `score`, or `merge` them.

    All candidates write `field`, by default the one that a step writes. With `score`, what the candidate
    with the highest one wrote is kept, the first of equals. With `pick`, a step, rule,
    function or pattern that finds the list of all answers in the field `into` gives the number of the best,
    from 0, or that answer itself. With `merge`, a part makes one answer of that list; it may be a step that
    judges or one that combines.

    A candidate that raises, or takes longer than `timeout_s` seconds, is left out; if all are,
    NoAnswer is raised. Costs what the candidates and `merge` cost.

        ensemble([write.on("small"), write.on("large")], into="drafts", merge=best_of)
    """
    if not isinstance(candidates, Sequence) or not candidates:
        raise DefinitionError("ensemble() takes a list of candidates: ensemble([one, two], score=rate).")
    if [score, pick, merge].count(None) != 2:
        raise DefinitionError(
            "ensemble() takes either score=… (the best by a number), pick=… (the one that a part names) or "
            "merge=… (make one of all)."
        )
    if score is None and into is None:
        option = "merge" if pick is None else "pick"
        raise DefinitionError(f"ensemble({option}=…) needs into=…, the list field that `{option}` reads.")
    picker = None if pick is None else reader_of(pick, "ensemble")
    parts = [*candidates, *(part for part in (picker, merge) if part is not None)]
    state = state_of(parts, "ensemble")
    check_timeout("ensemble", timeout_s)
    field = answered_field("ensemble", candidates, field)
    check_fields(state, [field, *([into] if into else [])], "ensemble")

    graph: Workflow[StateT] = Workflow(state, name or f"ensemble_{field}")
    seen = extended(state, ENTRIES, Entries)
    gathering = _Pick(field, into, score, picked=picker is not None)
    gather = graph.add_part(gathering, "pick", reads=seen, writes=[into])
    nodes = []
    for number, part in enumerate(candidates):
        label = f"{name_of(part)} {number + 1}"
        node = graph.add_part(part, runs_as=branch(part, graph, _Candidate(number, label, timeout_s)))
        nodes.append(node)
        graph.add_edge(START, node)
        graph.add_edge(node, gather)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        answered = [entry for entry in _entries(values) if entry.failure is None]
        if not answered:
            return SoFar()
        if into is None:
            return SoFar(hidden=frozenset(nodes))  # the best of some may be none of all
        return SoFar({into: _answers(values, answered, field)})

    graph.so_far = so_far
    last = gather
    if picker is not None:
        kept = extended(state, ANSWERED, list[Entry])
        last = graph.add_part(_Choose(picker, field), "choose", reads=kept, writes=[picker.writes])
        asked = ask_first(graph, picker)
        graph.add_edge(gather, last if asked is None else asked)
        if asked is not None:
            graph.connect(asked, last)
    if merge is not None:
        last = graph.add_part(merge, "merge")
        graph.add_edge(gather, last)
    graph.add_edge(last, END)
    graph.cost = costs_of(parts)
    graph.writes = field if merge is None else answer_of(merge)
    return graph

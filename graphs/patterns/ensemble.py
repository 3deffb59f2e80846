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
from ...nodes.node import Node, Update, record_decision
from ...state.errors import DefinitionError, NoAnswer
from ...state.json_text import json_text
from ...state.schema import check_fields, extended, values_of
from ...state.serde import allow
from ..engine.branches import FATAL, Branch, branch, timed
from ..engine.options import answered_field, check_timeout
from ..engine.workflow import NodeLike, SoFar, Workflow, name_of, state_of
from ..engine.writes import spread

ENTRIES = "stepgraph_entries"


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

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        values = values_of(input)
        entries = _entries(values)
        answered = [entry for entry in entries if entry.failure is None]
        if not answered:
            reasons = "; ".join(f"{entry.name}: {entry.failure}" for entry in entries)
            raise NoAnswer(f"ensemble on {self.field!r}: no candidate answered. {reasons}")
        answers = _answers(values, answered, self.field)
        update = {} if self.into is None else {self.into: answers}
        if self.score is None:
            return update
        scores = [_number(self.score(answer)) for answer in answers]
        best = max(range(len(answered)), key=lambda n: scores[n])
        shown = ", ".join(f"{entry.name}: {score:g}" for entry, score in zip(answered, scores, strict=True))
        record_decision(
            config, "ensemble", answered[best].name, reason=f"{shown}; {json_text(answers[best])[:200]}"
        )
        return spread({**answered[best].update, **update})


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
    merge: NodeLike[StateT] | None = None,
    into: str | None = None,
    field: str | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Workflow[StateT]:
    """Give one input to several candidates at once; pick the best answer by `score`, or `merge` them.

    All candidates write `field`, by default the one that a step writes. With `score`, what the candidate
    with the highest one wrote is kept, the first of equals. With `merge`, a part makes one answer
    of the list of all, which the field `into` takes; it may be a step that judges or one that combines.

    A candidate that raises, or takes longer than `timeout_s` seconds, is left out; if all are,
    NoAnswer is raised. Costs what the candidates and `merge` cost.

        ensemble([write.on("small"), write.on("large")], into="drafts", merge=best_of)
    """
    if not isinstance(candidates, Sequence) or not candidates:
        raise DefinitionError("ensemble() takes a list of candidates: ensemble([one, two], score=rate).")
    if (score is None) == (merge is None):
        raise DefinitionError("ensemble() takes either score=… (pick one) or merge=… (make one of all).")
    if merge is not None and into is None:
        raise DefinitionError("ensemble(merge=…) needs into=…, the list field that `merge` reads.")
    parts = [*candidates, *([merge] if merge is not None else [])]
    state = state_of(parts, "ensemble")
    check_timeout("ensemble", timeout_s)
    field = answered_field("ensemble", candidates, field)
    check_fields(state, [field, *([into] if into else [])], "ensemble")

    graph: Workflow[StateT] = Workflow(state, name or f"ensemble_{field}")
    seen = extended(state, ENTRIES, Entries)
    pick = graph.add_part(_Pick(field, into, score), "pick", reads=seen, writes=[into])
    nodes = []
    for number, part in enumerate(candidates):
        label = f"{name_of(part)} {number + 1}"
        node = graph.add_part(part, runs_as=branch(part, graph, _Candidate(number, label, timeout_s)))
        nodes.append(node)
        graph.add_edge(START, node)
        graph.add_edge(node, pick)

    def so_far(values: Mapping[str, Any]) -> SoFar:
        answered = [entry for entry in _entries(values) if entry.failure is None]
        if not answered:
            return SoFar()
        if into is None:
            return SoFar(hidden=frozenset(nodes))  # the best of some may be none of all
        return SoFar({into: _answers(values, answered, field)})

    graph.so_far = so_far
    last = pick
    if merge is not None:
        last = graph.add_part(merge, "merge")
        graph.add_edge(pick, last)
    graph.add_edge(last, END)
    graph.cost = costs_of(parts)
    return graph

"""Patterns that decide: they run first, and the field that they write is the answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT

from ...nodes.checks import Check, Opinion, check_of
from ...nodes.costs import Cost, cost_of
from ...nodes.ends import End
from ...nodes.node import AnswerNode, Decider
from ...nodes.rules import decider_of
from ...state.errors import DefinitionError
from ...state.schema import StateType, check_fields, fields_of, values_of
from ...state.statuses import DecisionKind
from .workflow import Pattern, Workflow, name_of, written_by

DECIDE = "decide"


@dataclass(eq=False, repr=False)
class Reader(AnswerNode[Any, Any]):
    """Answers with the value of the field that a pattern has written: a `Decider`.

    `before` is the pattern, which is a node of its own and runs before this is asked.
    """

    before: Any
    field: str
    state: StateType
    cost: Cost
    writes = None

    def __post_init__(self) -> None:
        self.name = name_of(self.before)
        self.function = self.before
        self.answer_type = fields_of(self.state)[self.field]

    async def answer(self, state: Any, config: RunnableConfig | None = None) -> Any:
        return values_of(state)[self.field]


def reader_of(part: Any, where: str) -> Decider[Any, Any]:
    """Return what decides: as `decider_of` does, or for a pattern what reads the field that it writes.

    Raises DefinitionError for a pattern that does not say which field of several is its answer.
    """
    workflow = part.builder if isinstance(part, CompiledStateGraph) else part
    if not isinstance(workflow, Workflow):
        if isinstance(part, CompiledStateGraph):
            raise DefinitionError(
                f"{where}: the graph {name_of(part)!r} does not say which field is its answer. Say it: "
                f"answering(graph, 'field')."
            )
        return decider_of(part, where)
    field = answer_of(part)
    if field is None:
        raise DefinitionError(
            f"{where}: {workflow.name!r} writes several fields, or any. Say by which one it decides: "
            "answering(part, 'field')."
        )
    return Reader(part, field, workflow.state, cost_of(part))


def answering(part: Pattern[StateT], field: str) -> Workflow[StateT]:
    """Say which field holds a pattern's answer, by which it decides as a check, a classifier or a judge.

    Most patterns say so themselves: a vote by its field, a chain by the last part that has one. A pattern of
    which nobody can tell, and a graph that is written by hand, need it said.

        route(answering(graph.compile(), "kind"), {"howto": explain, "opinion": discuss})
    """
    builder: Any = part.builder if isinstance(part, CompiledStateGraph) else part
    state = builder.state if isinstance(builder, Workflow) else builder.state_schema
    check_fields(state, [field], "answering()")
    written = written_by(builder) if isinstance(builder, Workflow) else None
    if written is not None and field not in written:
        raise DefinitionError(f"answering(): {name_of(part)!r} does not write {field!r}.")
    graph: Workflow[StateT]
    if isinstance(part, Workflow):
        graph = copy.copy(part)
    else:
        graph = Workflow(state, name_of(part))
        node = graph.add_part(part)
        graph.add_edge(START, node)
        graph.add_edge(node, END)
        graph.cost = cost_of(part)
    graph.writes = field
    return graph


def answer_of(part: Any) -> str | None:
    """Return the field that holds a part's answer, None where it does not say."""
    if isinstance(part, CompiledStateGraph):
        part = part.builder
    if isinstance(part, Workflow):
        if part.writes is None and part.writes_all is not None and len(part.writes_all) == 1:
            return next(iter(part.writes_all))
        return part.writes
    written = getattr(part, "writes", None)
    return written if isinstance(written, str) else None


def common_answer(parts: Iterable[Any]) -> str | None:
    """Return the field that holds the answer of each of the parts, None where there is no such field."""
    fields = {answer_of(part) for part in parts if part is not None and not isinstance(part, End)}
    return fields.pop() if len(fields) == 1 else None


def before_of(decider: Any) -> Any:
    """Return the pattern that runs before a decider, or a check that rests on one, is asked; or None."""
    own = getattr(decider, "before", None)
    return getattr(getattr(decider, "function", None), "before", None) if own is None else own


def check_by(
    check: Any, passes: Callable[[Any], Opinion] | None, where: str, kind: DecisionKind = "gate"
) -> Check[Any]:
    """Like `check_of`, for patterns too."""
    is_pattern = isinstance(check, (Workflow, CompiledStateGraph))
    return check_of(reader_of(check, where) if is_pattern else check, passes, where, kind)


def begin_with(graph: Workflow[Any], decider: Any, node: Any, **options: Any) -> tuple[str, str]:
    """Add the node that asks what decides, behind the pattern that it rests on, if there is one.

    Returns the node to go to, and the node that asks.
    """
    asking = ask_first(graph, decider)
    if asking is not None:
        options["name"] = DECIDE
    start = graph.add_part(node, **options)
    if asking is not None:
        graph.connect(asking, start)
    return asking or start, start


def ask_first(graph: Workflow[Any], decider: Any) -> str | None:
    """Add the pattern that runs before a decider is asked; return its node, None if there is none."""
    before = before_of(decider)
    return None if before is None else graph.add_part(before)

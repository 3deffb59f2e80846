"""The cascade: a cheap model first, a stronger one where its answer will not do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, overload

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.typing import StateT
from typing_extensions import TypeVar

from ...nodes.checks import Check, CheckResult, Opinion, refuse_async, result_of
from ...nodes.costs import cost_of
from ...nodes.node import Decider
from ...nodes.rules import Rule
from ...nodes.steps import Step
from ...state.errors import DefinitionError, InvalidAnswer
from ...state.json_text import json_text
from ..engine.deciding import check_by, common_answer
from ..engine.workflow import NodeLike, Workflow, name_of, state_of
from .chain import chain
from .gate import gated

V = TypeVar("V")
W = TypeVar("W")

MAX_SHOWN = 200


@overload
def cascade(
    *rungs: Step[StateT, V] | Rule[StateT, V], accept: Callable[[V], Opinion], name: str | None = None
) -> Workflow[StateT, V]: ...
@overload
def cascade(
    *rungs: NodeLike[StateT],
    check: Decider[StateT, W],
    accept: Callable[[W], Opinion],
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def cascade(
    *rungs: NodeLike[StateT],
    check: Workflow[StateT, W],
    accept: Callable[[W], Opinion],
    name: str | None = None,
) -> Workflow[StateT]: ...
@overload
def cascade(
    *rungs: NodeLike[StateT],
    check: CompiledStateGraph[Any, Any, Any, Any],
    accept: Callable[[Any], Opinion],
    name: str | None = None,
) -> Workflow[StateT]: ...
def cascade(
    *rungs: Any,
    accept: Callable[[Any], Opinion],
    check: Any = None,
    name: str | None = None,
) -> Workflow[Any]:
    """Try the rungs in order, the cheapest first, until an answer is accepted; the last one's always is.

    `accept` gets the rung's value and returns True to keep it, False or a reason (text) to go
    on to the next rung: a test in code, or a look at the answer's own `confidence`. With a `check`, a
    step or rule, it gets that one's value instead, and the rungs may be any parts. Each decision is on
    the record as a `cascade`, with the reason and the answer's confidence.

    Costs one rung up to all of them, and a check between each two: N rungs that are steps make 1 to N
    model calls, and up to N - 1 more if a step checks.

        cascade(write, write.on("large"), accept=lambda draft: len(draft) < 500 or "too long")
    """
    if len(rungs) < 2:
        raise DefinitionError(
            "cascade() needs at least two parts: cascade(write, write.on('large'), accept=…)"
        )
    if not callable(accept):
        raise DefinitionError("cascade(accept=…): expected a function of the answer.")
    _refuse_repetition(rungs)
    state_of([*rungs, *([check] if check is not None else [])], "cascade")
    rest: Any = rungs[-1]
    for rung in reversed(rungs[:-1]):
        title = f"cascade_{name_of(rung)}"
        if check is None:
            rest = gated(_tried(rung, accept), otherwise=rest, name=title)
        else:
            judge = check_by(check, accept, "cascade", "cascade")
            rest = chain(rung, gated(judge, otherwise=rest, name="accept"), name=title)
    graph: Workflow[Any] = rest
    graph.name = name or graph.name
    graph.writes = common_answer(rungs)
    return graph


def _tried(rung: Any, accept: Callable[[Any], Opinion]) -> Check[Any]:
    """Return a rung as a check of its own answer, which it keeps either way."""
    if not isinstance(rung, Decider) or rung.writes is None:
        raise DefinitionError(
            f"cascade: {name_of(rung)!r} has no answer of its own to accept. Give a step or rule that judges "
            "it: cascade(…, check=judge, accept=lambda grade: grade.ok)."
        )
    refuse_async(accept, "cascade")

    async def judge(state: Any, config: RunnableConfig | None) -> CheckResult:
        try:
            value = await rung.answer(state, config)
        except InvalidAnswer as error:
            return result_of(False, why=f"it gave no valid answer: {error.problems}")
        shown = json_text(value)[:MAX_SHOWN]
        return result_of(accept(value), f"{rung.name} answered {shown}.", value, rung.update(value))

    return Check(
        rung.name,
        judge,
        state=rung.state,
        writes=rung.writes,
        cost=cost_of(rung),
        kind="cascade",
        function=rung,
    )


def _refuse_repetition(rungs: tuple[Any, ...]) -> None:
    for one, other in itertools.pairwise(rungs):
        if isinstance(one, Step) and isinstance(other, Step) and one.is_same_question(other):
            raise DefinitionError(
                f"cascade: {one.name!r} is asked twice of the same model ({one.model_label}). Name a "
                f'stronger one: {one.name}.on("large").'
            )

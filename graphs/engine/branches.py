"""Branches: parts that run side by side, under the control of the pattern that started them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.graph.state import CompiledStateGraph

from ...state.budget import limiting_supersteps
from ...state.errors import (
    AnswerTooLate,
    BranchTimeout,
    BudgetExceeded,
    DefinitionError,
    EffectUnknown,
    GraphChanged,
    PromptChanged,
    ScriptError,
    SettingsError,
    StoreError,
    ThreadBusy,
)
from ...state.event_loops import in_new_thread, run_sync
from ...state.run_context import RunContext, with_draw
from ...state.schema import restored, values_of
from ...state.session.internals import node_of
from ...state.session.pauses import budget_interrupt
from .compiled import is_sync_only, unbounded
from .workflow import Workflow, as_runnable, name_of
from .writes import Nested, collected, spread

FATAL = (
    GraphBubbleUp,
    AnswerTooLate,
    BudgetExceeded,
    DefinitionError,
    EffectUnknown,
    GraphChanged,
    PromptChanged,
    SettingsError,
    ScriptError,
    StoreError,
    ThreadBusy,
)
"""What no pattern may take for the failure of one of its parts."""


Branch = Callable[[], Awaitable[dict[str, Any]]]
BranchCall = Callable[[Any, RunnableConfig], Awaitable[Any]]
BranchController = Callable[[Any, RunnableConfig, Branch], Coroutine[Any, Any, dict[str, Any]]]


def branch(
    part: Any,
    graph: Workflow[Any],
    control: BranchController,
    *,
    draw: int | None = None,
    alone: bool = False,
    ends: bool = False,
) -> Any:
    """Return a part as a node under a pattern's control: it writes what it changed and nothing else.

    `control` gets the state, the config and the branch, which gives the part's update when it is awaited.
    It may set a time limit, cancel the branch, or put another update in its place. Branches with
    different `draw` numbers never share a model's answer. `alone` says that nothing runs beside it,
    `ends` that the end of the run in the part is the end of the run.
    """
    compiled = _graph_of(part, ends=ends)
    nested = None if compiled is None else Nested(compiled, graph.schemas[graph.state])
    inner: Any = None if nested is None else nested.graph
    node = as_runnable(part, graph) if inner is None else inner

    async def controlled(state: Any, config: RunnableConfig, call: BranchCall) -> Any:
        values = restored(state, graph.state)
        config = config if draw is None else with_draw(config, draw)

        async def work() -> dict[str, Any]:
            with collected() as written:
                after = await counted(call(values, config), config)
            if nested is None:
                return _update_of(part, after)
            takes = nested.in_turn if alone else nested.beside
            return takes(values_of(values), after, written)

        return spread(await control(state, config, work))

    async def arun(state: Any, config: RunnableConfig) -> Any:
        return await controlled(state, config, node.ainvoke)

    def run(state: Any, config: RunnableConfig) -> Any:
        call = node.ainvoke if inner is None else partial(invoke_for_sync, inner)
        return run_sync(controlled(state, config, call))

    return node_of(run, arun)


async def counted(work: Awaitable[Any], config: RunnableConfig) -> Any:
    """Await a nested graph. A budget of supersteps that ends in it pauses the part, beside the others."""
    try:
        return await work
    except GraphRecursionError as error:
        raise supersteps_end(config) or error from None


def supersteps_end(config: RunnableConfig) -> Exception | None:
    """Return what ends a part whose budget of supersteps is used up, None if it has no such budget."""
    here = RunContext.of(config)
    limiting = limiting_supersteps(here.ledgers)
    if limiting is None:
        return None
    ended = limiting[1].end("supersteps")
    return ended if here.checkpointer is None else budget_interrupt(ended, here.task)


async def timed(work: Branch, seconds: float | None, what: str) -> dict[str, Any]:
    """Await the work. Raises BranchTimeout, and cancels it, after so many seconds."""
    if seconds is None:
        return await work()
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work()
    except TimeoutError:
        if not limit.expired():
            raise
        raise BranchTimeout(f"{what} took longer than {seconds:g} s, so it was stopped.") from None


def _graph_of(part: Any, *, ends: bool) -> CompiledStateGraph[Any, Any, Any, Any] | None:
    if isinstance(part, Workflow):
        return part.compile_inside() if ends else part.compile()
    return part if isinstance(part, CompiledStateGraph) else None


def _update_of(part: Any, update: Any) -> dict[str, Any]:
    if update is None:
        return {}
    if not isinstance(update, Mapping):
        raise DefinitionError(
            f"{name_of(part)!r} returned {type(update).__name__}; expected a state update (a dict) or None. "
            "The pattern around it says where to go from here."
        )
    return dict(update)


async def invoke_for_sync(
    inner: CompiledStateGraph[Any, Any, Any, Any], state: Any, config: RunnableConfig
) -> Mapping[str, Any]:
    """Run a nested graph for a sync caller: async where the checkpointer can, else in a thread of its own."""
    if is_sync_only(RunContext.of(config).checkpointer):
        after: Mapping[str, Any] = await in_new_thread(inner.invoke, state, config)
        return after
    return await inner.ainvoke(state, unbounded(config))

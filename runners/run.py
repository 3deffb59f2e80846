"""Runs a graph in this process and tells how it ended, its partial result included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Interrupt, StateSnapshot

from ..graphs.engine.branches import same
from ..graphs.patterns.refine import CHANNEL, Rounds
from ..state.budget import Budget, Spent
from ..state.event_loops import run_sync
from ..state.session.pauses import budget_end
from ..state.session.session import LEDGERS_KEY, Session, new_thread_id

Graph = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    `values` is the state; unless the run is done, it is the best so far, with the work of branches and
    loops that did not finish. `partial` means that a budget ended: `missing` has the paths of the nodes
    that were still to run, `limit` what ended it and why. `waiting` holds what interrupts ask. Go on with
    `run(graph, None, …)`, or with a `Command(resume=…)`.
    """

    thread_id: str
    status: Literal["done", "partial", "interrupted"]
    values: dict[str, Any]
    spent: Spent
    missing: tuple[str, ...] = ()
    limit: str | None = None
    waiting: tuple[Interrupt, ...] = field(default=())


async def arun(
    graph: Graph,
    given: Any,
    session: Session,
    thread_id: str | None = None,
    *,
    budget: Budget | None = None,
    cache_s: float | None = None,
    insist: bool = False,
) -> RunResult:
    """Run a compiled graph on a thread and return how it ended; errors of nodes are raised.

    `given` is a state; None goes on with the thread, a `Command(resume=…)` answers its interrupt.
    `insist` goes on although the graph's shape changed.
    """
    thread = thread_id or new_thread_id()
    await session.journal.until_free()
    config = session.config(thread, budget=budget, cache_s=cache_s, graph=graph, insist=insist)
    limit = None
    try:
        result = await graph.ainvoke(given, config)
    except GraphRecursionError:
        supersteps = next(
            (ledger.budget.supersteps for ledger in config["configurable"].get(LEDGERS_KEY, ())), None
        )
        if supersteps is None:
            raise
        session.journal.end_run(thread, "partial")
        limit, waiting = f"supersteps = {supersteps}", ()
    else:
        await session.journal.until_free()
        waiting = tuple(result.pop("__interrupt__", ()))
        if not waiting:
            status: Literal["done", "interrupted"] = "done"
            breakpoints = graph.interrupt_before_nodes or graph.interrupt_after_nodes
            if breakpoints and (await graph.aget_state(_reading(config))).next:
                status = "interrupted"
                session.journal.end_run(thread, status)
            return RunResult(thread, status, result, session.spent(thread))
        ended = budget_end(waiting)
        if ended is None:
            snapshot = await graph.aget_state(_reading(config), subgraphs=True)
            values = best_values(graph, snapshot)
            return RunResult(thread, "interrupted", values, session.spent(thread), waiting=waiting)
        limit = ended["message"]
    snapshot = await graph.aget_state(_reading(config), subgraphs=True)
    return RunResult(
        thread,
        "partial",
        best_values(graph, snapshot),
        session.spent(thread),
        missing=tuple(dict.fromkeys(_missing(snapshot))),
        limit=limit,
        waiting=waiting,
    )


def run(
    graph: Graph,
    given: Any,
    session: Session,
    thread_id: str | None = None,
    *,
    budget: Budget | None = None,
    cache_s: float | None = None,
    insist: bool = False,
) -> RunResult:
    """Like `arun`, for sync callers."""
    return run_sync(arun(graph, given, session, thread_id, budget=budget, cache_s=cache_s, insist=insist))


def _reading(config: RunnableConfig) -> RunnableConfig:
    return {"configurable": config["configurable"]}


def best_values(graph: Graph, snapshot: StateSnapshot) -> dict[str, Any]:
    """Return a thread's state with what the nested graphs under way have reached."""
    values = dict(snapshot.values)
    subgraphs = dict(graph.get_subgraphs())
    for task in snapshot.tasks:
        inner = subgraphs.get(task.name)
        if isinstance(task.state, StateSnapshot) and isinstance(inner, CompiledStateGraph):
            reached = best_values(inner, task.state)
            values.update(
                {
                    name: value
                    for name, value in reached.items()
                    if name in graph.channels and not same(value, snapshot.values.get(name))
                }
            )
    rounds = values.pop(CHANNEL, None)
    if isinstance(rounds, Rounds):
        values.update(rounds.best)
    return {name: value for name, value in values.items() if not name.startswith("stepgraph_")}


def _missing(snapshot: StateSnapshot, outer: str = "") -> Iterator[str]:
    for task in snapshot.tasks:
        if task.result is not None:
            continue
        path = f"{outer}{task.name}"
        if isinstance(task.state, StateSnapshot) and task.state.tasks:
            yield from _missing(task.state, f"{path}/")
        else:
            yield path

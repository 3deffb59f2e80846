"""The one way to start a thread and to go on with it: how it ended, with its best values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict, Unpack

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, StateSnapshot

from ..graphs.engine.answering import acheck_answer, answered
from ..state.budget import Budget, Ledger
from ..state.cost import Cost
from ..state.event_loops import in_thread, sync_version
from ..state.run_context import RunContext, for_reading, with_ledgers
from ..state.schema import parse_input
from ..state.session.pauses import budget_end
from ..state.session.redelivery import aundelivered
from ..state.session.session import Session, new_thread_id, text_of_id
from ..tracing.record.pending import is_due, unanswered
from ..tracing.record.reads import read_answers, read_input
from .partial import missing, reached

Graph = CompiledStateGraph[Any, Any, Any, Any]
RunStatus = Literal["done", "partial", "interrupted"]
NO_ANSWER: Final = object()


@dataclass(frozen=True)
class BudgetEnd:
    """Which limit of a budget ended a run, and whose budget it was: "the run", or a part's."""

    message: str
    limit: str
    scope: str


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    `values` is the state; unless the run is done, it is the best so far, with the work of branches and
    loops that did not finish. `partial` means that a budget ended: `missing` has the paths of the nodes
    that were still to run, `budget_end` the limit. `waiting` holds what interrupts ask. `unmerged` has the
    answers that were paid for and have no field yet, such as half of a vote, by the path of the node that
    asked. Go on with `resume(graph, session, thread_id)`, with an answer if the run waits for one.
    """

    thread_id: str
    status: RunStatus
    values: dict[str, Any]
    spent: Cost
    missing: tuple[str, ...] = ()
    budget_end: BudgetEnd | None = None
    waiting: tuple[Interrupt, ...] = ()
    unmerged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def limit(self) -> str | None:
        """The message that says which limit ended the run."""
        return None if self.budget_end is None else self.budget_end.message


class RunOptions(TypedDict, total=False):
    """What a run may be given beside its graph and its state; see `Session.config`.

    `ledgers` are budgets that the run shares with others. `extra` goes into the config that LangGraph gets.
    """

    budget: Budget | None
    cache_s: float | None
    allow_changed_graph: bool
    restart: bool
    ledgers: Sequence[Ledger]
    extra: Mapping[str, Any]


async def arun(
    graph: Graph, state: Any, session: Session, thread_id: str | None = None, **options: Unpack[RunOptions]
) -> RunResult:
    """Run a compiled graph on a thread and return how it ended; errors of nodes are raised.

    `state` is the input; None goes on with the thread, a `Command(resume=…)` answers its interrupt.
    `allow_changed_graph` goes on although the graph's shape changed. The input that a thread was given
    already, and has not ended with, makes it go on; `restart` begins anew.
    """
    thread = new_thread_id() if thread_id is None else text_of_id(thread_id)
    await session.journal.until_free()
    config = _config(graph, session, thread, options)
    state = await acheck_answer(graph, state, config, ours=True)
    return await _invoke(graph, await aundelivered(state, config), session, thread, config)


async def aresume(
    graph: Graph,
    session: Session,
    thread_id: str,
    *,
    state: Any = None,
    answer: Any = NO_ANSWER,
    answers: Mapping[str, Any] | None = None,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Go on with a thread from its last checkpoint and return how it ended.

    A thread that has no checkpoint yet begins with `state`, or else with the input on its record. One that
    has ended, or waits and gets no answer, is only read, unless the time has come for which it waits.
    `answer` goes to the one interrupt that waits, `answers` to several by their ids. Raises InputError for an
    answer to nothing that waits, and for one answer to several interrupts, and AnswerTooLate after a
    review's deadline; the thread stays as it is then.
    """
    thread_id = text_of_id(thread_id)
    await session.journal.until_free()
    config = _config(graph, session, thread_id, options)
    snapshot = await graph.aget_state(for_reading(config), subgraphs=True)
    waiting = snapshot.interrupts if budget_end(snapshot.interrupts) is None else ()
    spent = session.spent(thread_id)
    if answers:
        answered(session, thread_id, snapshot, answers)
        state = Command(resume=dict(answers))
    elif answer is not NO_ANSWER:
        (question,) = answered(session, thread_id, snapshot, None)
        # By its id, because LangGraph takes a bare None for no answer.
        state = Command(resume={question.id: answer})
    elif snapshot.created_at is None:
        if state is None:
            data = await in_thread(read_input, session.journal, thread_id)
            state = parse_input(graph.builder.input_schema, data)
    elif (
        (waiting := tuple(unanswered(session, thread_id, waiting)))  # else its node goes on with its answer
        and not any(is_due(item.value, session.now()) for item in waiting)
    ):
        values, unmerged = await _so_far(graph, session, thread_id, snapshot)
        return RunResult(thread_id, "interrupted", values, spent, waiting=tuple(waiting), unmerged=unmerged)
    elif not snapshot.tasks:
        # Not `next`: it leaves out tasks whose writes are kept, though a crash came before their checkpoint.
        session.journal.end_run(thread_id, "done")
        return RunResult(thread_id, "done", reached(graph, snapshot).values, spent)
    else:
        state = None
    return await _invoke(graph, state, session, thread_id, config)


run = sync_version(arun)
resume = sync_version(aresume)


def _config(graph: Graph, session: Session, thread: str, options: RunOptions) -> RunnableConfig:
    config = session.config(
        thread,
        budget=options.get("budget"),
        cache_s=options.get("cache_s"),
        graph=graph,
        allow_changed_graph=options.get("allow_changed_graph", False),
        restart=options.get("restart", False),
        **options.get("extra", {}),
    )
    return with_ledgers(config, *options.get("ledgers", ()), *RunContext.of(config).ledgers)


async def _invoke(
    graph: Graph, state: Any, session: Session, thread: str, config: RunnableConfig
) -> RunResult:
    try:
        result = await graph.ainvoke(state, config)
    except GraphRecursionError:
        ended = _superstep_end(config)
        if ended is None:
            raise
        if not (await graph.aget_state(for_reading(config))).tasks:
            session.journal.end_run(thread, "done")  # the last superstep was the last that there is
            values = await aread_values(graph, session, thread)
            return RunResult(thread, "done", values, session.spent(thread))
        session.journal.end_run(thread, "partial")
        waiting: tuple[Interrupt, ...] = ()
    else:
        await session.journal.until_free()
        waiting = tuple(result.pop("__interrupt__", ()))
        ended = _budget_end(waiting)
    if ended is None and not waiting:
        status: RunStatus = "done"
        breakpoints = graph.interrupt_before_nodes or graph.interrupt_after_nodes
        if breakpoints and (await graph.aget_state(for_reading(config))).tasks:
            status = "interrupted"
            session.journal.end_run(thread, status)
        return RunResult(thread, status, result, session.spent(thread))
    snapshot = await graph.aget_state(for_reading(config), subgraphs=True)
    values, unmerged = await _so_far(graph, session, thread, snapshot)
    return RunResult(
        thread,
        "interrupted" if ended is None else "partial",
        values,
        session.spent(thread),
        missing=() if ended is None else tuple(dict.fromkeys(missing(snapshot))),
        budget_end=ended,
        waiting=waiting,
        unmerged=unmerged,
    )


def _superstep_end(config: RunnableConfig) -> BudgetEnd | None:
    """Return which budget's supersteps LangGraph's recursion limit stands for, None if no budget has any."""
    for ledger in RunContext.of(config).ledgers:
        if ledger.budget.supersteps is not None:
            return BudgetEnd(f"supersteps = {ledger.budget.supersteps}", "supersteps", ledger.scope)
    return None


def _budget_end(waiting: Sequence[Interrupt]) -> BudgetEnd | None:
    ended = budget_end(waiting)
    return None if ended is None else BudgetEnd(ended["message"], ended["limit"], ended["scope"])


async def aread_values(graph: Graph, session: Session, thread_id: str) -> dict[str, Any]:
    """Return the best values that a thread has reached, whatever ended it."""
    return (await aread_so_far(graph, session, thread_id))[0]


async def aread_so_far(
    graph: Graph, session: Session, thread_id: str
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Return the best values that a thread has reached, and the paid answers that none of them holds."""
    snapshot = await graph.aget_state(for_reading(session.config(thread_id)), subgraphs=True)
    return await _so_far(graph, session, thread_id, snapshot)


async def _so_far(
    graph: Graph, session: Session, thread_id: str, snapshot: StateSnapshot
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    here = reached(graph, snapshot)
    if not here.unmerged:
        return here.values, {}
    return here.values, await in_thread(read_answers, session.journal, thread_id, here.unmerged)

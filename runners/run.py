"""The one way to start a thread and to go on with it: how it ended, with its best values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphRecursionError
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt, StateSnapshot, StreamMode, StreamPart

from ..graphs.engine.answering import acheck_answer, answered
from ..graphs.engine.turns import adelivered
from ..nodes.ends import ENDED
from ..state.budget import Budgets, Ledger, limiting_supersteps
from ..state.event_loops import in_thread, sync_stream, sync_version
from ..state.journal.records import Description
from ..state.journal.spending import NEW_THREAD
from ..state.names import TERMS_KEY, UNTOUCHED_KEY
from ..state.run_context import RunContext, for_reading, with_checked_input, with_ledgers
from ..state.schema import check_input, parse_input
from ..state.session.foreign_calls import handlers_of
from ..state.session.keeping import abrought_up, check_graph, told_of_changes
from ..state.session.pauses import budget_end
from ..state.session.session import Session, new_thread_id, text_of_id
from ..state.statuses import Lane
from ..tracing.record.pending import is_due, unanswered
from ..tracing.record.reads import read_answers, read_input
from .lanes import check_lane
from .partial import missing, reached
from .result import BudgetEnd, RunResult, RunStatus

InputT = TypeVar("InputT", bound=Any)
OutputT = TypeVar("OutputT", bound=Any)
Graph = CompiledStateGraph[Any, Any, Any, Any]
NO_ANSWER: Final = object()


class RunOptions(TypedDict, total=False):
    """What a run may be given beside its graph and its state; see `Session.config`.

    `user`, `tags` and `metadata` go on record, and into the trace. `ledgers` are budgets that the run shares
    with others. `extra` goes into the config that LangGraph gets, as do `callbacks`.
    """

    budget: Budgets | None
    cache_s: float | None
    lane: Lane | None
    user: str | None
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    allow_changed_graph: bool
    restart: bool
    description: Description | None
    ledgers: Sequence[Ledger]
    extra: Mapping[str, Any]
    callbacks: Sequence[BaseCallbackHandler]


async def arun(
    graph: CompiledStateGraph[Any, Any, InputT, OutputT],
    state: InputT | Mapping[str, Any] | Command[Any] | None,
    session: Session,
    thread_id: str | None = None,
    **options: Unpack[RunOptions],
) -> RunResult[OutputT]:
    """Run a compiled graph on a thread and return how it ended; errors of nodes are raised.

    `state` is the input, or some of its fields by their names; None goes on with the thread, a
    `Command(resume=…)` answers its interrupt. `allow_changed_graph` goes on although the graph's shape
    changed. The input that a thread was given already, and has not ended with, makes it go on; `restart`
    begins anew.
    """
    run = await _Run.begin(graph, session, thread_id, options)
    return await run.finish(await run.input(state))


async def astream_run(
    graph: CompiledStateGraph[Any, Any, InputT, OutputT],
    state: InputT | Mapping[str, Any] | Command[Any] | None,
    session: Session,
    thread_id: str | None = None,
    *,
    stream_mode: StreamMode | Sequence[StreamMode] = ("updates", "messages", "custom"),
    subgraphs: bool = True,
    **options: Unpack[RunOptions],
) -> AsyncGenerator[StreamPart[Any, OutputT] | RunResult[OutputT], None]:
    """Like `arun`, and yield what happens while it happens; the last item is the RunResult.

    The others are LangGraph's v2 stream parts: `part["type"]` is one of the modes, `part["data"]` what it has
    to say, `part["ns"]` the nested graph that it comes from, if `subgraphs`. Whoever leaves early stops the
    run: close the stream then (`contextlib.aclosing`); the thread goes on later.
    """
    run = await _Run.begin(graph, session, thread_id, options)
    run_input = await run.input(state)
    modes = [stream_mode] if isinstance(stream_mode, str) else list(stream_mode)
    parts: Any = graph.astream(
        cast("Any", run_input),
        with_checked_input(run.config),
        stream_mode=modes,
        subgraphs=subgraphs,
        version="v2",
    )
    try:
        async with aclosing(parts) as stream:
            async for part in stream:
                yield part
    except GraphRecursionError:
        ended = await run.out_of_supersteps()
        if ended is None:
            raise
    else:
        snapshot = await graph.aget_state(for_reading(run.config))
        ended = await run.ended(run.output_of(snapshot), snapshot.interrupts)
    yield ended


async def aresume(
    graph: CompiledStateGraph[Any, Any, Any, OutputT],
    session: Session,
    thread_id: str,
    *,
    state: Any = None,
    answer: Any = NO_ANSWER,
    answers: Mapping[str, Any] | None = None,
    **options: Unpack[RunOptions],
) -> RunResult[OutputT]:
    """Go on with a thread from its last checkpoint and return how it ended.

    A thread that has no checkpoint yet begins with `state`, or else with the input on its record. One that
    has ended, or waits and gets no answer, is only read, unless the time has come for which it waits.
    `answer` goes to the one interrupt that waits, `answers` to several by their ids. Raises InputError for an
    answer to nothing that waits, and for one answer to several interrupts, and AnswerTooLate after a
    review's deadline; the thread stays as it is then. ThreadBusy says that it is run by somebody: where a
    process may have died, that takes until its claim is renewed, or ends.
    """
    run = await _Run.begin(graph, session, thread_id, options)
    thread_id = run.thread
    await session.claims.until_known(thread_id)  # of a process that was killed just now
    with told_of_changes(graph, run.config):
        snapshot = await graph.aget_state(for_reading(run.config), subgraphs=True)
        if answers:
            answered(session, thread_id, snapshot, answers)
        elif answer is not NO_ANSWER:
            (question,) = answered(session, thread_id, snapshot, None)
            answers = {question.id: answer}  # by its id, because LangGraph takes a bare None for no answer
    waiting = snapshot.interrupts if budget_end(snapshot.interrupts) is None else ()
    if answers:
        state = Command(resume=dict(answers))
    elif snapshot.created_at is None:
        if state is None:
            data = await in_thread(read_input, session.journal, thread_id)
            state = parse_input(graph.builder.input_schema, data)
    elif (
        (waiting := tuple(unanswered(session, thread_id, waiting)))  # else its node goes on with its answer
        and not any(is_due(item.value, session.now()) for item in waiting)
    ):
        return await run.stopped("interrupted", snapshot, waiting)
    elif not snapshot.tasks:
        # Not `next`: it leaves out tasks whose writes are kept, though a crash came before their checkpoint.
        await in_thread(check_graph, graph, run.config)  # else a node that is gone would be the thread's end
        session.journal.end_run(thread_id, "done")
        return await run.done(reached(graph, snapshot).values)
    else:
        state = None
    return await run.finish(state)


async def aread_result(
    graph: CompiledStateGraph[Any, Any, Any, OutputT], session: Session, thread_id: str
) -> RunResult[OutputT]:
    """Return how a thread stands, as a run of it would, and run nothing."""
    run = await _Run.begin(graph, session, thread_id, {})
    snapshot = await graph.aget_state(for_reading(run.config), subgraphs=True)
    limit = budget_end_in(snapshot.interrupts)
    waiting = () if limit else tuple(unanswered(session, run.thread, snapshot.interrupts))
    if limit is None and not waiting and not snapshot.tasks:
        return await run.done(reached(graph, snapshot).values)
    return await run.stopped("interrupted" if waiting else "partial", snapshot, waiting, limit)


run = sync_version(arun)
resume = sync_version(aresume)
stream_run = sync_stream(astream_run)


@dataclass(frozen=True)
class _Run(Generic[OutputT]):
    """One run of a graph on a thread of a session."""

    graph: CompiledStateGraph[Any, Any, Any, OutputT]
    session: Session
    thread: str
    config: RunnableConfig

    @classmethod
    async def begin(
        cls,
        graph: CompiledStateGraph[Any, Any, Any, OutputT],
        session: Session,
        thread_id: str | None,
        options: RunOptions,
    ) -> _Run[OutputT]:
        thread = new_thread_id() if thread_id is None else text_of_id(thread_id)
        await session.journal.until_free()
        terms = NEW_THREAD
        is_untouched = thread_id is None or UNTOUCHED_KEY in options.get("extra", {})
        if not is_untouched:
            is_limited = options.get("budget") is not None
            terms = await session.journal.aterms_of(thread, is_limited=is_limited)
        config = session.config(
            thread,
            budget=options.get("budget"),
            cache_s=options.get("cache_s"),
            lane=options.get("lane"),
            user=options.get("user"),
            tags=options.get("tags", ()),
            metadata=options.get("metadata"),
            graph=graph,
            allow_changed_graph=options.get("allow_changed_graph", False),
            restart=options.get("restart", False),
            description=options.get("description"),
            **{**options.get("extra", {}), TERMS_KEY: terms, UNTOUCHED_KEY: is_untouched},
        )
        config["callbacks"] = [*handlers_of(config), *options.get("callbacks", ())]
        check_lane(graph, RunContext.of(config))
        await abrought_up(graph, config)
        ledgers = (*options.get("ledgers", ()), *RunContext.of(config).ledgers)
        return cls(graph, session, thread, with_ledgers(config, *ledgers))

    async def input(self, state: Any) -> Any:
        """Return what LangGraph is given. Raises InputError for what is no input, or answers nothing."""
        check_input(self.graph.builder.input_schema, state)
        with told_of_changes(self.graph, self.config):
            state = await acheck_answer(self.graph, state, self.config, ours=True)
            return await adelivered(self.graph, state, self.config)

    async def finish(self, run_input: Any) -> RunResult[OutputT]:
        """Run to the end, or to where the run stops."""
        try:
            output: Any = await self.graph.ainvoke(run_input, with_checked_input(self.config))
        except GraphRecursionError:
            result = await self.out_of_supersteps()
            if result is None:
                raise
            return result
        return await self.ended(output, output.pop("__interrupt__", ()))

    async def ended(self, output: dict[str, Any], waiting: Sequence[Interrupt]) -> RunResult[OutputT]:
        """Return the result of a run that has stopped by itself."""
        limit = budget_end_in(waiting)
        if waiting:
            return await self.stopped("partial" if limit else "interrupted", None, waiting, limit)
        breakpoints = self.graph.interrupt_before_nodes or self.graph.interrupt_after_nodes
        if breakpoints and (await self.graph.aget_state(for_reading(self.config))).tasks:
            self.session.journal.end_run(self.thread, "interrupted")
            return await self.result("interrupted", output)
        return await self.done(output)

    async def done(self, values: dict[str, Any]) -> RunResult[OutputT]:
        """Return the result of a run that has ended, and why it did so before its last part."""
        early: str | None = None
        if getattr(self.graph.builder, "ending", None):
            early = (await self.graph.aget_state(for_reading(self.config))).values.get(ENDED)
        return await self.result("done", values, ended_early=early)

    async def out_of_supersteps(self) -> RunResult[OutputT] | None:
        """Return the result of a run whose supersteps ended; None if no budget has any."""
        limit = _superstep_end(self.config)
        if limit is None:
            return None
        self.session.journal.end_run(self.thread, "partial")
        return await self.stopped("partial", None, (), limit)

    async def stopped(
        self,
        status: RunStatus,
        snapshot: StateSnapshot | None,
        waiting: Sequence[Interrupt],
        limit: BudgetEnd | None = None,
    ) -> RunResult[OutputT]:
        """Return the result of a run that can go on, with the best so far."""
        if snapshot is None:
            snapshot = await self.graph.aget_state(for_reading(self.config), subgraphs=True)
        values, unmerged = await _so_far(self.graph, self.session, self.thread, snapshot)
        return await self.result(
            status,
            values,
            missing=() if limit is None else tuple(dict.fromkeys(missing(snapshot))),
            budget_end=limit,
            waiting=tuple(waiting),
            unmerged=unmerged,
        )

    def output_of(self, snapshot: StateSnapshot) -> dict[str, Any]:
        """Return what LangGraph's own call would return of a state."""
        shown = self.graph.output_channels
        return {name: snapshot.values[name] for name in shown if name in snapshot.values}

    async def result(self, status: RunStatus, values: dict[str, Any], **more: Any) -> RunResult[OutputT]:
        spent, cut = await self.session.journal.spent_and_cut(self.thread)
        state = self.graph.builder.output_schema
        return RunResult(self.thread, status, values, spent, cut=cut, state_type=state, **more)


def _superstep_end(config: RunnableConfig) -> BudgetEnd | None:
    """Return which budget's supersteps LangGraph's recursion limit stands for, None if no budget has any."""
    limiting = limiting_supersteps(RunContext.of(config).ledgers)
    if limiting is None:
        return None
    most, ledger = limiting
    return BudgetEnd(f"supersteps = {most}", "supersteps", ledger.scope)


def budget_end_in(waiting: Sequence[Interrupt]) -> BudgetEnd | None:
    ended = budget_end(waiting)
    fields = ("message", "limit", "scope", "is_shared", "per", "ends_at")
    return None if ended is None else BudgetEnd(**{name: ended[name] for name in fields if name in ended})


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

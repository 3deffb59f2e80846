"""An answer goes to a question that waits: any other is refused before the thread can take it.

LangGraph ignores an answer whose question is over, or keeps it for the next question that comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt, StateSnapshot

from ...state.errors import InputError
from ...state.run_context import RunContext, for_reading
from ...state.session.keeping import session_of
from ...state.session.pauses import is_budget_end
from ...state.session.session import Session
from ...tracing.record.pending import asked_for_review, unanswered

INTERRUPT_ID: Final = re.compile(r"[0-9a-f]{32}")  # by it LangGraph tells answers by id from an answer


def check_answer(graph: Any, input: Any, config: RunnableConfig) -> None:
    """Raise InputError for a Command whose `resume` answers nothing that waits on the config's thread."""
    if _is_answer(input, config):
        _check(input.resume, graph.get_state(for_reading(config)), config)


async def acheck_answer(graph: Any, input: Any, config: RunnableConfig, *, ours: bool = False) -> None:
    """Like `check_answer`, for checkpointers that are async.

    `ours` is a call of `run`; LangGraph's own calls may answer its own interrupts when a thread has ended.
    """
    if _is_answer(input, config):
        _check(input.resume, await graph.aget_state(for_reading(config)), config, ours=ours)


def standing(graph: Any, snapshot: StateSnapshot, config: RunnableConfig) -> StateSnapshot:
    """Return a thread's latest state without the questions that were answered, as LangGraph promises it.

    LangGraph knows them for one graph. Where the node that asked stands in a nested graph, and what comes
    after it there was stopped, the outer graphs still list its question.
    """
    context = RunContext.of(config)
    if not snapshot.interrupts or context.checkpoint_id:
        return snapshot
    session = session_of(graph, config)
    if session is None:
        return snapshot
    waiting = {item.id for item in unanswered(session, context.thread_id, snapshot.interrupts)}

    def still(interrupts: Iterable[Interrupt]) -> tuple[Interrupt, ...]:
        return tuple(item for item in interrupts if item.id in waiting or is_budget_end(item))

    tasks = tuple(task._replace(interrupts=still(task.interrupts)) for task in snapshot.tasks)
    return snapshot._replace(interrupts=still(snapshot.interrupts), tasks=tasks)


def answered(
    session: Session | None, thread_id: str, snapshot: StateSnapshot, ids: Iterable[str] | None
) -> list[Interrupt]:
    """Return the questions that answers go to: those with the ids, or for None the only one that waits.

    Raises InputError where there is none.
    """
    waiting = unanswered(session, thread_id, snapshot.interrupts)
    if not waiting:
        raise InputError(_why_nothing_waits(thread_id, snapshot))
    if ids is None:
        if len(waiting) > 1:
            raise InputError(
                f"{len(waiting)} questions wait on the thread {thread_id!r}, and one answer is for one of "
                "them. `stepgraph pending` lists them; reviews are answered one by one: approve, reject or "
                f"edit. In Python, give the answers by their ids: {_listed(waiting)}."
            )
        return waiting
    wanted = list(ids)
    known = {question.id for question in waiting}
    for name in wanted:
        if name not in known:
            raise InputError(
                f"No question with the id {name!r} waits on the thread {thread_id!r}: it was answered, or it "
                f"is another thread's. Answer one of those that wait: {_listed(waiting)}."
            )
    return [question for question in waiting if question.id in wanted]


def _is_answer(input: Any, config: RunnableConfig) -> bool:
    context = RunContext.of(config)
    at_a_checkpoint = context.checkpoint_id  # there LangGraph asks again, whoever answered
    kept = context.checkpointer is not None and not context.has_checked_input
    return isinstance(input, Command) and input.resume is not None and kept and not at_a_checkpoint


def _check(resume: Any, snapshot: StateSnapshot, config: RunnableConfig, *, ours: bool = False) -> None:
    if (snapshot.metadata or {}).get("source") == "update":
        return  # the state was edited while a question waited: its node asks again, and takes the answer
    context = RunContext.of(config)
    session, thread_id = context.session, context.thread_id
    ended = snapshot.created_at is not None and not snapshot.tasks
    if ended and not ours and (session is None or not asked_for_review(session, thread_id)):
        return  # LangGraph gives the state that stands
    by_id = isinstance(resume, Mapping) and all(INTERRUPT_ID.fullmatch(str(key)) for key in resume)
    if not by_id or resume:
        answered(session, thread_id, snapshot, resume if by_id else None)


def _why_nothing_waits(thread_id: str, snapshot: StateSnapshot) -> str:
    nothing = f"Nothing on the thread {thread_id!r} waits for an answer"
    if snapshot.created_at is None:
        return (
            f"{nothing}: it has not begun. Check the thread id (`stepgraph pending` lists what waits), or "
            "begin the thread without an answer."
        )
    if not snapshot.tasks:
        return (
            f"{nothing}: it has ended, and its answers stand. To see where another answer leads, fork the "
            f"thread at a checkpoint before it: `stepgraph fork {thread_id} --at …`."
        )
    return (
        f"{nothing}: what it asked was answered, or it stopped for another reason. Go on without an answer: "
        f"`stepgraph resume {thread_id}`."
    )


def _listed(waiting: Iterable[Interrupt]) -> str:
    return "; ".join(f"{question.id} ({_shown(question.value)})" for question in waiting)


def _shown(asked: Any) -> str:
    return f"{asked['review']}" if isinstance(asked, Mapping) and "review" in asked else f"{asked!r:.60}"

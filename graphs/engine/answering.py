"""An answer goes to a question that waits: any other is refused before the thread can take it.

LangGraph ignores an answer whose question is over, or keeps it for the next question that comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt, StateSnapshot

from ...nodes.reviews import too_late
from ...state.errors import InputError
from ...state.journal.waits import WaitRecord, waits_of
from ...state.run_context import RunContext, for_reading
from ...state.session.internals import interrupt_id
from ...state.session.keeping import session_of
from ...state.session.pauses import is_budget_end
from ...state.session.session import Session
from ...state.session.versions import source_of
from ...tracing.record.pending import asked_for_review, is_wait, unanswered

MAX_ANSWERS: Final = 50  # to one question: those that could not be taken, and one more
INTERRUPT_ID: Final = re.compile(r"[0-9a-f]{32}")  # by it LangGraph tells answers by id from an answer


def check_answer(graph: Any, input: Any, config: RunnableConfig) -> Any:
    """Raise InputError for a Command whose `resume` answers nothing that waits on the config's thread.

    Returns the input. One answer where one question waits, beside others that wait for a time, is given by
    its id then: LangGraph would not know which one is meant.
    """
    if not _is_answer(input, config):
        return input
    return _checked(input, graph.get_state(for_reading(config)), config)


async def acheck_answer(graph: Any, input: Any, config: RunnableConfig, *, ours: bool = False) -> Any:
    """Like `check_answer`, for checkpointers that are async.

    `ours` is a call of `run`; LangGraph's own calls may answer its own interrupts when a thread has ended.
    """
    if not _is_answer(input, config):
        return input
    return _checked(input, await graph.aget_state(for_reading(config)), config, ours=ours)


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

    Raises InputError where there is none, and AnswerTooLate after its deadline.
    """
    questions = _questions(session, thread_id, snapshot, ids)
    if session is not None:
        for wait in _waits(session, thread_id, {question.id for question in questions}):
            if wait.status == "over" or (wait.status == "waiting" and session.now() >= wait.until):
                raise too_late(wait)
    return questions


def _questions(
    session: Session | None, thread_id: str, snapshot: StateSnapshot, ids: Iterable[str] | None
) -> list[Interrupt]:
    waiting = unanswered(session, thread_id, snapshot.interrupts)
    if not waiting:
        check_in_time(session, thread_id, ids)
        raise InputError(_why_nothing_waits(thread_id, snapshot))
    if ids is None:
        questions = [item for item in waiting if not is_wait(item.value)]
        waiting = questions or waiting
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
            check_in_time(session, thread_id, [name])
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


def _checked(
    command: Command[Any], snapshot: StateSnapshot, config: RunnableConfig, *, ours: bool = False
) -> Command[Any]:
    if source_of(snapshot.metadata) == "update":
        return command  # the state was edited while a question waited: its node asks again, and takes it
    context = RunContext.of(config)
    session, thread_id, resume = context.session, context.thread_id, command.resume
    ended = snapshot.created_at is not None and not snapshot.tasks
    if ended and not ours and (session is None or not asked_for_review(session, thread_id)):
        return command  # LangGraph gives the state that stands
    by_id = isinstance(resume, Mapping) and all(INTERRUPT_ID.fullmatch(str(key)) for key in resume)
    if by_id and not resume:
        return command
    questions = answered(session, thread_id, snapshot, resume if by_id else None)
    if by_id or len(unanswered(session, thread_id, snapshot.interrupts)) == 1:
        return command
    return replace(command, resume={questions[0].id: resume})


def check_in_time(session: Session | None, thread_id: str, ids: Iterable[str] | None = None) -> None:
    """Raise AnswerTooLate for a review that ended at its deadline; without ids, if the last one did."""
    if session is None:
        return
    waits = _waits(session, thread_id, ids)
    if ids is None:
        waits = sorted(waits, key=lambda wait: wait.ended_at or 0.0)[-1:]
    for wait in waits:
        if wait.status == "over":
            raise too_late(wait)


def _waits(session: Session, thread_id: str, ids: Iterable[str] | None) -> list[WaitRecord]:
    """Return the deadlines of a thread's reviews, or of those that ask under some ids."""
    waits = waits_of(session.journal, thread_id, "review")
    if ids is None:
        return waits
    wanted = set(ids)
    return [w for w in waits if not wanted.isdisjoint(interrupt_id(w.task, n) for n in range(MAX_ANSWERS))]


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


def _shown(question: Any) -> str:
    if is_wait(question):
        return f"{question['wait']}, until {question['due']}"
    return (
        f"{question['review']}"
        if isinstance(question, Mapping) and "review" in question
        else f"{question!r:.60}"
    )

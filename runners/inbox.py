"""Answers to threads that workers run: checked as here, then kept until a worker takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langgraph.types import Interrupt, StateSnapshot

from ..graphs.engine.answering import answered
from ..nodes.reviews import InvalidVerdict, parsed_answer
from ..state.errors import InputError
from ..state.event_loops import in_thread
from ..state.journal.jobs import give_answers, given_answers, wake_job
from ..state.names import REVIEW
from ..state.session.session import Session
from ..tracing.record.pending import read_waiting
from ..tracing.record.threads import find_thread


async def put_answers(session: Session, thread: str, answer: Any, *, by_id: bool) -> list[str]:
    """Keep an answer to the one question that waits, or answers `by_id`, and wake the thread's job.

    Returns the ids of what is answered. Raises InputError for what could not be taken, and AnswerTooLate.
    """
    return await in_thread(_put, session, thread, answer, by_id)


def _put(session: Session, thread: str, value: Any, by_id: bool) -> list[str]:
    answers = checked_answers(session, thread, value, by_id=by_id)
    try:
        plain = {name: json.loads(json.dumps(answer)) for name, answer in answers.items()}
    except (TypeError, ValueError) as error:
        raise InputError(f"An answer is kept as JSON, which cannot say it: {error}.") from None
    give_answers(session.journal, thread, plain)
    stands = given_answers(session.journal, thread)
    wake_job(session.journal, thread)
    for name, answer in plain.items():
        if stands.get(name, answer) != answer:
            raise InputError(
                f"The question {name} on the thread {thread!r} has another answer already, which a worker "
                "is about to take."
            )
    return list(answers)


def checked_answers(session: Session, thread: str, answer: Any, *, by_id: bool) -> dict[str, Any]:
    """Return answers by the ids of their questions, which need no graph to be known here.

    Raises InputError for what could not be taken, and AnswerTooLate.
    """
    questions = answered(session, thread, _snapshot(session, thread), answer if by_id else None)
    answers = dict(answer) if by_id else {questions[0].id: answer}
    for question in questions:
        _check(question.value, answers[question.id])
    return answers


def _check(question: Any, answer: Any) -> None:
    """Raise InputError for an answer that a review could not take, whatever its field is."""
    if not isinstance(question, Mapping) or question.get("kind") != REVIEW:
        return
    try:
        parsed = parsed_answer(answer)
    except InvalidVerdict as problem:
        raise InputError(f"The review {question.get('review')!r} cannot take that: {problem}") from None
    if parsed.decision == "reject" and not parsed.reason.strip():
        raise InputError(
            f"The review {question.get('review')!r} cannot take that: a rejection needs a reason."
        )


def _snapshot(session: Session, thread: str) -> StateSnapshot:
    """Return what a thread waits for as its graph would, which need not be known here."""
    record = find_thread(session.journal, thread)
    interrupts = tuple(Interrupt(item.value, id=item.id) for item in read_waiting(session, thread))
    has_begun = None if record.status == "queued" else "begun"
    under_way: Any = () if record.status == "done" else ("",)
    return StateSnapshot({}, (), {}, None, has_begun, None, under_way, interrupts)

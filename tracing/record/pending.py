"""What the threads of a file wait for: the interrupts that nobody has answered yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from langgraph.types import Interrupt

from ...state.journal.escalations import threads_to_escalate
from ...state.journal.waits import threads_due
from ...state.names import DEPARTED, PARTS, REVIEW, WAIT, path_of
from ...state.run_context import checkpoint_at
from ...state.session.internals import interrupt_id, read_task_statuses
from ...state.session.pauses import is_budget_end
from ...state.session.recorder import STOPPED
from ...state.session.session import Session
from .plain_checkpoints import plain_checkpoints


@dataclass(frozen=True)
class Waiting:
    """One question that waits for an answer; `value` is what it says, `since` is Unix time.

    `task` is the node execution that asks. It stays the same when a question is asked again, with
    another id.
    """

    thread_id: str
    id: str
    value: Any
    task: str
    since: float

    @property
    def path(self) -> str:
        """The names of the nested nodes, joined by "/"."""
        return path_of(self.task)

    @property
    def name(self) -> str:
        """The node that asks."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def due(self) -> datetime | None:
        """When a wait ends, or by when a review must be answered; None for what waits as long as it takes."""
        return due_of(self.value)


def due(session: Session) -> list[Waiting]:
    """Return what need not wait any more: its time has come, by the session's clock; the oldest first.

    `resume(graph, session, item.thread_id)` goes on with its thread; `stepgraph resume --due` with all. What
    runs just now is none.
    """
    now = session.now()
    at = now.timestamp()
    threads = dict.fromkeys([*threads_due(session.journal, at), *threads_to_escalate(session.journal, at)])
    idle = [thread for thread in threads if not session.claims.is_run(thread)]
    waiting = [item for thread in idle for item in read_waiting(session, thread) if is_due(item.value, now)]
    return sorted(waiting, key=lambda item: (item.due or now, item.thread_id))


def is_for_parts(interrupt: Interrupt) -> bool:
    """Tell whether an interrupt stands for jobs that run some items, so that nobody is asked anything."""
    return isinstance(interrupt.value, Mapping) and interrupt.value.get("kind") == PARTS


def is_departure(interrupt: Interrupt) -> bool:
    """Tell whether an interrupt says where a replay left what is on record."""
    return isinstance(interrupt.value, Mapping) and interrupt.value.get("kind") == DEPARTED


def asks_nobody(interrupt: Interrupt) -> bool:
    """Tell whether an interrupt only says why a run stopped, so that no answer is waited for."""
    return is_budget_end(interrupt) or is_for_parts(interrupt) or is_departure(interrupt)


def is_review(value: Any) -> bool:
    """Tell whether an interrupt's value is the question of a review."""
    return isinstance(value, Mapping) and value.get("kind") == REVIEW


def is_wait(value: Any) -> bool:
    """Tell whether an interrupt's value says that a time is waited for, not an answer."""
    return isinstance(value, Mapping) and value.get("kind") == WAIT


def due_of(value: Any) -> datetime | None:
    """Return the time that an interrupt's value names, None if it names none."""
    if not isinstance(value, Mapping) or value.get("kind") not in (WAIT, REVIEW) or not value.get("due"):
        return None
    return datetime.fromisoformat(value["due"])


def wakes_at(value: Any) -> datetime | None:
    """Return when a question goes on by itself: at its end, or where it asks the next one; None for never."""
    if not is_review(value) or not value.get("escalates"):
        return due_of(value)
    escalates = datetime.fromisoformat(value["escalates"])
    return min(escalates, due_of(value) or escalates)


def is_due(value: Any, now: datetime) -> bool:
    """Tell whether the time has come at which a question goes on by itself."""
    at = wakes_at(value)
    return at is not None and at <= now


def read_waiting(session: Session, thread_id: str | None = None) -> list[Waiting]:
    """Return the unanswered interrupts of one thread or of all, the oldest first; ends of budgets are none.

    It needs no graph, and imports nothing that the file names. Where another checkpointer keeps a thread,
    its record tells.
    """
    sql = "SELECT thread_id, updated_at FROM runs WHERE status NOT IN ('done', 'queued')"
    if thread_id is None:
        threads = session.journal.query(sql)
    else:
        threads = session.journal.query(f"{sql} AND thread_id = ?", (thread_id,))
    waiting: list[Waiting] = []
    with plain_checkpoints(session) as checkpointer:
        for row in threads:
            saved = checkpointer.get_tuple(checkpoint_at(row["thread_id"]))
            if saved is None:  # another checkpointer keeps them
                interrupts = _on_record(session, row["thread_id"])
            else:
                statuses = read_task_statuses(saved.pending_writes or [])
                interrupts = [item for status in statuses.values() for item in status.pending_interrupts]
            if interrupts:
                waiting += _open_interrupts(session, row["thread_id"], interrupts, row["updated_at"])
    return sorted(waiting, key=lambda item: (item.since, item.thread_id))


def unanswered(session: Session | None, thread_id: str, interrupts: Iterable[Interrupt]) -> list[Interrupt]:
    """Return those of a thread's interrupts that wait for an answer, whoever keeps its checkpoints."""
    questions = [item for item in interrupts if not asks_nobody(item)]
    if session is None or not questions:
        return questions
    waiting = {item.id for item in _open_interrupts(session, thread_id, questions, 0.0)}
    return [item for item in questions if item.id in waiting]


def longest_interrupted(session: Session, most: int) -> list[str]:
    """Return so many threads that were interrupted, those that have stood still longest first."""
    sql = "SELECT thread_id FROM runs WHERE status = 'interrupted' ORDER BY updated_at, thread_id LIMIT ?"
    return [row["thread_id"] for row in session.journal.query(sql, (most,))]


def asked_for_review(session: Session, thread_id: str) -> bool:
    """Tell whether a node of a thread has ever asked for a review."""
    sql = "SELECT 1 FROM node_runs WHERE thread_id = ? AND interrupts LIKE ? LIMIT 1"
    return bool(session.journal.query(sql, (thread_id, f'%"{REVIEW}"%')))


def _on_record(session: Session, thread_id: str) -> list[Interrupt]:
    """Return what the last node executions of a thread ask, by the record."""
    rows = session.journal.query(
        "SELECT task, status, interrupts FROM node_runs WHERE thread_id = ? ORDER BY id", (thread_id,)
    )
    asking: dict[str, list[str]] = {}  # by task, what it has asked so far
    last = {row["task"]: row["status"] for row in rows}
    for row in rows:
        if row["status"] == "interrupted" and row["interrupts"]:
            asking.setdefault(row["task"], []).append(row["interrupts"])
    return [
        Interrupt(value, id=interrupt_id(task, len(values) - 1))
        for task, values in asking.items()
        if last[task] == "interrupted" and not any(other.startswith(f"{task}|") for other in asking)
        for value in json.loads(values[-1])
    ]


def _open_interrupts(
    session: Session, thread_id: str, interrupts: list[Interrupt], late: float
) -> Iterator[Waiting]:
    """Yield the interrupts that wait, with their places; one whose node failed on the answer does not.

    A node that was stopped while it worked on an answer waits again, as after a kill.
    An interrupt's id is made of its node execution's name and the number of answers so far.
    """
    node_runs = session.journal.query(
        "SELECT task, status, error, ended_at FROM node_runs WHERE thread_id = ? AND task IN "
        "(SELECT task FROM node_runs WHERE thread_id = ? AND status = 'interrupted') ORDER BY id",
        (thread_id, thread_id),
    )
    by_task: dict[str, list[dict[str, Any]]] = {}
    for node_run in node_runs:
        by_task.setdefault(node_run["task"], []).append(node_run)
    tasks = {interrupt_id(task, n): task for task, runs in by_task.items() for n in range(len(runs))}
    for item in {item.id: item for item in interrupts}.values():
        if asks_nobody(item):
            continue
        task = tasks.get(item.id, "")
        runs_of_task = by_task.get(task, [])
        if (
            runs_of_task
            and runs_of_task[-1]["status"] != "interrupted"
            and runs_of_task[-1]["error"] != STOPPED
        ):
            continue
        since = [node_run["ended_at"] for node_run in runs_of_task if node_run["status"] == "interrupted"]
        yield Waiting(thread_id, item.id, item.value, task, min(since, default=late))

"""The record of jobs: threads that were handed to workers, and the answers that were given meanwhile.

An engine carries a thread's name and nothing else. What is to be done stands here, and so does how it ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..blobs import referring
from ..errors import InputError
from .journal import Journal
from .records import Description, Statement

JobStatus = Literal["queued", "running", "waiting", "done", "partial", "failed", "canceled"]
LOCAL: Final = "local"
OVER: Final = ("done", "partial", "failed", "canceled")
COLUMNS: Final = (
    "thread_id, graph, version, trace, input, options, engine, link, status, kind, attempts, due_at, "
    "epoch, owner, former, stop"
)
_FLAGS: Final = ("stop", "is_begun", "is_touched", "is_part", "is_heard")


@dataclass(frozen=True)
class JobRecord:
    """One row; times are Unix seconds of the database's clock. `input` and `options` are plain data.

    Of one whose turn has begun, `begun` is the number of the latest input that was begun before, -1 without
    one, `is_begun` says whether a turn has begun its own, and `is_touched` whether its thread was ever
    claimed or begun, or given a state, a budget or a lane. `is_part` says whether its thread is a part of
    another one, `is_heard` whether anybody listens.
    """

    thread_id: str
    graph: str
    trace: int
    input: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: str = LOCAL
    link: str | None = None
    status: JobStatus = "queued"
    kind: str | None = None
    attempts: int = 0
    due_at: float | None = None
    epoch: int = 0
    owner: str | None = None
    former: str | None = None
    stop: bool = False
    version: str | None = None
    begun: int = -1
    is_begun: bool = False
    is_touched: bool = True
    is_part: bool = False
    is_heard: bool = False

    @property
    def turn(self) -> str:
        """The name of its turn, which no other one of its thread has; see `TURN`."""
        return f"{self.owner} {self.epoch}"

    @property
    def formers(self) -> list[str]:
        """The workers whose turns before this one did not end: they died, or stood still."""
        return (self.former or "").split()

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it by itself: neither does it run, nor wait for anything."""
        return self.status in OVER


def submit_job(journal: Journal, job: JobRecord) -> None:
    """Record a job, and its thread if it is new; a job that the thread had before is replaced."""
    changed = ("graph", "trace", "input", "options", "engine", "status", "due_at", "updated_at")
    replacing = (
        f"DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in changed)}, "
        "kind = NULL, attempts = 0, stop = 0, woken = 0"
    )
    journal.write(_statements(journal, job, replacing))


def new_job(journal: Journal, job: JobRecord) -> list[Statement]:
    """Return the statements that record a job, unless its thread has one."""
    return _statements(journal, job, "DO NOTHING")


def _statements(journal: Journal, job: JobRecord, otherwise: str) -> list[Statement]:
    described = Description(job.graph, {}, job.input)
    now = journal.dialect.now
    run = (
        "INSERT INTO runs (thread_id, graph, models, input, status, started_at, updated_at) "
        f"VALUES (?, ?, ?, ?, 'queued', {now}, {now}) ON CONFLICT (thread_id) DO NOTHING"
    )
    names = "thread_id, graph, trace, input, options, engine, status, due_at, submitted_at, updated_at"
    row = (
        f"INSERT INTO jobs ({names}) VALUES (?, ?, ?, ?, ?, ?, 'queued', {now}, {now}, {now}) "
        f"ON CONFLICT (thread_id) {otherwise}"
    )
    values = (
        job.thread_id,
        job.graph,
        job.trace,
        referring(json.dumps(job.input)),
        json.dumps(dict(job.options)),
        job.engine,
    )
    return [(run, (job.thread_id, *described.columns())), (row, values)]


def find_job(journal: Journal, thread_id: str) -> JobRecord | None:
    """Return a thread's job, None if the thread was never handed to workers."""
    rows = journal.query(f"SELECT {COLUMNS} FROM jobs WHERE thread_id = ?", (thread_id,))
    return job_of(journal, rows[0]) if rows else None


def job_of(journal: Journal, row: Mapping[str, Any]) -> JobRecord:
    """Return the job that a row of these columns says."""
    texts = {"input": journal.whole(row["input"]), "options": row["options"]}
    data = {name: json.loads(text) for name, text in texts.items()}
    flags = {name: bool(row.get(name)) for name in _FLAGS if name in row}
    return JobRecord(**{**row, **data, **flags})


def last_trace(journal: Journal, thread_id: str) -> int:
    """Return the number of the thread's latest input that was begun, -1 if none was."""
    rows = journal.query("SELECT max(trace) AS last FROM invocations WHERE thread_id = ?", (thread_id,))
    last = rows[0]["last"]
    return -1 if last is None else int(last)


def pin_job(journal: Journal, job: JobRecord, version: str | None) -> None:
    """Record with which version of its graph a job goes on, unless another turn has begun meanwhile."""
    sql = "UPDATE jobs SET version = ? WHERE thread_id = ? AND epoch = ?"
    journal.write([(sql, (version, job.thread_id, job.epoch))])


def fail_unbegun(journal: Journal, thread_id: str, error: str) -> None:
    """Record why a thread could not even begin."""
    sql = "UPDATE runs SET status = 'failed', error = ? WHERE thread_id = ? AND status = 'queued'"
    journal.write([(sql, (error, thread_id))])


def wake_job(journal: Journal, thread_id: str, options: Mapping[str, Any] | None = None) -> JobRecord:
    """Have a job take another turn: at once, or after the one under way. Raises InputError without a job.

    `options` replace those that it has.
    """
    job = find_job(journal, thread_id)
    if job is None:
        raise InputError(f"The thread {thread_id!r} was not handed to workers, so none goes on with it.")
    now = journal.dialect.now
    sql = (
        f"UPDATE jobs SET woken = CASE status WHEN 'running' THEN 1 ELSE 0 END, "
        f"due_at = {now}, attempts = 0, stop = 0, options = ?, "
        "status = CASE status WHEN 'running' THEN 'running' ELSE 'queued' END, "
        f"updated_at = {now} WHERE thread_id = ?"
    )
    parts = (  # which have stopped: they go on with it
        "UPDATE job_parts SET is_told = 1 WHERE parent = ? AND thread_id IN "
        "(SELECT thread_id FROM jobs WHERE status IN ('partial', 'failed', 'canceled'))"
    )
    text = json.dumps({**job.options, **(options or {})})
    journal.write([(sql, (text, thread_id)), (parts, (thread_id,))])
    return job


def wake_for_parts(journal: Journal, thread_id: str) -> None:
    """Have a job take what its parts have brought, in another turn; one that is to be canceled still is."""
    now = journal.dialect.now
    sql = (
        f"UPDATE jobs SET woken = CASE status WHEN 'running' THEN 1 ELSE woken END, due_at = {now}, "
        f"updated_at = {now} WHERE thread_id = ? AND status IN ('running', 'queued', 'waiting')"
    )
    journal.write([(sql, (thread_id,))])


def stop_job(journal: Journal, thread_id: str) -> JobStatus | None:
    """Ask for a job to be canceled: its worker stops it, or nobody begins it. Return how it stands.

    One that has given items to other jobs has another turn, which takes what these have brought.
    """
    now = journal.dialect.now
    sql = (
        f"UPDATE jobs SET stop = 1, updated_at = {now}, "
        f"due_at = CASE WHEN status = 'queued' THEN {now} ELSE due_at END, "
        "status = CASE WHEN status IN ('queued', 'waiting') AND NOT EXISTS (SELECT 1 FROM job_parts p "
        "WHERE p.parent = jobs.thread_id) THEN 'canceled' ELSE status END "
        "WHERE thread_id = ? RETURNING status"
    )
    rows = returned(journal, sql, (thread_id,))
    status: JobStatus | None = rows[0]["status"] if rows else None
    return status


def fail_job(journal: Journal, thread_id: str, kind: str) -> None:
    """Record that no turn follows, because the engine was told so from outside."""
    sql = (
        f"UPDATE jobs SET status = 'failed', kind = ?, epoch = epoch + 1, updated_at = {journal.dialect.now} "
        "WHERE thread_id = ? AND status IN ('queued', 'running', 'waiting')"
    )
    journal.write([(sql, (kind, thread_id))])


def link_job(journal: Journal, thread_id: str, link: str) -> None:
    """Record an engine's own name for a job."""
    journal.write([("UPDATE jobs SET link = ? WHERE thread_id = ?", (link, thread_id))])


# Answers


def give_answers(journal: Journal, thread_id: str, answers: Mapping[str, Any]) -> None:
    """Keep answers, by the ids of what they answer, until a worker takes them; the first one stands."""
    now = journal.dialect.now
    sql = (
        f"INSERT INTO job_answers (thread_id, question, answer, given_at) VALUES (?, ?, ?, {now}) "
        "ON CONFLICT (thread_id, question) DO NOTHING"
    )
    journal.write((sql, (thread_id, name, referring(json.dumps(each)))) for name, each in answers.items())


def given_answers(journal: Journal, thread_id: str) -> dict[str, Any]:
    """Return the answers that no worker has taken, by the ids of what they answer."""
    rows = journal.query("SELECT question, answer FROM job_answers WHERE thread_id = ?", (thread_id,))
    return {row["question"]: json.loads(journal.whole(row["answer"])) for row in rows}


def drop_answers(journal: Journal, thread_id: str, questions: Iterable[str]) -> None:
    """Forget answers that were taken, or that answer nothing any more."""
    sql = "DELETE FROM job_answers WHERE thread_id = ? AND question = ?"
    journal.write((sql, (thread_id, name)) for name in questions)


def returned(journal: Journal, sql: str, values: Iterable[Any]) -> list[dict[str, Any]]:
    """Run one statement in a transaction of its own, and return the rows that it returns."""
    parameters = list(values)
    return journal.transact(lambda transaction: transaction.execute(sql, parameters))

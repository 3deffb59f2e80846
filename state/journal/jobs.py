"""The record of jobs: threads that were handed to workers, and the answers that were given meanwhile.

An engine carries a thread's name and nothing else. What is to be done stands here, and so does how it ended.
Each turn has an epoch, and only the latest one writes how it ended: a worker that stood still writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..blobs import referring
from ..errors import InputError
from .journal import Journal
from .records import Description, Statement

JobStatus = Literal["queued", "running", "waiting", "done", "partial", "failed", "canceled"]
Attempts = Literal["none", "kept", "one less"]  # what becomes of their number
LOCAL: Final = "local"
OVER: Final = ("done", "partial", "failed", "canceled")
_NAMES: Final = (
    "thread_id, graph, version, trace, input, options, engine, link, status, kind, attempts, due_at, "
    "epoch, owner, former, stop"
)


@dataclass(frozen=True)
class JobRecord:
    """One row; times are Unix seconds of the database's clock. `input` and `options` are plain data.

    Of one whose turn has begun, `begun` is the number of the latest input that was begun before, -1 without
    one. `is_part` says whether its thread is a part of another one, `is_heard` whether anybody listens.
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
    is_part: bool = False
    is_heard: bool = False

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
    rows = journal.query(f"SELECT {_NAMES} FROM jobs WHERE thread_id = ?", (thread_id,))
    return _job(journal, rows[0]) if rows else None


def _job(journal: Journal, row: Mapping[str, Any]) -> JobRecord:
    texts = {"input": journal.whole(row["input"]), "options": row["options"]}
    data = {name: json.loads(text) for name, text in texts.items()}
    flags = {name: bool(row.get(name)) for name in ("stop", "is_part", "is_heard")}
    return JobRecord(**{**row, **data, **flags})


def last_trace(journal: Journal, thread_id: str) -> int:
    """Return the number of the thread's latest input that was begun, -1 if none was."""
    rows = journal.query("SELECT max(trace) AS last FROM invocations WHERE thread_id = ?", (thread_id,))
    last = rows[0]["last"]
    return -1 if last is None else int(last)


def take_job(
    journal: Journal,
    graphs: Collection[str],
    owner: str,
    lease_s: float,
    *,
    engine: str = LOCAL,
    thread: str | None = None,
    versions: Collection[str] = (),
    begins: bool = True,
) -> JobRecord | None:
    """Take the job that waits longest of those that are due, and whose graphs a worker serves; None without.

    With a `thread`, only its job counts. Of jobs that were begun with a version, the worker serves these
    `versions`, each as graph@version; whether it `begins` others as well, is its affair.

    A job is due when it is queued, when its deadline has come, or when the worker whose turn it was has not
    said for too long that it lives.
    """
    now = journal.dialect.now
    serves, names = _serves(graphs, versions, begins)
    due = (
        f"engine = ? AND {serves} AND ((status = 'queued' AND due_at <= {now}) "
        f"OR (status = 'waiting' AND due_at <= {now}) OR (status = 'running' AND expires_at < {now}))"
    )
    values: tuple[str, ...] = (engine, *names)
    if thread is not None:
        due, values = f"thread_id = ? AND {due}", (thread, *values)
    sql = (
        f"UPDATE jobs SET status = 'running', former = owner, owner = ?, expires_at = {now} + ?, "
        f"epoch = epoch + 1, attempts = attempts + 1, woken = 0, updated_at = {now} WHERE thread_id = "
        f"(SELECT thread_id FROM jobs WHERE {due} ORDER BY due_at, thread_id LIMIT 1) AND {due} "
        f"RETURNING {_taken(now)}"
    )
    if not journal.query(f"SELECT 1 FROM jobs WHERE {due} LIMIT 1", values):
        return None  # nobody waits for a lock in order to find nothing
    rows = _returned(journal, sql, (owner, lease_s, *values, *values))
    return _job(journal, rows[0]) if rows else None


def _taken(now: str) -> str:
    """Return the columns of a job whose turn begins, with what else its worker has to know."""
    return (
        f"{_NAMES}, (SELECT coalesce(max(i.trace), -1) FROM invocations i "
        "WHERE i.thread_id = jobs.thread_id) AS begun, "
        "EXISTS (SELECT 1 FROM job_parts p WHERE p.thread_id = jobs.thread_id) AS is_part, "
        "EXISTS (SELECT 1 FROM stream_listeners l WHERE l.thread_id = jobs.thread_id "
        f"AND l.expires_at > {now}) AS is_heard"
    )


def _serves(graphs: Collection[str], versions: Collection[str], begins: bool) -> tuple[str, list[str]]:
    """Return the condition on jobs that a worker serves, and its values."""
    named = f"graph || '@' || version IN ({', '.join('?' * len(versions))})" if versions else "0 = 1"
    others = "version IS NULL" if begins else "0 = 1"
    return f"graph IN ({', '.join('?' * len(graphs))}) AND ({others} OR {named})", [*graphs, *versions]


def overdue_jobs(
    journal: Journal,
    graphs: Collection[str],
    engine: str,
    overdue_s: float,
    limit: int,
    *,
    versions: Collection[str] = (),
    begins: bool = True,
) -> list[JobRecord]:
    """Return jobs that somebody should have begun: due for so long, or of a worker that says nothing more."""
    now = journal.dialect.now
    serves, names = _serves(graphs, versions, begins)
    sql = (
        f"SELECT {_NAMES} FROM jobs WHERE engine = ? AND {serves} "
        f"AND ((status = 'running' AND expires_at < {now}) "
        f"OR (status IN ('queued', 'waiting') AND due_at < {now} - ?)) ORDER BY due_at LIMIT ?"
    )
    return [_job(journal, row) for row in journal.query(sql, (engine, *names, overdue_s, limit))]


async def begin_turn(
    journal: Journal,
    thread_id: str,
    owner: str,
    token: int,
    graphs: Collection[str],
    *,
    versions: Collection[str] = (),
    begins: bool = True,
) -> JobRecord | None:
    """Begin a turn that an engine has given to a worker; None if it comes too late, or nothing is to do.

    The engine's `token` grows with every turn that it gives. A worker that stood still may come with an older
    one, when another has begun. What a worker does not serve it does not begin either: see `take_job`. The
    turn that it has already is its own: the connection was lost before the answer came, and it is sent again.
    """
    now = journal.dialect.now
    serves, names = _serves(graphs, versions, begins)
    sql = (
        f"UPDATE jobs SET status = 'running', former = owner, owner = ?, expires_at = NULL, epoch = ?, "
        f"attempts = attempts + 1, woken = 0, updated_at = {now} WHERE thread_id = ? "
        "AND (epoch < ? OR (epoch = ? AND owner = ?)) AND status IN ('queued', 'running', 'waiting') "
        f"AND {serves} RETURNING {_taken(now)}"
    )
    rows = await journal.store.aexecute(sql, (owner, token, thread_id, token, token, owner, *names))
    return _job(journal, rows[0]) if rows else None


async def end_turn(
    journal: Journal,
    job: JobRecord,
    status: JobStatus,
    *,
    kind: str | None = None,
    due_at: float | None = None,
    after_s: float | None = None,
    attempts: Attempts = "none",
    is_stopped: bool = True,
) -> JobStatus | None:
    """Record how a turn ended, and return how the job stands; None if another turn has begun meanwhile.

    One that is to be canceled is then, unless another turn has to take what its parts have brought. One that
    is queued is due `after_s` seconds. Whoever was woken has another turn, though its end is sent once more.
    """
    await journal.aflush()  # how the run ended stands on record before how its turn did
    now = journal.dialect.now
    due = "?" if after_s is None else f"{now} + ?"
    again = "0 = 1" if status in ("done", "canceled") else "woken = 1"
    stopped = "stop = 1" if status in ("waiting", "queued") and is_stopped else "0 = 1"
    stop = "0" if is_stopped else "stop"
    sql = (
        f"UPDATE jobs SET status = CASE WHEN {stopped} THEN 'canceled' WHEN {again} THEN 'queued' "
        "ELSE ? END, "
        f"due_at = CASE WHEN {again} THEN {now} ELSE {due} END, kind = ?, attempts = attempts * ? - ?, "
        "owner = NULL, former = NULL, expires_at = NULL, woken = 0, "
        f"stop = {stop}, updated_at = {now} WHERE thread_id = ? AND epoch = ? AND owner IS NOT NULL "
        "RETURNING status"
    )
    when = due_at if after_s is None else after_s
    left = int(attempts != "none"), int(attempts == "one less")
    turn = job.thread_id, job.epoch
    ended = "SELECT status FROM jobs WHERE thread_id = ? AND epoch = ? AND owner IS NULL"
    rows = await journal.store.aexecute(sql, (status, when, kind, *left, *turn))
    rows = rows or await journal.aquery(ended, turn)
    return rows[0]["status"] if rows else None


def forgive_turn(journal: Journal, job: JobRecord) -> None:
    """Count a turn as no attempt that another one has cut short: its worker was slow, and did not die."""
    sql = "UPDATE jobs SET attempts = attempts - 1 WHERE thread_id = ? AND epoch > ? AND attempts > 1"
    journal.write([(sql, (job.thread_id, job.epoch))])


def is_due_now(journal: Journal, thread_id: str) -> bool:
    """Tell whether a job that is queued can be taken at once."""
    sql = f"SELECT 1 FROM jobs WHERE thread_id = ? AND status = 'queued' AND due_at <= {journal.dialect.now}"
    return bool(journal.query(sql, (thread_id,)))


def pin_job(journal: Journal, job: JobRecord, version: str | None) -> None:
    """Record with which version of its graph a job goes on, unless another turn has begun meanwhile."""
    sql = "UPDATE jobs SET version = ? WHERE thread_id = ? AND epoch = ?"
    journal.write([(sql, (version, job.thread_id, job.epoch))])


def fail_unbegun(journal: Journal, thread_id: str, error: str) -> None:
    """Record why a thread could not even begin."""
    sql = "UPDATE runs SET status = 'failed', error = ? WHERE thread_id = ? AND status = 'queued'"
    journal.write([(sql, (error, thread_id))])


def renew_turns(
    journal: Journal, owner: str, threads: Collection[str], lease_s: float
) -> tuple[set[str], set[str]]:
    """Say that a worker runs threads; return those whose turn is still its own, and those of them to stop."""
    if not threads:
        return set(), set()
    marks = ", ".join("?" * len(threads))
    sql = (
        f"UPDATE jobs SET expires_at = {journal.dialect.now} + ? WHERE owner = ? AND status = 'running' "
        f"AND thread_id IN ({marks}) RETURNING thread_id, stop"
    )
    rows = _returned(journal, sql, (lease_s, owner, *threads))
    return {row["thread_id"] for row in rows}, {row["thread_id"] for row in rows if row["stop"]}


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
    rows = _returned(journal, sql, (thread_id,))
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


def _returned(journal: Journal, sql: str, values: Iterable[Any]) -> list[dict[str, Any]]:
    """Run one statement in a transaction of its own, and return the rows that it returns."""
    parameters = list(values)
    return journal.transact(lambda transaction: transaction.execute(sql, parameters))

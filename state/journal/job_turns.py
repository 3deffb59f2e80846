"""The turns of jobs: which worker has one, and how it ended.

Each turn has an epoch, and only the latest one writes how it ended: a worker that stood still writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final, Literal

from .jobs import COLUMNS, LOCAL, JobRecord, JobStatus, job_of, returned
from .journal import Journal
from .new_threads import touched_if
from .turn_claims import TurnClaims

_FORMER: Final = "former = coalesce(former || ' ', '') || owner"  # NULL where the turn before it ended
Attempts = Literal["none", "kept", "one less"]  # what becomes of their number


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
        f"UPDATE jobs SET status = 'running', {_FORMER}, owner = ?, expires_at = {now} + ?, "
        f"epoch = epoch + 1, attempts = attempts + 1, woken = 0, updated_at = {now} WHERE thread_id = "
        f"(SELECT thread_id FROM jobs WHERE {due} ORDER BY due_at, thread_id LIMIT 1) AND {due} "
        f"RETURNING {_taken(now)}"
    )
    if not journal.query(f"SELECT 1 FROM jobs WHERE {due} LIMIT 1", values):
        return None  # nobody waits for a lock in order to find nothing
    rows = returned(journal, sql, (owner, lease_s, *values, *values))
    return job_of(journal, rows[0]) if rows else None


def _taken(now: str) -> str:
    """Return the columns of a job whose turn begins, with what else its worker has to know."""
    begun, touched = _begun("i.thread_id = jobs.thread_id", "jobs.trace"), touched_if("jobs.thread_id")
    return (
        f"{COLUMNS}, {begun}, ({touched}) AS is_touched, "
        "EXISTS (SELECT 1 FROM job_parts p WHERE p.thread_id = jobs.thread_id) AS is_part, "
        "EXISTS (SELECT 1 FROM stream_listeners l WHERE l.thread_id = jobs.thread_id "
        f"AND l.expires_at > {now}) AS is_heard"
    )


def _begun(condition: str, trace: str) -> str:
    """Return the latest input that was begun of a thread, and whether a turn has begun that of its job.

    Who called a graph before format 10, nothing tells: there the number of the input counts alone.
    """
    return (
        f"(SELECT coalesce(max(i.trace), -1) FROM invocations i WHERE {condition}) AS begun, "
        f"EXISTS (SELECT 1 FROM invocations i WHERE {condition} AND i.trace >= {trace} "
        "AND coalesce(i.of_job, 1) = 1) AS is_begun"
    )


def looked_up(journal: Journal, job: JobRecord) -> JobRecord:
    """Return a job whose turn has begun with what else has been begun of its thread by now.

    And whether it is to stop, and its attempts, as they stand now.
    """
    begun = _begun("i.thread_id = jobs.thread_id", "?")
    sql = f"SELECT stop, attempts, {begun} FROM jobs WHERE thread_id = ?"
    row = next(iter(journal.query(sql, (job.trace, job.thread_id))), {})  # none once it is deleted
    flags = {name: bool(row[name]) for name in row.keys() & {"stop", "is_begun"}}
    return replace(job, is_touched=True, **{**row, **flags})


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
        f"SELECT {COLUMNS} FROM jobs WHERE engine = ? AND {serves} "
        f"AND ((status = 'running' AND expires_at < {now}) "
        f"OR (status IN ('queued', 'waiting') AND due_at < {now} - ?)) ORDER BY due_at LIMIT ?"
    )
    return [job_of(journal, row) for row in journal.query(sql, (engine, *names, overdue_s, limit))]


async def begin_turn(
    journal: Journal,
    thread_id: str,
    owner: str,
    token: int,
    graphs: Collection[str],
    *,
    versions: Collection[str] = (),
    begins: bool = True,
    claims: TurnClaims | None = None,
) -> JobRecord | None:
    """Begin a turn that an engine has given to a worker; None if it comes too late, or nothing is to do.

    The engine's `token` grows with every turn that it gives. A worker that stood still may come with an older
    one, when another has begun. What a worker does not serve it does not begin either: see `take_job`. The
    turn that it has already is its own: the connection was lost before the answer came, and it is sent again.
    With `claims`, a new thread is claimed for the turn's run; see `TurnClaims`.
    """
    now = journal.dialect.now
    serves, names = _serves(graphs, versions, begins)
    sql = (
        f"UPDATE jobs SET status = 'running', {_FORMER}, owner = ?, expires_at = NULL, epoch = ?, "
        f"attempts = attempts + 1, woken = 0, updated_at = {now} WHERE thread_id = ? "
        "AND (epoch < ? OR (epoch = ? AND owner = ?)) AND status IN ('queued', 'running', 'waiting') "
        f"AND {serves} RETURNING {_taken(now)}"
    )
    begin = sql, (owner, token, thread_id, token, token, owner, *names)
    if claims is None:
        rows = await journal.store.aexecute(*begin)
    else:
        rows = await claims.begin(thread_id, owner, token, begin)
    try:
        return job_of(journal, rows[0]) if rows else None
    except BaseException:  # its input may be a blob, which is read now
        if claims is not None:
            claims.give_up(thread_id, owner)
        raise


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
    rows = returned(journal, sql, (lease_s, owner, *threads))
    return {row["thread_id"] for row in rows}, {row["thread_id"] for row in rows if row["stop"]}

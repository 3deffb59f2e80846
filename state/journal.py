"""The journal: every model call, node visit and decision of a run, in SQLite, as it happens.

A call's answer is committed before the node that asked sees it, on a connection of the journal's
own. Answers that arrive together are committed together: the first one in a pass of the event loop
schedules the commit, the others of that pass join it.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from .database import aretrying, connect, explained, is_busy, retrying
from .errors import StoreError
from .spill import Spill
from .tables import TABLES, VERSION


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes a call the same call after a crash: where it is made, what it asks, which sample."""

    thread_id: str
    task: str
    request_hash: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a model call, as the `calls` table keeps it."""

    id: str
    thread_id: str
    task: str
    path: str
    step: str
    role: str | None
    request_hash: str
    occurrence: int
    attempt: int
    status: str
    model_asked: str
    messages: str
    params: str
    latency_s: float
    started_at: float
    model_answered: str | None = None
    answer: str | None = None
    reasoning: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    problem: str | None = None
    source: str = "model"
    origin: str | None = None
    reason: str | None = None
    replays: int = 0


@dataclass(frozen=True, slots=True)
class Visit:
    """One execution of one node; `output` is JSON."""

    thread_id: str
    task: str
    path: str
    node: str
    superstep: int
    status: str
    output: str | None
    error: str | None
    started_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Which way a route, loop or gate went, how sure it was (0 to 1) and why."""

    thread_id: str
    task: str
    path: str
    kind: str
    choice: str
    confidence: float | None
    reason: str | None
    decided_at: float


Record = Call | Visit | Decision
Statement = tuple[str, Sequence[Any]]


def _insert(table: str, record_type: type[Any], verb: str = "INSERT") -> str:
    names = [field.name for field in fields(record_type)]
    marks = ", ".join("?" * len(names))
    return f"{verb} INTO {table} ({', '.join(names)}) VALUES ({marks})"


_INSERT: dict[type[Any], str] = {
    # A second answer to the same call can only come from two runs of one thread; the first one stays.
    Call: _insert("calls", Call, "INSERT OR IGNORE"),
    Visit: _insert("visits", Visit),
    # A node that runs again after a resume decides again: the last word counts.
    Decision: _insert("decisions", Decision, "INSERT OR REPLACE"),
}
_CALL_NAMES = ", ".join(field.name for field in fields(Call))
_FIELD_NAMES = {cls: tuple(f.name for f in fields(cls)) for cls in _INSERT}


def insert(record: Record) -> Statement:
    """Return the statement that adds a record."""
    cls = type(record)
    return _INSERT[cls], [getattr(record, name) for name in _FIELD_NAMES[cls]]


MAX_INTEGER = 2**63 - 1


def bindable(value: Any) -> Any:
    """Return the value as SQLite can keep it: text without lone surrogates, integers of 64 bits."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return MAX_INTEGER if value > 0 else -MAX_INTEGER
    return value


class Journal:
    """The record of runs in one SQLite file; safe to use from several threads and event loops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listeners: list[Callable[[Record], None]] = []
        self._connection = connect(path)
        self._file = path.absolute()
        self._inode = _inode(self._file)
        self._spill = Spill(self._file)
        self._trouble: StoreError | None = None
        self._lock = threading.RLock()
        self._batches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Batch] = WeakKeyDictionary()
        self._waiting: list[Statement] = []
        self._closed = False
        self._occurrences: WeakKeyDictionary[Any, Counter[tuple[str, str, int]]] = WeakKeyDictionary()
        try:
            retrying(self._set_up, path)
        except BaseException:
            self._connection.close()
            raise
        self._take_in()

    def _set_up(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(
                f"{self.path} was written by a newer stepgraph (format {version}, this one knows "
                f"{VERSION}). Upgrade stepgraph, or name another file."
            )
        if version < VERSION:
            self._connection.executescript(TABLES + f"PRAGMA user_version = {VERSION};")

    # Calls

    def occurrence(
        self, execution: Any, thread_id: str, task: str, request_hash: str, *, attempt: int = 1
    ) -> int:
        """Number equal requests within one execution of a node: 0 for the first.

        `execution` is any object that lives as long as that execution and no longer; each `attempt` that
        a retry policy makes at it counts anew, so that it replays the one before. Without one, for
        a call outside of any graph, the number is one that was never used, so nothing is replayed.
        """
        if execution is None:
            sql = "SELECT count(*) AS n FROM calls WHERE thread_id = ? AND task = ? AND request_hash = ?"
            return int(self.query(sql, (thread_id, task, request_hash))[0]["n"])
        with self._lock:
            counter = self._occurrences.setdefault(execution, Counter())
            number = counter[task, request_hash, attempt]
            counter[task, request_hash, attempt] += 1
            return number

    async def find_answer(self, key: CallKey) -> Call | None:
        """Return the committed answer to this very call, and count the replay."""
        where = "thread_id = ? AND task = ? AND request_hash = ? AND occurrence = ? AND status = 'answered'"
        values = (key.thread_id, key.task, key.request_hash, key.occurrence)
        rows = await aretrying(lambda: self._calls(where, values), self.path)
        call = rows[0] if rows else None
        if call is not None:
            self.add_later(("UPDATE calls SET replays = replays + 1 WHERE id = ?", (call.id,)))
        return call

    async def commit_call(self, call: Call) -> None:
        """Return once the call is committed."""
        loop = asyncio.get_running_loop()
        batch = self._batches.get(loop)
        if batch is None:
            batch = self._batches[loop] = _Batch(loop.create_future())
            loop.call_soon(self._start_commit, loop, batch)
        batch.calls.append(call)
        await asyncio.shield(batch.done)
        self._tell(call)

    def _start_commit(self, loop: asyncio.AbstractEventLoop, batch: _Batch) -> None:
        del self._batches[loop]
        batch.task = loop.create_task(self._commit_batch(batch))

    async def _commit_batch(self, batch: _Batch) -> None:
        try:
            await aretrying(lambda: self._write([insert(call) for call in batch.calls]), self.path)
            self._check_place()
        except BaseException as failed:
            error = self._trouble = self._spill.keep(batch.calls, failed)
            if not batch.done.done():
                batch.done.set_exception(error)
                batch.done.exception()
        else:
            if not batch.done.done():
                batch.done.set_result(None)

    def check_writable(self) -> None:
        """Raise StoreError unless an answer could be kept: to be asked before one is paid for."""
        self._check_place()
        if self._trouble is not None:
            self._take_in()
        if self._trouble is not None:
            raise StoreError(f"No model is asked as long as its answer cannot be kept. {self._trouble}")
        try:
            self._spill.reserve()
        except OSError as error:
            raise explained(error, self.path) from None

    def _check_place(self) -> None:
        """Raise StoreError if the file has gone: SQLite would go on writing to what nobody can open."""
        if _inode(self._file) != self._inode:
            raise StoreError(
                f"{self._file} was moved or deleted while it was in use. Put it back, or begin a new session."
            )

    def _take_in(self) -> None:
        """Commit what could not be committed before; what still cannot be waits on."""
        try:
            self._check_place()
            self._spill.take_in(lambda rows: self._write([insert(Call(**row)) for row in rows]))
            self._write([])
        except StoreError as error:
            self._trouble = error
        except (sqlite3.Error, OSError) as error:
            if not is_busy(error):
                self._trouble = explained(error, self.path)
        else:
            self._trouble = None

    async def find_cached(self, request_hash: str, lifetime_s: float) -> Call | None:
        """Return the latest fitting answer to an equal request of any thread, if it is young enough."""
        where = (
            "request_hash = ? AND status = 'answered' AND source = 'model' AND problem IS NULL "
            "AND started_at >= ? ORDER BY started_at DESC LIMIT 1"
        )
        oldest = time.time() - lifetime_s
        if self._waiting:  # it may say that an answer did not fit
            await aretrying(lambda: self._write([]), self.path)
        rows = await aretrying(lambda: self._calls(where, (request_hash, oldest)), self.path)
        return rows[0] if rows else None

    async def find_like(self, step: str, request_hash: str, messages: str) -> Call | None:
        """Return the latest answer of a step that is nearest to a request: equal, or equally worded."""
        where = (
            "step = ? AND status = 'answered' AND source = 'model' "
            "ORDER BY request_hash = ? DESC, messages = ? DESC, started_at DESC LIMIT 1"
        )
        rows = await aretrying(lambda: self._calls(where, (step, request_hash, messages)), self.path)
        return rows[0] if rows else None

    def _calls(self, where: str, values: Sequence[Any]) -> list[Call]:
        with self._lock:
            rows = self._connection.execute(f"SELECT {_CALL_NAMES} FROM calls WHERE {where}", values)
            return [Call(*row) for row in rows]

    def note_problem(self, call_id: str, problem: str) -> None:
        """Note why a committed answer did not fit."""
        self.add_later(("UPDATE calls SET problem = ? WHERE id = ?", (problem, call_id)))

    def reject(self, call_ids: Sequence[str]) -> None:
        """Give answers up, so that a resume asks anew instead of replaying them."""
        for call_id in call_ids:
            self.add_later(("UPDATE calls SET status = 'rejected' WHERE id = ?", (call_id,)))
        self.try_flush()

    # Visits, decisions and runs: written with the next commit, at the latest in the loop's next pass

    def add(self, record: Visit | Decision) -> None:
        self.add_later(insert(record))
        self._tell(record)

    def add_later(self, statement: Statement) -> None:
        with self._lock:
            first = not self._waiting
            self._waiting.append(statement)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.try_flush()
        else:
            if first:
                loop.call_soon(self.try_flush)

    def start_run(self, thread_id: str, fingerprint: str | None = None) -> None:
        """Note that a run of the thread begins or goes on, and what shape its graph has."""
        now = time.time()
        sql = (
            "INSERT INTO runs (thread_id, fingerprint, status, started_at, updated_at) "
            "VALUES (?, ?, 'running', ?, ?) ON CONFLICT (thread_id) DO UPDATE SET status = 'running', "
            "error = NULL, updated_at = ?, fingerprint = coalesce(excluded.fingerprint, runs.fingerprint)"
        )
        self.add_later((sql, (thread_id, fingerprint, now, now, now)))

    def describe_run(self, thread_id: str, graph: str, models: dict[str, str], data: Any) -> None:
        """Note what is needed to resume the thread in another process."""
        now = time.time()
        values = (thread_id, graph, json.dumps(models), json.dumps(data, default=str), now, now)
        self._write_now(
            "INSERT INTO runs (thread_id, graph, models, input, status, started_at, updated_at) "
            "VALUES (?, ?, ?, ?, 'queued', ?, ?) ON CONFLICT (thread_id) DO UPDATE SET "
            "graph = excluded.graph, models = excluded.models, input = excluded.input",
            values,
        )

    def set_budget(self, thread_id: str, budget: str) -> None:
        """Note the limits of a thread, as JSON, for its resumes."""
        now = time.time()
        self._write_now(
            "INSERT INTO runs (thread_id, budget, status, started_at, updated_at) "
            "VALUES (?, ?, 'queued', ?, ?) ON CONFLICT (thread_id) DO UPDATE SET budget = excluded.budget",
            (thread_id, budget, now, now),
        )

    def budget_of(self, thread_id: str) -> str | None:
        rows = self.query("SELECT budget FROM runs WHERE thread_id = ?", (thread_id,))
        return rows[0]["budget"] if rows else None

    def spent(self, thread_id: str, task: str | None = None) -> tuple[int, int, float]:
        """Return the number of paid calls of a thread, their tokens, and their known cost in dollars.

        With a task, only the calls below that node execution count.
        """
        below = "(? IS NULL OR task = ? OR substr(task, 1, length(?) + 1) = ? || '|')"
        (row,) = self.query(
            "SELECT count(*) AS calls, coalesce(sum(cost_usd), 0.0) AS usd, coalesce(sum("
            "coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0) AS tokens "
            f"FROM calls WHERE thread_id = ? AND source = 'model' AND {below}",
            (thread_id, task, task, task, task),
        )
        return row["calls"], row["tokens"], row["usd"]

    def end_run(self, thread_id: str, status: str, error: str | None = None) -> None:
        sql = "UPDATE runs SET status = ?, error = ?, updated_at = ? WHERE thread_id = ?"
        self.add_later((sql, (status, error, time.time(), thread_id)))
        self.try_flush()

    def _write_now(self, sql: str, values: Sequence[Any]) -> None:
        retrying(lambda: self._write([(sql, values)]), self.path)

    def try_flush(self) -> None:
        """Write what waits, unless somebody else holds the lock: then it goes on waiting."""
        if self._closed or not self._waiting:
            return
        try:
            self._write([])
        except sqlite3.Error as error:
            if not is_busy(error):
                raise explained(error, self.path) from None

    def flush(self) -> None:
        """Write what waits, waiting for the lock."""
        retrying(lambda: self._write([]), self.path)

    def _write(self, statements: Iterable[Statement]) -> None:
        with self._lock:
            waiting = list(self._waiting)
            try:
                for sql, values in (*waiting, *statements):
                    self._connection.execute(sql, [bindable(value) for value in values])
                self._connection.commit()
            except BaseException as error:
                self._connection.rollback()
                if isinstance(error, sqlite3.Error) and not is_busy(error):
                    self._trouble = explained(error, self.path)
                raise
            del self._waiting[: len(waiting)]

    def _tell(self, record: Record) -> None:
        for listener in self.listeners:
            listener(record)

    # Reading

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries, what waits included."""
        self.flush()

        def read() -> list[dict[str, Any]]:
            with self._lock:
                self._connection.execute("PRAGMA query_only = ON")
                try:
                    cursor = self._connection.execute(sql, values)
                    names = [column[0] for column in cursor.description or ()]
                    return [dict(zip(names, row, strict=True)) for row in cursor]
                except sqlite3.OperationalError as error:
                    if "readonly" in str(error):
                        raise StoreError(
                            "Journal.query only reads; the record of a run is not edited."
                        ) from None
                    raise
                finally:
                    self._connection.execute("PRAGMA query_only = OFF")

        return retrying(read, self.path)

    def write(self, statements: Iterable[Statement]) -> None:
        """Carry out all of the statements, or none of them."""
        batch = list(statements)
        retrying(lambda: self._write(batch), self.path)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._spill.release()
            if self._trouble is not None:
                self._take_in()
            self.flush()
        finally:
            self._connection.close()


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Batch:
    """Calls that are committed together."""

    __slots__ = ("calls", "done", "task")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.calls: list[Call] = []
        self.task: asyncio.Task[None] | None = None

"""The journal: every model call, node run and decision of a run, as it happens.

A call's answer is committed before the node that asked sees it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ..database import PostgresAddress
from ..errors import PromptChanged, ThreadBusy
from ..masking import NO_KEYS, Masker
from ..statuses import Lane, RunStatus
from .begun import begun_at
from .budget_accounts import Settlement
from .call_commits import CallCommits
from .earlier import EarlierLife
from .lost import LostTail, Unclaimed, WrittenBy
from .new_threads import touched
from .opening import open_store
from .records import (
    ANSWER,
    CALL_NAMES,
    HEDGE,
    Call,
    CallKey,
    Description,
    Record,
    ThreadStatement,
    changed,
    insert,
)
from .spending import Spending, Spent, spent_and_cut
from .together import Together

BESIDE_S = 0.1


class Journal(Spending):
    """The record of runs in one database; safe to use from several threads and event loops.

    What it does not add to its `store` is called there without a detour.
    """

    def __init__(self, database: str | Path | PostgresAddress) -> None:
        self.store = store = open_store(database)
        self.database, self.dialect = store.database, store.dialect
        self.mask: Masker = NO_KEYS  # what is kept for readers only goes through it
        self.listeners: list[Callable[[Record], None]] = []
        self.add_later, self.is_waiting = store.add_later, store.is_waiting
        self.write, self.awrite = store.write, store.awrite
        self.transact, self.atransact = store.transact, store.atransact
        self.flush, self.aflush, self.try_flush = store.flush, store.aflush, store.try_flush
        self.query, self.aquery, self.rows, self.arows = store.query, store.aquery, store.rows, store.arows
        self.blob, self.whole = store.blob, store.whole
        self.new_threads = store.new_threads
        self.is_touched: Together[str, bool] = Together(partial(touched, store.aquery))
        self.spent_and_cut: Together[str, Spent] = Together(partial(spent_and_cut, store.aquery), most=100)
        self.has_to_wait, self.until_free = store.has_to_wait, store.until_free
        self.check_writable, self._commits = store.check_writable, CallCommits(store)
        self._occurrences: WeakKeyDictionary[Any, Counter[tuple[str, str, int]]] = WeakKeyDictionary()
        self._unclaimed: dict[str, Unclaimed] = {}
        self._earlier: dict[str, EarlierLife] = {}
        self._counting = threading.Lock()

    def close(self) -> None:
        """Write what waits, and close the database."""
        self._commits.close()
        self.store.close()

    # Records

    def add(self, record: Record) -> None:
        if isinstance(record, Call):
            self.new_threads.add_call(record)
        self.add_later(insert(record))
        self._tell(record)

    async def aadd(self, record: Record) -> None:
        """Return once the record is committed."""
        await self.awrite([insert(record)])
        self._tell(record)

    def _tell(self, record: Record) -> None:
        for listener in self.listeners:
            listener(record)

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
            (row,) = self.query(sql, (thread_id, task, request_hash))
            return int(row["n"])
        with self._counting:
            counter = self._occurrences.setdefault(execution, Counter())
            number = counter[task, request_hash, attempt]
            counter[task, request_hash, attempt] += 1
            return number

    async def find_answer(self, key: CallKey) -> Call | None:
        """Return the committed answer to this very call, and count the replay."""
        if not self.new_threads.may_have(key):
            return None
        where = (
            "thread_id = ? AND task = ? AND request_hash IN (?, ?) AND occurrence = ? "
            "AND status = 'answered' ORDER BY request_hash LIMIT 1"
        )
        values = (key.thread_id, key.task, *_hashes(key.request_hash), key.occurrence)
        earlier = self._earlier.get(key.thread_id)
        if earlier is not None:
            earlier.asked.update(_hashes(key.request_hash))
        call = await self._first(where, values)
        if call is not None:
            if earlier is not None:
                earlier.used.add(call.id)
            again = "UPDATE calls SET replays = replays + 1 WHERE id = ?"
            sql = "INSERT INTO replays (thread_id, task, call_id, replayed_at) VALUES (?, ?, ?, ?)"
            noted = (sql, (call.thread_id, call.task, call.id, time.time()))
            for statement in ((again, (call.id,)), noted):
                self.add_later(ThreadStatement(statement, call.thread_id))
        return call

    async def check_unanswered(self, key: CallKey, path: str, step: str, prompt: Callable[[], str]) -> None:
        """Raise PromptChanged if an earlier life of the thread paid for this call in another order of words.

        `prompt` is what `earlier.prompt_of` returns; it is asked for only if there is something to compare.
        """
        earlier = self._earlier.get(key.thread_id)
        if earlier is None:
            return
        place, values = ("task = ?", [key.task]) if earlier.since is None else ("path = ?", [path])
        where = f"thread_id = ? AND {place} AND status = 'answered' AND step = ? AND started_at < ?"
        candidates = [key.thread_id, *values, step, earlier.before]
        if earlier.since is not None:
            where, candidates = f"{where} AND started_at >= ?", [*candidates, earlier.since]
        calls = await self._calls(where, candidates)
        text = prompt() if calls else ""
        try:
            earlier.check(calls, step, text)
        except PromptChanged:
            tried = "thread_id = ? AND request_hash IN (?, ?) AND started_at < ? LIMIT 1"
            known = (key.thread_id, *_hashes(key.request_hash), earlier.before)
            if await self._first(tried, known) is not None:
                return  # it was asked like this before, and failed
            await asyncio.sleep(BESIDE_S)  # so that calls beside this one ask for their own answers first
            earlier.check(calls, step, text)

    def note_coalesced(self, key: CallKey, leader: str) -> None:
        """Record that a call waits for the answer to an equal one, which another task of the thread makes.

        It is kept before, or together with, that answer: so a resume finds it for both.
        """
        sql = (
            "INSERT INTO coalesced_calls (thread_id, task, request_hash, occurrence, leader) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (thread_id, task, request_hash, occurrence) "
            "DO UPDATE SET leader = excluded.leader"
        )
        values = (key.thread_id, key.task, key.request_hash, key.occurrence, leader)
        self.new_threads.add_key(key)
        self.add_later(ThreadStatement((sql, values), key.thread_id))

    async def find_coalesced(self, key: CallKey) -> Call | None:
        """Return the answer for which this very call waited before a crash."""
        if not self.new_threads.may_have(key):
            return None
        where = (
            "thread_id = ? AND request_hash IN (?, ?) AND occurrence = ? AND status = 'answered' "
            "AND task = (SELECT leader FROM coalesced_calls "
            "WHERE thread_id = ? AND task = ? AND request_hash = ? AND occurrence = ?)"
        )
        mine = (key.thread_id, key.task, key.request_hash, key.occurrence)
        return await self._first(where, (key.thread_id, *_hashes(key.request_hash), key.occurrence, *mine))

    async def find_rejected(self, key: CallKey) -> list[Call]:
        """Return the answers to this very call that were paid for and rejected, in their order."""
        if not self.new_threads.may_have(key):
            return []
        where = (
            "thread_id = ? AND status = 'rejected' AND source IN ('model', 'copied') AND task = ? "
            "AND request_hash IN (?, ?) AND occurrence = ? ORDER BY started_at, rowid"
        )
        values = (key.thread_id, key.task, *_hashes(key.request_hash), key.occurrence)
        await self.aflush()  # what waits may say that an answer was rejected
        return await self._calls(where, values)

    async def commit_call(self, call: Call, *settlements: Settlement) -> None:
        """Return once the call is committed, and with it what it was charged to shared budgets.

        Raises ClaimLost once it is committed as superseded, because another owner runs its thread by now.
        """
        self.new_threads.add_call(call)
        try:
            await self._commits.commit(call, settlements)
        except ThreadBusy:
            self._tell(replace(call, status="superseded"))
            raise
        self._tell(call)

    async def find_cached(self, request_hash: str, lifetime_s: float) -> Call | None:
        """Return the latest fitting answer to an equal request of any thread, if it is young enough."""
        where = (
            "request_hash IN (?, ?) AND status = 'answered' AND source = 'model' AND problem IS NULL "
            "AND started_at >= ? ORDER BY started_at DESC LIMIT 1"
        )
        oldest = time.time() - lifetime_s
        await self.aflush()  # what waits may say that an answer did not fit
        return await self._first(where, (*_hashes(request_hash), oldest))

    async def find_like(self, step: str, request_hash: str, messages: str) -> Call | None:
        """Return the latest answer of a step that is nearest to a request: equal, or equally worded."""
        where = (
            "step = ? AND status = 'answered' AND source = 'model' "
            "ORDER BY request_hash = ? DESC, messages = ? DESC, started_at DESC LIMIT 1"
        )
        return await self._first(where, (step, request_hash, messages))

    async def _first(self, where: str, values: Sequence[Any]) -> Call | None:
        return next(iter(await self._calls(where, values)), None)

    async def _calls(self, where: str, values: Sequence[Any]) -> list[Call]:
        rows = await self.arows(f"SELECT {CALL_NAMES} FROM calls WHERE {where}", values)
        return [changed(Call(*row), self.whole, only=ANSWER) for row in rows]

    def note_problem(self, thread_id: str, call_id: str, problem: str) -> None:
        """Record why a committed answer did not fit."""
        noted = ("UPDATE calls SET problem = ? WHERE id = ?", (self.mask.text(problem), call_id))
        self.add_later(ThreadStatement(noted, thread_id))

    def reject(self, thread_id: str, call_ids: Sequence[str]) -> None:
        """Mark answers as rejected, so that a resume asks again instead of replaying them."""
        sql = "UPDATE calls SET status = 'rejected' WHERE id = ? AND status <> 'superseded'"
        self.add_later(*(ThreadStatement((sql, (call_id,)), thread_id) for call_id in call_ids))
        self.try_flush()

    # Runs

    def queue_run(self, thread_id: str, description: Description) -> None:
        """Record a thread that is still to begin, so that another process can run it.

        One that is on record already stays as it is until its run begins.
        """
        now = time.time()
        values = (thread_id, *description.columns(), now, now)
        sql = (
            "INSERT INTO runs (thread_id, graph, models, input, status, started_at, updated_at) "
            "VALUES (?, ?, ?, ?, 'queued', ?, ?) ON CONFLICT (thread_id) DO NOTHING"
        )
        self.write([(sql, values)])

    def start_run(
        self,
        thread_id: str,
        fingerprint: str | None = None,
        budget: str | None = None,
        description: Description | None = None,
        lane: Lane | None = None,
    ) -> None:
        """Record that a run of the thread starts or goes on, its graph's shape, and its limits, as JSON."""
        now = time.time()
        described = (None, None, None) if description is None else description.columns()
        columns = ("fingerprint", "budget", "graph", "models", "input", "lane")
        sql = (
            f"INSERT INTO runs (thread_id, {', '.join(columns)}, status, started_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id) DO UPDATE SET "
            "status = excluded.status, error = NULL, updated_at = excluded.updated_at, "
            f"{', '.join(f'{name} = coalesce(excluded.{name}, runs.{name})' for name in columns)}"
        )
        values = (thread_id, fingerprint, budget, *described, lane, "running", now, now)
        self.add_later(ThreadStatement((sql, values), thread_id))

    def begin_invocation(
        self,
        thread_id: str,
        columns: Mapping[str, Any],
        *,
        going_on: bool,
        restart: bool = False,
        allow_changed: bool = False,
        may_have_lost: bool = False,
    ) -> None:
        """Record that the graph was called.

        It stays within the same trace without new input (`going_on`), and with the input of a trace that
        has not ended, unless that is to `restart`. Going on, its calls are compared with the earlier ones,
        unless those may be `allow_changed`. Its checkpoints `may_have_lost` what ran last, where somebody
        else keeps them.
        """
        sql = (
            "SELECT trace, min(started_at) AS began FROM invocations WHERE thread_id = ? GROUP BY trace "
            "ORDER BY trace DESC LIMIT 1"
        )
        is_new = thread_id in self.new_threads
        last = None if is_new else next(iter(self.query(sql, (thread_id,))), None)
        begun = (
            None
            if going_on or restart or is_new
            else begun_at(self.query, thread_id, columns["input_digest"])
        )
        now = time.time()
        self._earlier.pop(thread_id, None)
        if (going_on or begun is not None) and not allow_changed:
            self._earlier[thread_id] = EarlierLife(now, begun)
        self._unclaimed.pop(thread_id, None)
        if begun is not None:
            self._unclaimed[thread_id] = Unclaimed(begun, now)
        elif going_on and may_have_lost and last is not None:
            self._unclaimed[thread_id] = LostTail(last["began"], now)
        trace = 0 if last is None else last["trace"] + (0 if going_on or begun is not None else 1)
        row = {"thread_id": thread_id, "trace": trace, "status": "running", "started_at": now, **columns}
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        insertion = (f"INSERT INTO invocations ({names}) VALUES ({marks})", list(row.values()))
        self.add_later(ThreadStatement(insertion, thread_id))

    async def claim_answer(self, key: CallKey, path: str, written_by: WrittenBy) -> Call | None:
        """Return an answer that an earlier try at the same input paid for, and make it this call's own.

        The checkpoints of that try are lost, or the last of them, or it began anew: so its tasks have other
        ids, but the nodes ask the same in the same places and the same order. Each answer is claimed once.
        """
        earlier = self._unclaimed.get(key.thread_id)
        if earlier is None:
            return None
        where = (
            "thread_id = ? AND request_hash IN (?, ?) AND path = ? AND status = 'answered' "
            "AND started_at >= ? AND started_at < ? ORDER BY started_at, occurrence, rowid"
        )
        values = (key.thread_id, *_hashes(key.request_hash), path, earlier.since, earlier.before)
        calls = await self._calls(where, values)
        call = await earlier.find(key.task, calls, written_by)
        if call is None:
            return None
        earlier.claimed.add(call.id)
        sql = "UPDATE calls SET task = ?, occurrence = ? WHERE id = ?"
        claimed = (sql, (key.task, key.occurrence, call.id))
        await self.awrite([ThreadStatement(claimed, key.thread_id)])
        return await self.find_answer(key)

    def earlier_try(self, thread_id: str) -> Unclaimed | None:
        """Return what is known of an earlier try of a thread whose tasks had other ids, if there was one."""
        return self._unclaimed.get(thread_id)

    def enter(self, thread_id: str, task: str) -> None:
        """Take note that a node of a run begins."""
        lost = self._unclaimed.get(thread_id)
        if lost is not None:
            lost.enter(task)

    def end_run(
        self,
        thread_id: str,
        status: RunStatus,
        error: str | None = None,
        *,
        output: str | None = None,
        of_run: bool = False,
    ) -> None:
        """Record how a run ended; unless the run itself does (`of_run`), nothing while the thread is run."""
        if of_run:
            self._earlier.pop(thread_id, None)
        now = time.time()
        run = "UPDATE runs SET status = ?, error = ?, updated_at = ? WHERE thread_id = ?"
        invocation = (
            "UPDATE invocations SET status = ?, error = ?, output = coalesce(?, output), "
            "ended_at = coalesce(ended_at, ?) "
            "WHERE thread_id = ? AND id = (SELECT max(id) FROM invocations WHERE thread_id = ?)"
        )
        statements = (
            (run, (status, error, now, thread_id)),
            (invocation, (status, error, output, now, thread_id, thread_id)),
        )
        self.add_later(*(ThreadStatement(item, thread_id, of_run=of_run) for item in statements))


def _hashes(request_hash: str) -> tuple[str, str]:
    return request_hash, request_hash + HEDGE

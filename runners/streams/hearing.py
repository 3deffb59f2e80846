"""What a client hears of threads that workers run: one look at the database for all that it listens to."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from ...state.errors import InputError, StoreError
from ...state.event_loops import in_thread, sync_stream
from ...state.journal.jobs import OVER, find_job
from ...state.journal.journal import Journal
from ...state.journal.streams import (
    LISTENS_S,
    Cursor,
    Standing,
    Written,
    answered_calls,
    heard_since,
    last_written,
    listen,
    standings,
    unlisten,
)
from ...state.session.session import Session
from .parts import DEFAULT_MODES, Part, Parts

BUSY_S: Final = 0.02  # between two looks while words come
QUIET_S: Final = 0.1
QUIET_AFTER_S: Final = 2.0
STANDS_S: Final = 0.15
ANSWERS_S: Final = 1.0
MOST_FAILURES: Final = 20
FAILED_S: Final = 0.5
T = TypeVar("T")


class _Listener:
    """One who listens to one thread; what comes is None where the database cannot be read any more."""

    def __init__(self, thread: str, cursor: Cursor) -> None:
        self.thread = thread
        self.client = secrets.token_hex(8)
        self.cursor = cursor
        self.news: asyncio.Queue[Written | Standing | StoreError] = asyncio.Queue()
        self._last: tuple[Standing | None, float] = (None, 0.0)

    def stands(self, standing: Standing) -> None:
        """Take notice of how the thread stands: where that is new, and else now and then."""
        before, when = self._last
        if standing != before or time.monotonic() - when > ANSWERS_S:
            self._last = standing, time.monotonic()
            self.news.put_nowait(standing)


class Hub:
    """All that a process hears from one database in one event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._listeners: set[_Listener] = set()
        self._running: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self, thread: str) -> AsyncIterator[_Listener]:
        listener = _Listener(thread, Cursor(-1, 0))
        await listen(self._journal, [(thread, listener.client)])
        listener.cursor = await last_written(self._journal, thread)
        self._listeners.add(listener)
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(self._run())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._running.cancel()
            with suppress(StoreError):
                await unlisten(self._journal, thread, listener.client)

    async def _run(self) -> None:
        stood = listened_at = 0.0
        busy, failures = time.monotonic(), 0
        while self._listeners:
            now = time.monotonic()
            try:
                if now - listened_at > LISTENS_S / 3 and listened_at:
                    await listen(self._journal, sorted((e.thread, e.client) for e in self._listeners))
                listened_at = listened_at if listened_at and now - listened_at <= LISTENS_S / 3 else now
                by_thread = {}
                if now - stood >= STANDS_S:
                    stood, by_thread = (
                        now,
                        await standings(self._journal, {e.thread for e in self._listeners}),
                    )
                if await self._read():
                    busy = now
                for listener in list(self._listeners):
                    if listener.thread in by_thread:
                        listener.stands(by_thread[listener.thread])
                failures = 0
            except StoreError as error:
                failures += 1
                if failures >= MOST_FAILURES:
                    for listener in self._listeners:
                        listener.news.put_nowait(error)
                    return
                await asyncio.sleep(FAILED_S)
            await asyncio.sleep(BUSY_S if now - busy < QUIET_AFTER_S else QUIET_S)

    async def _read(self) -> bool:
        """Hand on what was written; tell whether it was anything."""
        cursors: dict[str, Cursor] = {}
        by_thread: defaultdict[str, list[_Listener]] = defaultdict(list)
        for listener in self._listeners:
            cursors[listener.thread] = min(listener.cursor, cursors.get(listener.thread, listener.cursor))
            by_thread[listener.thread].append(listener)
        rows = await heard_since(self._journal, cursors)
        for row in rows:
            for listener in by_thread[row.thread_id]:
                if listener in self._listeners and row.at > listener.cursor:
                    listener.cursor = row.at
                    listener.news.put_nowait(row)
        return bool(rows)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Journal, Hub]] = WeakKeyDictionary()


def _hub(session: Session) -> Hub:
    hubs = _hubs.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    return hubs.setdefault(session.journal, Hub(session.journal))


async def heard(
    session: Session,
    thread: str,
    known: set[str],
    *,
    modes: Sequence[str] = DEFAULT_MODES,
    subgraphs: bool = True,
) -> AsyncGenerator[Part, None]:
    """Give what happens in a thread until it ends, or waits; `known` are the calls told before."""
    if unknown := {*modes} - {*DEFAULT_MODES}:
        raise InputError(
            f"A job cannot be streamed as {', '.join(sorted(unknown))}: expected some of "
            f"{', '.join(DEFAULT_MODES)}."
        )
    async with aclosing(_heard(session, thread, known)) as parts:
        async for part in parts:
            if part["type"] in modes and (subgraphs or not part["ns"]):
                yield part


async def _heard(session: Session, thread: str, known: set[str]) -> AsyncGenerator[Part, None]:
    journal = session.journal
    async with _hub(session).listening(thread) as listener:
        stands = (await standings(journal, [thread])).get(thread)
        job = await in_thread(find_job, journal, thread)
        if job is None or stands is None:
            raise InputError(f"The thread {thread!r} was not handed to workers.")
        parts = Parts(stands, known)
        yield parts.status()
        late = stands.status != "queued"
        for part in parts.answered(await answered_calls(journal, thread, job.trace, 0.0), late=True):
            yield part
        looked = time.monotonic()
        while not is_over(stands):
            news = await listener.news.get()
            if isinstance(news, StoreError):
                raise news
            if isinstance(news, Written):
                for part in parts.written(news):
                    yield part
            else:
                if is_over(news):
                    missing = await answered_calls(journal, thread, job.trace, 0.0)
                    for part in parts.answered(missing, late=False):
                        yield part
                stands = news
                for part in parts.stands(news):
                    yield part
            if late and time.monotonic() - looked > ANSWERS_S:
                looked = time.monotonic()
                missing = await answered_calls(journal, thread, job.trace, 0.0)
                for part in parts.answered(missing, late=False):
                    yield part


def is_over(stands: Standing) -> bool:
    """Tell whether nothing more happens to a job by itself."""
    return stands.status in OVER or stands.status == "waiting"


class JobStream(Generic[T]):
    """What `RunHandle.stream` returns: for `async for` and for `for`; it can be gone through once."""

    def __init__(self, parts: Any) -> None:
        self._parts = parts
        self._begun: AsyncGenerator[T, None] | None = None

    def __aiter__(self) -> AsyncIterator[T]:
        if self._begun is None:
            self._begun = self._parts()
        return self._begun

    def __iter__(self) -> Iterator[T]:
        return sync_stream(self._parts)()

    async def aclose(self) -> None:
        """Listen no more; the run goes on."""
        if self._begun is not None:
            await self._begun.aclose()

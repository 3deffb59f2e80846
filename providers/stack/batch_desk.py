"""Where calls come together to be handed in as few batches, and wait for their results."""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ...state.errors import StepgraphError
from ...state.journal.batches import Batch, BatchRequest, find_request, gather, result_of
from ...state.journal.records import CallKey
from ...state.run_context import RunContext
from ...state.session.session import Session
from ..batch_terms import BatchTerms
from ..batches.api import BatchApi, Body, Result
from ..settings import ModelSettings
from .batch_run import BatchRun

MOST_QUIETS = 30  # a steady trickle of calls is handed in after so many quiet times
LINE_BYTES = 200  # what a batch needs for a request beside its body, at most


@dataclass(eq=False)
class _Entry:
    """A call that waits to be handed in."""

    key: CallKey
    path: str
    step: str
    body: Body
    size: int
    placed: asyncio.Future[BatchRequest]


@dataclass(eq=False)
class _Watch:
    """A batch that calls of this event loop wait for, and how many do."""

    task: asyncio.Task[None]
    waiting: int = 0


class BatchDesk:
    """The calls of one session to one model at one batch API, in one event loop."""

    def __init__(self, session: Session, api: BatchApi, terms: BatchTerms, settings: ModelSettings) -> None:
        self._session = session
        self._journal = session.journal
        self._api = api
        self._terms = terms
        self._settings = settings
        self._entries: list[_Entry] = []
        self._first_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._watches: dict[str, _Watch] = {}

    async def result(
        self, key: CallKey, run: RunContext, step: str, body: Callable[[], Body]
    ) -> tuple[str, Result]:
        """Return which request brought the result of a call, and the result.

        A call that a batch was begun for already, before a crash or a stop, waits for that one.
        """
        while True:
            request = await find_request(self._journal, key, run.path, run.written_by)
            if request is None:
                request = await self._join(key, run.path, step, body())
            await self._ended(request.batch)
            result = await result_of(self._journal, request.id)
            if result is not None:
                return request.id, Result(**json.loads(result))

    async def _join(self, key: CallKey, path: str, step: str, body: Body) -> BatchRequest:
        """Wait with others until nothing new has come for a while; return the request this call became."""
        loop = asyncio.get_running_loop()
        size = len(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")) + LINE_BYTES
        entry = _Entry(key, path, step, body, size, loop.create_future())
        now = loop.time()
        if not self._entries:
            self._first_at = now
        self._entries.append(entry)
        if self._timer is not None:
            self._timer.cancel()
        quiet = self._settings.batch.quiet_s
        self._timer = loop.call_at(min(now + quiet, self._first_at + MOST_QUIETS * quiet), self._hand_in)
        try:
            return await asyncio.shield(entry.placed)
        except asyncio.CancelledError:
            if entry in self._entries:
                self._entries.remove(entry)
            raise

    def _hand_in(self) -> None:
        """Make batches of all that waits, as few as the API takes."""
        self._timer = None
        entries, self._entries = self._entries, []
        for part in parts_of(entries, self._terms):
            batch_id = f"sg-{secrets.token_hex(8)}"
            self._watch(batch_id, {f"{batch_id}-{number}": entry for number, entry in enumerate(part, 1)})

    def _watch(self, batch_id: str, entries: Mapping[str, _Entry] | None = None) -> _Watch:
        watch = self._watches.get(batch_id)
        if watch is None:
            settings = self._settings
            run = BatchRun(self._session, self._api, settings.batch, settings.retry_for_s, batch_id)
            work = run.follow() if entries is None else self._begin(run, batch_id, entries)
            watch = self._watches[batch_id] = _Watch(asyncio.get_running_loop().create_task(work))
            watch.task.add_done_callback(lambda task: self._unwatch(batch_id, task))
        return watch

    def _unwatch(self, batch_id: str, task: asyncio.Task[None]) -> None:
        self._watches.pop(batch_id, None)
        if not task.cancelled():
            task.exception()  # whoever waits for it raises it

    async def _begin(self, run: BatchRun, batch_id: str, entries: Mapping[str, _Entry]) -> None:
        """Put a batch on record, hand it in, and wait for its end."""
        api = self._api
        now = time.time()
        batch = Batch(batch_id, api.name, api.address, api.model, len(entries), "gathered", started_at=now)
        requests = {name: _request(name, batch_id, entry) for name, entry in entries.items()}
        try:
            async with run.claimed():
                await gather(self._journal, batch, list(requests.values()))
                for name, entry in entries.items():
                    if not entry.placed.done():
                        entry.placed.set_result(requests[name])
                await run.submit({name: entry.body for name, entry in entries.items()})
        except BaseException as error:
            for entry in entries.values():
                if isinstance(error, asyncio.CancelledError):
                    entry.placed.cancel()
                elif not entry.placed.done():
                    entry.placed.set_exception(error)
                    entry.placed.exception()
            raise
        await run.follow()

    async def _ended(self, batch_id: str) -> None:
        """Return once the batch has ended; nobody asks for it any more once nobody waits."""
        while True:
            watch = self._watch(batch_id)
            watch.waiting += 1
            try:
                await asyncio.shield(watch.task)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not watch.task.cancelled() or (task is not None and task.cancelling()):
                    raise
                await asyncio.sleep(0)  # whoever else waited was stopped, not this call: go on in their place
            except StepgraphError as error:
                raise copy.copy(error) from None
            finally:
                watch.waiting -= 1
                if not watch.waiting:
                    watch.task.cancel()


def _request(name: str, batch_id: str, entry: _Entry) -> BatchRequest:
    key = entry.key
    return BatchRequest(
        name, batch_id, key.thread_id, key.task, entry.path, entry.step, key.request_hash, key.occurrence
    )


def parts_of(entries: Sequence[Any], terms: BatchTerms) -> Iterator[list[Any]]:
    """Yield the entries in parts, each as large as one batch may be; an entry has its `size` in bytes."""
    part: list[Any] = []
    size = 0
    for entry in entries:
        if part and (len(part) >= terms.max_requests or size + entry.size > terms.max_bytes):
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry.size
    if part:
        yield part


_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Session, dict[object, BatchDesk]]] = (
    WeakKeyDictionary()
)


def desk_of(session: Session, api: BatchApi, terms: BatchTerms, settings: ModelSettings) -> BatchDesk:
    """Return the desk at which equal settings meet, whatever roles they are bound to."""
    of_loop = _desks.setdefault(asyncio.get_running_loop(), WeakKeyDictionary())
    place = (api.name, api.address, api.model, settings.api_key_env, *sorted(settings.headers.items()))
    desks = of_loop.setdefault(session, {})
    if place not in desks:
        desks[place] = BatchDesk(session, api, terms, settings)
    return desks[place]

"""One batch, from its gathering to its results; every step is on record, so that no crash pays twice.

    gathered    on record; nothing is sent yet but a file, which is free
    submitting  the submit is about to be sent: after a crash, nobody knows whether it came through
    waiting     the provider has it, under an id that is on record
    ended       the results are on record
    void        it was never begun: its calls are asked anew

Whoever finds a batch in one of these states goes on from there, in this process or in a later one. One
process at a time hands a batch in, or looks for one at the provider: it holds a claim on it, as on a thread.
Anyone may ask how it stands, and fetch the results.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

import aiohttp

from ...state.errors import ModelError, ModelUnavailable, ThreadBusy
from ...state.event_loops import in_thread
from ...state.journal.batches import Batch, keep_results, known_at, note, read_batch, requests_of
from ...state.session.session import Session
from ...state.statuses import BatchStatus
from ..backends.http import HTTPStatusError, MalformedBody
from ..batches.api import BatchApi, Body, Result, StillRunning
from ..settings import BatchSettings
from .retry import MAX_WAIT_S, is_worth_retrying

R = TypeVar("R")

FIRST_POLL_S = 1.0
MOST_GARBLED = 5
LISTED_S: Final = 30.0  # after which a provider that answered lists the batch, if it began it
OVERLOADED: Final = 529
STOPPED = "stopped before it was handed in"
_WIRE: Final = (HTTPStatusError, MalformedBody, OSError, aiohttp.ClientError, ModelError)

log = logging.getLogger(__name__)


class BatchRun:
    """One batch of a session at one batch API."""

    def __init__(
        self, session: Session, api: BatchApi, settings: BatchSettings, retry_for_s: float, batch_id: str
    ) -> None:
        self._session = session
        self._journal = session.journal
        self._api = api
        self._settings = settings
        self._retry_for_s = retry_for_s
        self._id = batch_id
        self._first_pause = min(FIRST_POLL_S, settings.poll_s)

    # Handing in

    async def submit(self, bodies: Mapping[str, Body]) -> None:
        """Hand the batch in, again where that failed for now. Raises the ModelError of what refuses it."""
        pause = 0.5
        end = time.monotonic() + self._retry_for_s
        while True:
            try:
                await self._submit_once(bodies)
                return
            except Exception as error:
                problem = self._explained(error)
                wait = _asked_pause(problem) or pause
                batch = await self._read()
                if batch is None or batch.status != "gathered":
                    raise problem from None  # it may have been begun: whoever resumes looks for it
                if not _may_pass(problem) or time.monotonic() + wait > end:
                    await self._note("void", problem=str(problem))
                    raise problem from None
            await asyncio.sleep(min(wait, MAX_WAIT_S))
            pause *= 2

    async def _submit_once(self, bodies: Mapping[str, Body]) -> None:
        batch = await self._read()
        file_id = None if batch is None else batch.file_id
        if file_id is None:
            file_id = await self._api.prepare(self._id, bodies)
            await self._note("gathered", file_id=file_id)
        await self._note("submitting", submitted_at=time.time())
        await self._session.claims.acheck(self._id)
        provider_id: str | None
        try:
            provider_id = await self._api.submit(self._id, file_id, bodies)
        except _WIRE as error:
            if _began_nothing(error):
                await self._note("gathered")
                raise
            answered = isinstance(error, (HTTPStatusError, MalformedBody))  # so nothing is on its way
            provider_id = await self._look_for(LISTED_S if answered else None)
            if provider_id is None:
                await self._note("gathered", file_id=None)
                raise
        await self._note("waiting", provider_id=provider_id)

    async def _look_for(self, at_most_s: float | None = None) -> str | None:
        """Return the provider's id of a batch whose submit nobody knows the end of; None: it was not begun.

        A submit may still be on its way. So it counts as not begun only after a while, and once it is barred.
        """
        requests = await requests_of(self._journal, self._id)
        settle_s = self._api.settle_s if self._settings.settle_s is None else self._settings.settle_s
        settle_s = settle_s if at_most_s is None else min(settle_s, at_most_s)
        barred = is_noted = False
        while (batch := await self._read()) is not None:
            others = await known_at(self._journal, self._api.address)
            provider_id = await self._patiently(_find(self._api, batch, others, requests))
            if provider_id is not None or barred:
                return provider_id
            left = (batch.submitted_at or 0.0) + settle_s - time.time()
            if left > 0:
                if not is_noted:
                    is_noted = True
                    log.warning(
                        "Nobody knows whether the batch %s arrived. It is looked for at %s for %.0f s more, "
                        "and handed in again if it is not there: batch.settle_s.",
                        self._id, self._api.address, left,
                    )  # fmt: skip
                await asyncio.sleep(min(left, self._settings.poll_s))
            else:
                await self._patiently(_bar(self._api, batch))
                barred = True
        return None

    # Going on with it

    async def follow(self) -> None:
        """Return once the batch has ended, or is void."""
        while True:
            batch = await self._read()
            if batch is None or batch.status in ("ended", "void"):
                return
            if batch.provider_id is not None:
                await self._collect(batch.provider_id)
                continue
            try:
                async with self.claimed():
                    await self._recover()
            except ThreadBusy:  # another process is about to hand it in
                await asyncio.sleep(self._first_pause)

    async def _recover(self) -> None:
        """Find out what became of a batch whose process ended while it handed it in."""
        batch = await self._read()
        if batch is None or batch.status not in ("gathered", "submitting"):
            return
        provider_id = await self._look_for() if batch.status == "submitting" else None
        if provider_id is None:
            await self._note("void", problem=STOPPED)
        else:
            await self._note("waiting", provider_id=provider_id)

    async def _collect(self, provider_id: str) -> None:
        """Wait for the end of the batch, and keep its results."""
        pause = self._first_pause
        requests = await requests_of(self._journal, self._id)
        results_by_id: dict[str, Result] = {}
        problem: str | None = "the provider does not have it any more"
        rejected: int | None = None
        try:
            while not (state := await self._patiently(lambda: self._api.state(provider_id))).ended:
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, self._settings.poll_s)
            problem, rejected = state.problem, state.rejected
            results_by_id = await self._patiently(lambda: self._api.results(state))
        except ModelError as error:
            if error.status != 404:
                raise
        missing = Result("lost", problem)
        if rejected is not None:
            missing = Result("refused", {"error": {"message": f"the batch {problem}"}}, rejected)
        results = {name: json.dumps(results_by_id.get(name, missing).values()) for name in requests}
        await keep_results(self._journal, self._id, results, problem)

    async def _patiently(self, ask: Callable[[], Awaitable[R]]) -> R:
        """Ask the API until it answers: what is paid for waits there. Raises only what cannot pass."""
        pause = self._first_pause
        garbled = 0
        while True:
            try:
                return await ask()
            except StillRunning:
                pause = self._settings.poll_s
            except _WIRE as error:
                problem = self._api.explain(error)
                garbled += isinstance(error, MalformedBody)
                if not _may_pass(problem) or garbled > MOST_GARBLED:
                    problem.lasting = True  # no other call may take its place: it can still be collected
                    raise problem from None
                log.warning("The batch API is asked again: %s", problem)
                pause = max(pause, min(_asked_pause(problem) or 0.0, MAX_WAIT_S))
            await asyncio.sleep(pause)
            pause = min(2 * pause, max(self._settings.poll_s, FIRST_POLL_S))

    def _explained(self, error: Exception) -> Exception:
        return self._api.explain(error) if isinstance(error, _WIRE) else error

    async def _read(self) -> Batch | None:
        return await read_batch(self._journal, self._id)

    async def _note(self, status: BatchStatus, **values: object) -> None:
        await note(self._journal, self._id, status, **values)

    @contextlib.asynccontextmanager
    async def claimed(self) -> AsyncIterator[None]:
        """Hold the claim on the batch. Raises ThreadBusy while another process has it."""
        await in_thread(self._session.claims.acquire, self._id)
        try:
            yield
        finally:
            self._session.claims.release(self._id)


def _began_nothing(error: Exception) -> bool:
    """Tell whether an error says for sure that the provider began nothing."""
    if isinstance(error, HTTPStatusError):
        return (400 <= error.status < 500 and error.status != 408) or error.status == OVERLOADED
    return isinstance(error, (aiohttp.ClientConnectorError, ConnectionRefusedError))


def _find(
    api: BatchApi, batch: Batch, others: set[str], requests: list[str]
) -> Callable[[], Awaitable[str | None]]:
    return lambda: api.find(batch, others, requests)


def _bar(api: BatchApi, batch: Batch) -> Callable[[], Awaitable[None]]:
    return lambda: api.bar(batch)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, ModelError) and is_worth_retrying(error)


def _asked_pause(error: Exception) -> float | None:
    return error.retry_after if isinstance(error, ModelUnavailable) else None

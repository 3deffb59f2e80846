"""Anthropic's Message Batches API: the requests go in with the batch, the results come as one file.

A batch carries nothing of ours but the ids of its requests, and these are only told with its results. So a
batch that may have been begun before a crash is looked for among all that began since with as many requests,
however many they are and however long ago that was, and known by its results:
https://platform.claude.com/docs/en/api/creating-message-batches
The API has no key that makes a submit count once, and nothing whose deletion bars one: so a submit whose end
nobody saw is waited for as long as a request can be on its way. Results are kept for 29 days; what nobody
collected until then is gone, and asked anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from ...state.errors import ModelError
from ...state.journal.batches import Batch
from ..backends.http import HTTPStatusError, status_in
from ..backends.http_errors import explained
from ..backends.refused_params import RefusedParams
from ..headers import sent_headers
from ..keys import find_key
from ..model import Reply, Request
from ..settings import ModelSettings, key_variable
from .api import BatchState, Body, Result, StillRunning
from .messages import message_body, message_reply
from .web import BatchWeb, id_in

PATH: Final = "/v1/messages/batches"
VERSION: Final = "2023-06-01"
PAGE: Final = 1000  # the most: anthropic.types.messages.batch_list_params.BatchListParams.limit
SETTLE_S: Final = 600.0  # its own limit on a request: https://platform.claude.com/docs/en/api/errors
SKEW_S: Final = 86_400.0  # between its clock and ours: only its results tell whose a batch is, not its time


class AnthropicBatches:
    """One model at Anthropic's Message Batches API."""

    name = "anthropic"
    settle_s = SETTLE_S

    def __init__(self, settings: ModelSettings) -> None:
        self.model = settings.model
        parts = urlsplit(settings.address)
        self.address = parts._replace(path=parts.path.rstrip("/").removesuffix("/v1"), query="").geturl()
        self._settings = settings
        self._key_env = key_variable(settings)
        self._key = find_key(self._key_env, settings.model, settings.api_key)
        own, self._secrets = sent_headers(settings.headers, settings.model)
        headers = {"x-api-key": self._key or "none", "anthropic-version": VERSION, **own}
        self._web = BatchWeb(self.address, headers, settings.timeout_s)
        self._refused = RefusedParams.of(self.model, self.address)

    def body(self, request: Request) -> Body:
        return self._refused.without(message_body(request, self._settings))

    def reply(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        return message_reply(request, answer, self.model)

    def explain(self, error: Exception) -> ModelError:
        keys = [*self._secrets, *([self._key] if self._key else [])]
        return explained(error, self.model, address=self.address, secrets=keys, key_env=self._key_env)

    def learn(self, error: HTTPStatusError, request: Request) -> bool:
        return self._refused.learn(error, self.body(request))

    async def prepare(self, batch_id: str, requests: Mapping[str, Body]) -> str | None:
        return None

    async def submit(self, batch_id: str, file_id: str | None, requests: Mapping[str, Body]) -> str:
        rows = [{"custom_id": name, "params": body} for name, body in requests.items()]
        answer = await self._web.post(PATH, {"requests": rows}, long=True)
        return id_in(answer)

    async def find(self, batch: Batch, others: set[str], requests: Sequence[str]) -> str | None:
        """Look among the batches that could be it; wait for the results of those still under way."""
        begun = batch.submitted_at or batch.started_at
        after: str | None = None
        running = False
        while True:
            params = {"limit": str(PAGE), **({"after_id": after} if after else {})}
            page = await self._web.get(PATH, params)
            rows = page.get("data") or []
            for row in rows:
                if row["id"] in others or not _may_be(row, begun, len(requests)):
                    continue
                if row.get("processing_status") != "ended":
                    running = True
                elif await self._holds(row, requests):
                    return str(row["id"])
            if not rows or not page.get("has_more") or _time(rows[-1]) < begun - SKEW_S:
                break
            after = str(page.get("last_id") or rows[-1]["id"])
        if running:
            raise StillRunning
        return None

    async def _holds(self, row: Mapping[str, Any], requests: Sequence[str]) -> bool:
        if row.get("archived_at"):
            return False
        try:
            lines = await self._web.lines(f"{PATH}/{row['id']}/results")
        except HTTPStatusError as error:
            if error.status != 404:  # deleted, or archived since it was listed
                raise
            return False
        return bool(lines) and lines[0].get("custom_id") in requests

    async def bar(self, batch: Batch) -> None:
        """Nothing can be done: a submit has no file, and no key that makes it count once."""

    async def state(self, provider_id: str) -> BatchState:
        row = await self._web.get(f"{PATH}/{provider_id}")
        ended = row.get("processing_status") == "ended"
        gone = "archived: its results are no longer there" if ended and row.get("archived_at") else None
        return BatchState(ended, gone, [provider_id] if ended and not gone else ())

    async def results(self, state: BatchState) -> dict[str, Result]:
        results: dict[str, Result] = {}
        for batch in state.files:
            for row in await self._web.lines(f"{PATH}/{batch}/results"):
                results[str(row.get("custom_id"))] = _result(row.get("result") or {})
        return results


def _may_be(row: Mapping[str, Any], begun: float, requests: int) -> bool:
    counts = row.get("request_counts") or {}
    return _time(row) >= begun - SKEW_S and sum(counts.values()) == requests


def _time(row: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(str(row["created_at"])).timestamp()


def _result(result: Mapping[str, Any]) -> Result:
    match result.get("type"):
        case "succeeded":
            return Result("answered", result.get("message"), 200)
        case "expired":
            return Result("expired")
        case "canceled":
            return Result("canceled")
    error = result.get("error") or {}
    return Result("refused", error, status_in(error.get("error") or error))

"""OpenAI's Batch API: a file of requests, a batch over it, and files with what came of them.

A batch carries our own id in its metadata, so that it is found again if a crash comes between the submit and
its answer: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...state.errors import ModelError
from ...state.journal.batches import Batch
from ..backends.endpoint import Endpoint
from ..backends.http import HTTPStatusError
from ..model import Reply, Request
from ..settings import ModelSettings
from .api import BatchState, Body, Result
from .web import BatchWeb, id_in

URL: Final = "/v1/chat/completions"
MARK: Final = "stepgraph_batch"
PAGE: Final = 100
SETTLE_S: Final = 30.0  # a submit that comes later finds no file
SKEW_S: Final = 86_400.0  # between its clock and ours
_ENDED: Final = ("completed", "failed", "expired", "cancelled")


class OpenAIBatches:
    """One model at OpenAI's Batch API, or at one that is like it."""

    name = "openai"
    settle_s = SETTLE_S

    def __init__(self, settings: ModelSettings) -> None:
        self._endpoint = Endpoint(settings)
        self.model = settings.model
        self.address = self._endpoint.address
        self._web = BatchWeb(self.address, self._endpoint.headers, settings.timeout_s)

    def body(self, request: Request) -> Body:
        return self._endpoint.body(request)

    def reply(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        return self._endpoint.reply(request, answer)

    def explain(self, error: Exception) -> ModelError:
        return self._endpoint.explain(error)

    def learn(self, error: HTTPStatusError, request: Request) -> bool:
        return self._endpoint.learn(error, request)

    async def prepare(self, batch_id: str, requests: Mapping[str, Body]) -> str | None:
        lines = (
            json.dumps({"custom_id": name, "method": "POST", "url": URL, "body": body}, ensure_ascii=False)
            for name, body in requests.items()
        )
        data = "\n".join(lines).encode("utf-8", "replace")
        answer = await self._web.upload("/files", f"{batch_id}.jsonl", data, {"purpose": "batch"})
        return id_in(answer)

    async def submit(self, batch_id: str, file_id: str | None, requests: Mapping[str, Body]) -> str:
        answer = await self._web.post(
            "/batches",
            {
                "input_file_id": file_id,
                "endpoint": URL,
                "completion_window": "24h",
                "metadata": {MARK: batch_id},
            },
        )
        return id_in(answer)

    async def find(self, batch: Batch, others: set[str], requests: Sequence[str]) -> str | None:
        oldest = (batch.submitted_at or batch.started_at) - SKEW_S
        after: str | None = None
        while True:
            params = {"limit": str(PAGE), **({"after": after} if after else {})}
            page = await self._web.get("/batches", params)
            rows = page.get("data") or []
            for row in rows:
                mine = (row.get("metadata") or {}).get(MARK) == batch.id
                if mine or (batch.file_id and row.get("input_file_id") == batch.file_id):
                    return str(row["id"])
            if not rows or not page.get("has_more") or (rows[-1].get("created_at") or oldest) < oldest:
                return None
            after = str(rows[-1]["id"])

    async def bar(self, batch: Batch) -> None:
        """Delete its file: a submit that comes later finds none."""
        if batch.file_id is None:
            return
        try:
            await self._web.delete(f"/files/{batch.file_id}")
        except HTTPStatusError as error:
            if error.status != 404:
                raise

    async def state(self, provider_id: str) -> BatchState:
        row = await self._web.get(f"/batches/{provider_id}")
        status = row.get("status")
        if status not in _ENDED:
            return BatchState(ended=False)
        files = [row[name] for name in ("output_file_id", "error_file_id") if row.get(name)]
        errors = (row.get("errors") or {}).get("data") or ()
        reasons = "; ".join(map(_message_of, errors))
        problem = None if status == "completed" else f"{status}: {reasons}" if reasons else str(status)
        full = any(
            error.get("code") == "token_limit_exceeded" for error in errors
        )  # too much is queued already
        rejected = (429 if full else 400) if status == "failed" else None
        return BatchState(ended=True, problem=problem, files=files, rejected=rejected)

    async def results(self, state: BatchState) -> dict[str, Result]:
        results: dict[str, Result] = {}
        for file in state.files:
            for row in await self._web.lines(f"/files/{file}/content"):
                results[str(row.get("custom_id"))] = _result(row)
        return results


def _message_of(error: Mapping[str, Any]) -> str:
    line = f" (line {error['line']})" if error.get("line") else ""
    return f"{error.get('code')}: {error.get('message')}{line}"


def _result(row: Mapping[str, Any]) -> Result:
    error, response = row.get("error") or {}, row.get("response") or {}
    if error.get("code") == "batch_expired":
        return Result("expired")
    if error.get("code") == "batch_cancelled":
        return Result("canceled")
    status, body = response.get("status_code"), response.get("body")
    if error or not isinstance(status, int):
        return Result("refused", {"error": error}, status if isinstance(status, int) else 500)
    return Result("answered", body, status) if status < 300 else Result("refused", body, status)

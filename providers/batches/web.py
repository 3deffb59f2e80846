"""Plain requests to a batch API, over the HTTP client that all endpoints share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ..backends.http import (
    HTTPStatusError,
    MalformedBody,
    check_nesting,
    clients,
    error_body,
    json_object,
    lines_in,
    proxy_for,
    read_body,
)

MAX_RESULTS_BYTES = 2**30
LONG_S = 900.0  # for files, which may have hundreds of megabytes


class BatchWeb:
    """The way to one batch API. Raises HTTPStatusError, MalformedBody, or what aiohttp raises."""

    def __init__(self, address: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._parts = urlsplit(address)
        self._headers = {"User-Agent": "stepgraph", **headers}
        self._timeout_s = timeout_s
        self._proxy = proxy_for(address)

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        async with self._request("GET", path, params=params) as response:
            return json_object(await read_body(response), response)

    async def post(self, path: str, body: Any, *, long: bool = False) -> dict[str, Any]:
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        kind = {"Content-Type": "application/json"}
        async with self._request("POST", path, data=data, headers=kind, long=long) as response:
            return json_object(await read_body(response), response)

    async def upload(self, path: str, name: str, data: bytes, fields: Mapping[str, str]) -> dict[str, Any]:
        form = aiohttp.FormData(fields)
        form.add_field("file", data, filename=name, content_type="application/jsonl")
        async with self._request("POST", path, data=form, long=True) as response:
            return json_object(await read_body(response), response)

    async def delete(self, path: str) -> None:
        async with self._request("DELETE", path):
            pass

    async def lines(self, path: str) -> list[dict[str, Any]]:
        """Return the objects of a file with one in each line."""
        async with self._request("GET", path, long=True) as response:
            lines = lines_in(response, MAX_RESULTS_BYTES)
            return [_row(line) async for line in lines if line.strip()]

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        long: bool = False,
        **options: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        client = await clients.get()
        seconds = max(self._timeout_s, LONG_S) if long else self._timeout_s
        sent = {**self._headers, **(headers or {})}
        async with (
            asyncio.timeout(seconds),
            client.request(
                method,
                self._parts._replace(path=f"{self._parts.path.rstrip('/')}{path}").geturl(),
                headers=sent,
                proxy=self._proxy,
                allow_redirects=False,
                **options,
            ) as response,
        ):
            if response.status >= 300:
                raise HTTPStatusError(response.status, await error_body(response), response.headers)
            yield response


def id_in(answer: Mapping[str, Any]) -> str:
    """Return the id in an answer. Raises MalformedBody if it has none."""
    if not isinstance(answer.get("id"), str) or not answer["id"]:
        raise MalformedBody("the answer has no id")
    return str(answer["id"])


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"a line of the results is no JSON: {error}") from None
    check_nesting(line, row)
    if not isinstance(row, dict):
        raise MalformedBody("a line of the results is no object")
    return row

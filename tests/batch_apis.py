"""OpenAI's and Anthropic's batch APIs on loopback, made from their documentation; no model answers.

    https://platform.openai.com/docs/api-reference/batch
    https://platform.claude.com/docs/en/api/creating-message-batches

Both check what they are sent as the providers say that they do, answer out of order, and keep count: `ran`
says how often each prompt was paid for, in whatever batch or live call. As a program it serves both, lets
requests and answers take their time, prints its port, and ends when its standard input does; `GET /ran` has
the counts.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from aiohttp import web

from .batch_messages import LIVE, Fate, ServedBatch, answer_to, check_message, error, failed_line, said, spec
from .servers import new_listener

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class BatchServer:
    """Serves both APIs from a thread of its own.

    `fate` says of a request's body how it ends, `polls` after how many looks a batch has ended. `will` are
    statuses with which the next submits fail (`lose`: it is begun, and no answer comes).
    """

    def __init__(self, *, polls: int = 1) -> None:
        self.ran: Counter[str] = Counter()
        self.batches: list[ServedBatch] = []
        self.files: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self.fate: Callable[[Mapping[str, Any]], Fate] = lambda _: "ok"
        self.polls = polls
        self.hold = False  # as long as it is set, nothing ends
        self.invalid: str | None = None  # a code with which batches fail their validation
        self.will: deque[int | Literal["lose"]] = deque()
        self.poll_faults: deque[int] = deque()
        self.tool_calls: Callable[[Mapping[str, Any]], list[tuple[str, str]]] = lambda _: []
        self.cut_files = 0  # so many downloads break off
        self.page = 100
        self.archived: set[str] = set()  # batches whose results are no longer there
        self.results_status = 200  # of every download of results at Anthropic
        self.unlisted = 0  # how many more lists leave the latest batch out
        self.slow_s = (
            0.0  # the most that a request and its answer are on their way, each; longer for a submit
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # As a fixture

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def start(self) -> int:
        app = web.Application(client_max_size=2**29, middlewares=[self._slowly])
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_delete("/v1/files/{id}", self._delete)
        app.router.add_post("/v1/batches", self._openai_begin)
        app.router.add_get("/v1/batches", self._openai_list)
        app.router.add_get("/v1/batches/{id}", self._openai_state)
        app.router.add_post("/v1/messages/batches", self._anthropic_begin)
        app.router.add_get("/v1/messages/batches", self._anthropic_list)
        app.router.add_get("/v1/messages/batches/{id}", self._anthropic_state)
        app.router.add_get("/v1/messages/batches/{id}/results", self._anthropic_results)
        app.router.add_post("/v1/chat/completions", self._live)
        app.router.add_get("/ran", self._counts)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = new_listener()
        port: int = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        await web.SockSite(self._runner, listener).start()
        return port

    @web.middleware
    async def _slowly(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        submits = request.method == "POST" and request.path.endswith("/batches")
        slow_s = self.slow_s * 6 if submits else self.slow_s
        await asyncio.sleep(random.uniform(0, slow_s))
        try:
            response = await handler(request)
        except ConnectionResetError:  # the client was killed before it had sent all
            return web.Response()
        await asyncio.sleep(random.uniform(0, slow_s))
        return response

    def spec(self, api: str = "openai", **settings: Any) -> dict[str, Any]:
        """Return the model settings that lead here."""
        return spec(self.address, api, **settings)

    @property
    def live(self) -> int:
        """How many live calls there were."""
        return sum(n for prompt, n in self.ran.items() if prompt.startswith(LIVE))

    def prompts(self) -> Counter[str]:
        """Return how often each prompt was paid for."""
        return Counter({prompt.removeprefix(LIVE): n for prompt, n in self.ran.items()})

    async def _counts(self, _: web.Request) -> web.Response:
        return web.json_response({"ran": self.ran, "batches": [len(b.requests) for b in self.batches]})

    # What both have in common

    def _fault(self) -> web.Response | None:
        """Return the error that a submit is to end with."""
        if self.will and self.will[0] != "lose":
            status = int(self.will.popleft())
            headers = {"Retry-After": "0"} if status == 429 else {}
            return error(status, "try again later", headers)
        return None

    def _new(self, prefix: str, requests: dict[str, dict[str, Any]]) -> ServedBatch:
        batch = ServedBatch(f"{prefix}_{len(self.batches)}", requests, time.time())
        self.batches.append(batch)
        for body in requests.values() if self.invalid is None else ():
            if self.fate(body) in ("ok", "missing"):
                self.ran[said(body)] += 1  # it will be paid for, whether anybody asks for it or not
        return batch

    def _begun(self, request: web.Request, row: Mapping[str, Any]) -> web.Response:
        if self.will and self.will[0] == "lose":
            self.will.popleft()
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(row)

    def _look(self, batch: ServedBatch) -> bool:
        """Count a look at a batch, and tell whether it has ended."""
        batch.polls += 1
        if not self.hold and not batch.ended and batch.polls > self.polls:
            batch.ended = True
        return batch.ended

    def _find(self, request: web.Request) -> ServedBatch | None:
        return next((b for b in self.batches if b.id == request.match_info["id"]), None)

    async def _live(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.ran[LIVE + said(body)] += 1
        return web.json_response(self._completion(body))

    # OpenAI

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form["purpose"] != "batch":
            return error(400, "expected the purpose batch")
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file_{len(self.files)}"
        self.files[name] = file.file.read()
        return web.json_response({"id": name, "object": "file", "purpose": "batch"})

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self.files or name in self.deleted:
            return error(404, "no such file")
        self.deleted.add(name)
        return web.json_response({"id": name, "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        return await self._file(request, self.files[request.match_info["id"]])

    async def _file(self, request: web.Request, data: bytes) -> web.StreamResponse:
        if not self.cut_files:
            return web.Response(body=data)
        self.cut_files -= 1
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _openai_begin(self, request: web.Request) -> web.Response:
        if (fault := self._fault()) is not None:
            return fault
        asked = await request.json()
        file = asked["input_file_id"]
        if file in self.deleted or file not in self.files:
            return error(400, f"no such file: {file}")
        assert (asked["endpoint"], asked["completion_window"]) == ("/v1/chat/completions", "24h")
        rows = [json.loads(line) for line in self.files[file].splitlines()]
        assert all((row["method"], row["url"]) == ("POST", asked["endpoint"]) for row in rows)
        requests = {row["custom_id"]: row["body"] for row in rows}
        assert len(requests) == len(rows) <= 50_000
        assert len({body["model"] for body in requests.values()}) == 1
        batch = self._new("batch", requests)
        batch.row = {"input_file_id": file, "metadata": asked.get("metadata")}
        return self._begun(request, self._openai_row(batch))

    def _openai_row(self, batch: ServedBatch) -> dict[str, Any]:
        row = {"id": batch.id, "object": "batch", "created_at": int(batch.made_at), **batch.row}
        if self.invalid is not None:
            fault = {"code": self.invalid, "message": "not taken", "line": 1, "param": None}
            return {**row, "status": "failed", "errors": {"object": "list", "data": [fault]}}
        if not batch.ended:
            return {**row, "status": "in_progress" if batch.polls else "validating"}
        fates = {name: self.fate(body) for name, body in batch.requests.items()}
        done = [self._openai_line(n, b) for n, b in batch.requests.items() if fates[n] == "ok"]
        failed = [failed_line(name, fate) for name, fate in fates.items() if fate not in ("ok", "missing")]
        for name, lines in (("output_file_id", done), ("error_file_id", failed)):
            if lines:
                file = f"{name}_{batch.id}"
                self.files[file] = "".join(f"{json.dumps(line)}\n" for line in reversed(lines)).encode()
                row[name] = file
        worst = {"expire": "expired", "cancel": "cancelled"}
        status = next((worst[fate] for fate in fates.values() if fate in worst), "completed")
        return {**row, "status": status}

    def _openai_line(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        response = {"status_code": 200, "request_id": "r", "body": self._completion(body)}
        return {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": None}

    async def _openai_list(self, request: web.Request) -> web.Response:
        rows = self._listed()
        data, more = self._page(rows, request.query.get("after"), int(request.query["limit"]))
        shown = [self._openai_row(b) for b in data]
        return web.json_response({"object": "list", "data": shown, "has_more": more})

    async def _openai_state(self, request: web.Request) -> web.Response:
        if self.poll_faults:
            return error(self.poll_faults.popleft(), "out of order")
        batch = self._find(request)
        if batch is None:
            return error(404, "no such batch")
        self._look(batch)
        return web.json_response(self._openai_row(batch))

    def _listed(self) -> list[ServedBatch]:
        rows = self.batches[::-1]
        if self.unlisted and rows:
            self.unlisted -= 1
            return rows[1:]
        return rows

    def _page(self, rows: list[ServedBatch], after: str | None, limit: int) -> tuple[list[ServedBatch], bool]:
        start = 0 if after is None else [b.id for b in rows].index(after) + 1
        size = min(limit, self.page)
        return rows[start : start + size], len(rows) > start + size

    def _completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._text(body)}
        calls = self.tool_calls(body)
        if calls:
            message["tool_calls"] = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for n, (name, arguments) in enumerate(calls)
            ]
        return {
            "id": "1",
            "object": "chat.completion",
            "model": "served-1",
            "choices": [{"index": 0, "finish_reason": "tool_calls" if calls else "stop", "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        }

    def _text(self, body: Mapping[str, Any]) -> str:
        return answer_to(said(body))

    # Anthropic

    async def _anthropic_begin(self, request: web.Request) -> web.Response:
        assert request.headers["anthropic-version"] == "2023-06-01"
        assert "x-api-key" in request.headers
        if (fault := self._fault()) is not None:
            return fault
        rows = (await request.json())["requests"]
        for row in rows:
            assert CUSTOM_ID.fullmatch(row["custom_id"])
            check_message(row["params"])
        requests = {row["custom_id"]: row["params"] for row in rows}
        assert len(requests) == len(rows) <= 100_000
        if self.invalid is not None:
            return error(400, self.invalid, kind="invalid_request_error")
        return self._begun(request, self._anthropic_row(self._new("msgbatch", requests)))

    def _anthropic_row(self, batch: ServedBatch) -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if not batch.ended:
            counts["processing"] = len(batch.requests)
        names = {"expire": "expired", "cancel": "canceled", "ok": "succeeded"}
        for body in batch.requests.values() if batch.ended else ():
            counts[names.get(self.fate(body), "errored")] += 1
        url = f"{self.address}/v1/messages/batches/{batch.id}/results"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.ended else "in_progress",
            "request_counts": counts,
            "created_at": datetime.fromtimestamp(batch.made_at, UTC).isoformat(),
            "results_url": url if batch.ended else None,
            "archived_at": "2026-01-01T00:00:00Z" if batch.id in self.archived else None,
        }

    async def _anthropic_list(self, request: web.Request) -> web.Response:
        rows = self._listed()
        for batch in rows:
            self._look(batch)
        data, more = self._page(rows, request.query.get("after_id"), int(request.query["limit"]))
        return web.json_response(
            {
                "data": [self._anthropic_row(b) for b in data],
                "has_more": more,
                "last_id": data[-1].id if data else None,
            }
        )

    async def _anthropic_state(self, request: web.Request) -> web.Response:
        if self.poll_faults:
            return error(self.poll_faults.popleft(), "out of order")
        batch = self._find(request)
        if batch is None:
            return error(404, "no such batch", kind="not_found_error")
        self._look(batch)
        return web.json_response(self._anthropic_row(batch))

    async def _anthropic_results(self, request: web.Request) -> web.StreamResponse:
        batch = self._find(request)
        assert batch is not None
        assert batch.ended
        if self.results_status != 200:
            return error(self.results_status, "not like this")
        if batch.id in self.archived:
            return error(404, "no such batch", kind="not_found_error")
        lines = [
            {"custom_id": name, "result": self._anthropic_result(body)}
            for name, body in reversed(batch.requests.items())
            if self.fate(body) != "missing"
        ]
        return await self._file(request, "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def _anthropic_result(self, body: Mapping[str, Any]) -> dict[str, Any]:
        match self.fate(body):
            case "expire":
                return {"type": "expired"}
            case "cancel":
                return {"type": "canceled"}
            case "error" | "refuse" as fate:
                kind = "invalid_request_error" if fate == "refuse" else "api_error"
                fault = {"type": kind, "message": "not like this"}
                return {"type": "errored", "error": {"type": "error", "error": fault}}
        content: list[dict[str, Any]] = [{"type": "text", "text": self._text(body)}]
        calls = self.tool_calls(body)
        content += [
            {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": json.loads(arguments)}
            for n, (name, arguments) in enumerate(calls)
        ]
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "served-1",
            "content": content,
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "output_tokens": 20},
        }
        return {"type": "succeeded", "message": message}


async def main() -> None:
    server = BatchServer(polls=4)
    server.slow_s = 0.03
    print(await server.start(), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

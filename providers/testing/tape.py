"""Real provider traffic on tape: recorded once, replayed by tests without network, key or cost.

A tape is a server on loopback between stepgraph and the provider, so what is replayed are the provider's
own bytes: status, body, stream. On disk it is one exchange a line, as JSON. Headers of requests are not
kept at all, and of answers only those that matter; keys are masked in what is kept, and prompts and answers
are kept as they are otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from ...state.errors import ScriptError, SettingsError
from ...state.masking import NO_KEYS, Masker
from ...state.private_files import make_folder, open_private
from ..backends.http_errors import without_secrets
from ..provider_table import LOCAL
from ..settings import ModelSettings, parse_spec

KEPT_HEADERS = ("content-type", "retry-after", "location")
KEY_FOR_REPLAYS = "replayed"
SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came back; `body` has a part for each event of a stream."""

    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: tuple[str, ...]
    base64: bool = False

    def parts(self) -> list[bytes]:
        return [base64.b64decode(part) if self.base64 else part.encode() for part in self.body]


class Tape:
    """Records what a model's provider answers, if `path` does not exist yet; else replays it.

    `model` is a model spec; bind `tape.model` in its place. Equal requests get their answers in the order
    in which these were recorded. A request that is not on the tape is refused; `record` makes a new tape
    in the place of the old one. A tape is written at the end of the `with` block, unless that failed.
    `mask` says what is replaced in it, beside the key that was used: by default, what looks like a key;
    `EVERYTHING` of stepgraph.state.masking takes personal data as well.

        with Tape("tests/tapes/post.jsonl", "deepseek:deepseek-chat") as tape, using(tape.model):
            app.invoke(Post("tea"))
    """

    def __init__(
        self,
        path: str | Path,
        model: str | Mapping[str, Any] | ModelSettings,
        *,
        record: bool = False,
        mask: Masker = NO_KEYS,
    ) -> None:
        self.path = Path(path)
        self.replays = self.path.exists() and not record
        self._settings = model if isinstance(model, ModelSettings) else parse_spec(model, "Tape")
        if self._settings.provider == LOCAL:
            raise SettingsError("Tape: the model on this machine has no provider whose traffic to record.")
        self._upstream = self._settings.address.rstrip("/")
        self._mask = mask
        self._recorded: list[Exchange] = []
        self._left: dict[str, deque[Exchange]] = defaultdict(deque)
        if self.replays:
            for exchange in _read(self.path):
                self._left[_key(exchange.request)].append(exchange)

    @property
    def model(self) -> ModelSettings:
        """The settings of the model, by way of the tape."""
        update: dict[str, Any] = {"base_url": self.url}
        if self.replays:
            update["api_key"] = SecretStr(KEY_FOR_REPLAYS)
        return self._settings.model_copy(update=update)

    @property
    def url(self) -> str:
        """The address of the tape, for other clients."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def left(self) -> int:
        """How many recorded answers nobody asked for yet."""
        return sum(map(len, self._left.values()))

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stepgraph-tape", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        if error is None and not self.replays:
            self._write()

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        self._client = aiohttp.ClientSession(trust_env=True, auto_decompress=True)
        listener = socket.create_server(("127.0.0.1", 0))
        self._port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.replays:
            return await self._replay(request)
        return await self._record(request)

    async def _replay(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(self._clean(await request.text(), request))
        waiting = self._left.get(_key(body))
        if not waiting:
            message = (
                f"The tape {self.path} has no{' further' if waiting is not None else ''} answer to this "
                "request: the prompt or its parameters changed. Delete the file and run again, to record it."
            )
            return web.json_response({"error": {"message": message, "code": "not_on_tape"}}, status=400)
        exchange = waiting.popleft()
        response = web.StreamResponse(status=exchange.status, headers=dict(exchange.headers))
        await response.prepare(request)
        for part in exchange.parts():
            await response.write(part)
        return response

    async def _record(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        headers = {"Content-Type": "application/json"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        url = f"{self._upstream}/chat/completions"
        try:
            async with self._client.post(url, data=data, headers=headers, allow_redirects=False) as answer:
                kept = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                parts = []
                async for part in answer.content.iter_any():
                    parts.append(part)
                    await response.write(part)
        except aiohttp.ClientError as error:
            message = self._clean(f"{self._upstream} cannot be reached: {error}", request)
            return web.json_response({"error": {"message": message}}, status=502)
        self._recorded.append(self._exchange(request, data, answer.status, kept, b"".join(parts)))
        return response

    def _exchange(
        self, request: web.Request, data: bytes, status: int, headers: Mapping[str, str], body: bytes
    ) -> Exchange:
        question = json.loads(self._clean(data.decode(), request))
        try:
            text = self._clean(body.decode(), request)
        except UnicodeDecodeError:
            return Exchange(question, status, headers, (base64.b64encode(body).decode(),), base64=True)
        headers = {name: self._clean(value, request) for name, value in headers.items()}
        return Exchange(question, status, headers, tuple(_events(text)))

    def _clean(self, text: str, request: web.Request) -> str:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = [key] if len(key) >= SHORTEST_KEY and key != KEY_FOR_REPLAYS else []
        return self._mask.text(without_secrets(text, known))

    def _write(self) -> None:
        if not self._recorded:
            raise ScriptError(f"Nothing was asked by way of the tape, so {self.path} was not written.")
        make_folder(self.path.parent)
        lines = [json.dumps(asdict(exchange), ensure_ascii=False) for exchange in self._recorded]
        with open_private(self.path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def _key(request: Mapping[str, Any]) -> str:
    return json.dumps(request, sort_keys=True)


def _events(text: str) -> list[str]:
    """Split a stream after each event; anything else stays whole."""
    if not text.lstrip().startswith(("data:", ":", "event:")):
        return [text]
    parts = text.split("\n\n")
    return [f"{part}\n\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _read(path: Path) -> list[Exchange]:
    exchanges = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"The tape {path} cannot be read: {error}.") from None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            exchanges.append(Exchange(**{**row, "body": tuple(row["body"])}))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ScriptError(f"{path}, line {number} is no exchange of a tape: {error}") from None
    return exchanges

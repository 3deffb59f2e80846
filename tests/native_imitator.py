"""What the wires have in common that are not OpenAI's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from .imitator import Imitator, Said

SIGNATURE = "c2lnbmVk"


class Native(Imitator):
    """A wire that is not OpenAI's chat completions."""

    reasoning_field = "reasoning"

    def whole(self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def events(
        self, said: Said, counts: Mapping[str, int], body: Mapping[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        raise NotImplementedError

    def usage(self, given: int, answered: int, cached: int, thought: int) -> dict[str, Any]:
        return {"given": given, "answered": answered, "cached": cached, "thought": thought}

    def _whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        said = self._say(body)
        return self.whole(said, self._counts(body, said), body)

    async def _stream_out(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        said = self._say(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in self.events(said, self._counts(body, said), body):
            name = f"event: {event['type']}\n" if "type" in event else ""
            await response.write(f"{name}data: {json.dumps(event)}\n\n".encode())
            await asyncio.sleep(self.slow_s)
        return response


def words_in(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


def texts_in(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(p.get("text") or p.get("content") or "") for p in content if isinstance(p, dict))

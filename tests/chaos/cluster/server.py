"""A model server of the kill matrix: a process of its own that answers, counts, and says when to die.

It prints its port, and ends when its standard input does. A connection carries one line of JSON each way.
`{"ask": …}` is a question of a composition: it is counted before it is answered, and each answer is a pure
function of the question. `{"arm": …}` has the asking process sent a signal at the so manieth question of a
life, or of the run; `{"asked": run}` returns all questions of a run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stepgraph import ToolCall

from ..compositions.building import Composition

ANY = -1  # whichever life asks


class ModelServer:
    """What was asked, by run, and which signals are to be sent, by run and life."""

    def __init__(self) -> None:
        self._asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._numbers: Counter[tuple[str, int]] = Counter()
        self._armed: dict[tuple[str, int], tuple[int, int]] = {}
        self._built: dict[tuple[int, bool], Composition] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ValueError):
            said = json.loads(await reader.readline())
            writer.write(json.dumps(await self._answer(said)).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _answer(self, said: dict[str, Any]) -> Any:
        if "arm" in said:
            armed = said["arm"], said["life"]
            self._armed[armed] = (
                said["number"] + (self._numbers[armed] if said["life"] == ANY else 0),
                said["signal"],
            )
            return None
        if "asked" in said:
            return self._asked[said["asked"]]
        run, life = said["ask"], said["life"]
        line = {name: said[name] for name in ("life", "call", "thread", "step", "looked", "checked")}
        self._asked[run].append({**line, "at": time.time()})
        self._numbers[run, life] += 1
        self._numbers[run, ANY] += 1
        for armed in ((run, life), (run, ANY)):
            number, signal = self._armed.get(armed, (0, 0))
            if self._numbers[armed] != number:
                continue
            with suppress(ProcessLookupError):
                os.kill(said["pid"], signal)
        await asyncio.sleep(random.uniform(0.0, said["delay_s"]))
        return self._said(said)

    def _said(self, said: dict[str, Any]) -> Any:
        place = said["seed"], said["rich"]
        built = self._built.get(place)
        if built is None:
            built = self._built[place] = Composition(said["seed"], Path("nowhere"), said["rich"])
        request: Any = SimpleNamespace(**said["request"])
        answer = built.questions[said["step"]].answer(request)
        if isinstance(answer, ToolCall):
            return {"tool": answer.name, "arguments": dict(answer.arguments)}
        return {"answer": answer}


async def main() -> None:
    server = await asyncio.start_server(ModelServer().serve, "127.0.0.1", 0, limit=2**26, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())

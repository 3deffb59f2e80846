"""The HTTP client against `transformers serve`: chat, streams, reasoning, tools, usage, errors, cancellation.

    python -m tests.real_servers.transformers_serve --python VENV/bin/python
    python -m tests.real_servers.transformers_serve --url http://127.0.0.1:8000/v1 --model FOLDER

The interpreter is one of an environment with `transformers[serving]` and torch; `make transformers-serve`
makes it. The server, and the tiny model that it serves, are made here and end with this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgraph import Ask, Session, agent, chain, run, step, using
from stepgraph.errors import ContextTooLong, ModelError, ModelNotFound, ModelRefused

from ..servers import free_port

HERE = Path(__file__).parent
START_S = 300


@dataclass
class Talk:
    text: str
    said: str = ""


@step("said")
def say(talk: Talk) -> Ask[str]:
    return Ask(talk.text)


@step("said")
def find(talk: Talk) -> Ask[str]:
    return Ask(talk.text)


looked_up: list[str] = []


def look_up(name: str) -> str:
    """Look a person up."""
    looked_up.append(name)
    return f"{name} is in Paris."


@contextmanager
def serving(python: str) -> Iterator[tuple[str, str]]:
    """Make the model and serve it on a free port; yield the address and the model's name."""
    with tempfile.TemporaryDirectory(prefix="stepgraph-serve-") as folder:
        model = str(Path(folder) / "tiny")
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([python, str(HERE / "tiny_model.py"), model], check=True, env=env)
        port = free_port()
        words = [str(Path(python).parent / "transformers"), "serve", model]
        words += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
        with (Path(folder) / "log").open("w") as log:
            server = subprocess.Popen(words, env=env, stdout=log, stderr=log)
        try:
            end = time.monotonic() + START_S
            while not is_up(f"http://127.0.0.1:{port}/health"):
                if server.poll() is not None or time.monotonic() > end:
                    raise SystemExit((Path(folder) / "log").read_text()[-3000:])
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            server.terminate()
            server.wait()


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class Checks:
    """What is asked of the server, and what must come of it."""

    def __init__(self, url: str, model: str, folder: Path) -> None:
        self.spec: dict[str, Any] = {"base_url": url, "model": model, "retries": 0, "timeout_s": 120}
        self.folder = folder

    async def all(self) -> int:
        failed = 0
        for check in (self.chat, self.streamed, self.agent, self.at_once, self.wrong, self.cancelled):
            failed += await self._told(check)
        return failed

    async def _told(self, check: Callable[[], Awaitable[str]]) -> int:
        try:
            print(f"{check.__name__:10} ok      {await check()}", flush=True)
        except (AssertionError, ModelError) as error:
            print(f"{check.__name__:10} FAILED  {type(error).__name__}: {error!s:.600}", flush=True)
            return 1
        return 0

    async def _say(self, graph: Any, text: str, name: str, **more: Any) -> tuple[Any, dict[str, Any]]:
        with Session(self.folder / f"{name}.sqlite") as session, using({**self.spec, **more}):
            result = await asyncio.to_thread(run, graph.compile(), Talk(text), session=session, thread=name)
            calls = session.journal.query("SELECT * FROM calls ORDER BY started_at")
        return result, calls[-1]

    async def chat(self, name: str = "chat") -> str:
        result, call = await self._say(chain(find), "Hello", name)
        assert result.values["said"] == "Greetings from a tiny model.", result
        assert call["reasoning"] == "They ask for a name.", call["reasoning"]
        assert call["finish_reason"] == "stop"
        assert call["input_tokens"] > 10, "usage"
        assert call["output_tokens"] > 5, "usage"
        return f"{call['input_tokens']} + {call['output_tokens']} tokens, with reasoning"

    async def streamed(self) -> str:
        graph = chain(find).compile()
        pieces: list[str] = []
        with Session(self.folder / "streamed.sqlite") as session, using(self.spec):
            config = session.config("streamed")
            async for message, _ in graph.astream(Talk("Hello"), config, stream_mode="messages"):
                pieces.append(str(message.content))
            (call,) = session.journal.query("SELECT * FROM calls")
        assert "".join(pieces) == call["answer"] == "Greetings from a tiny model.", pieces
        assert call["reasoning"] == "They ask for a name."
        assert len([piece for piece in pieces if piece]) > 3, pieces
        assert call["output_tokens"] > 5, "usage in a stream"
        return f"{len(pieces)} pieces, first after {call['first_token_s']:.2f} s"

    async def agent(self) -> str:
        looked_up.clear()
        result, call = await self._say(agent(find, tools=[look_up]), "Where are they?", "agent")
        assert looked_up == ["Ada", "Bob"], looked_up
        assert result.values["said"] == "Ada is in Paris.", result
        assert call["finish_reason"] == "stop"
        return "two tools called at once, their results answered"

    async def at_once(self) -> str:
        names = [f"many-{number}" for number in range(4)]
        done = await asyncio.gather(*(self._say(chain(find), f"Hello {name}", name) for name in names))
        assert {result.values["said"] for result, _ in done} == {"Greetings from a tiny model."}
        return f"{len(done)} runs"

    async def wrong(self) -> str:
        told = []
        for name, more, text, kinds in (
            ("model", {"model": "nobody/nothing"}, "Hello", (ModelNotFound, ModelRefused)),
            ("field", {"extra_body": {"no_such_field": 1}}, "Hello", (ModelRefused,)),
            ("long", {}, "x" * 9000, (ContextTooLong, ModelError)),
        ):
            try:
                _, call = await self._say(chain(find), text, f"wrong-{name}", **more)
                told.append(f"{name}: answered, {call['finish_reason']}")
            except kinds as error:
                told.append(f"{name}: {type(error).__name__}: {error!s:.300}")
        return "\n           ".join(told)

    async def cancelled(self) -> str:
        """Leave an answer while it is made: the server ends a streamed one, and finishes a whole one."""
        told = []
        graph = chain(say).compile()
        for name, leave in (("streamed", self._leave_stream), ("whole", self._leave_whole)):
            with Session(self.folder / f"cancelled-{name}.sqlite") as session, using(self.spec):
                await leave(graph, session.config("cancelled"))
            start = time.monotonic()
            await self.chat(f"after-{name}")
            told.append(f"{name}: {time.monotonic() - start:.1f} s")
        return f"until the next call was answered, {', '.join(told)}"

    async def _leave_stream(self, graph: Any, config: Any) -> None:
        async for _ in graph.astream(Talk("long"), config, stream_mode="messages"):
            return

    async def _leave_whole(self, graph: Any, config: Any) -> None:
        work = asyncio.create_task(graph.ainvoke(Talk("long"), config))
        await asyncio.sleep(0.3)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", help="an interpreter with transformers[serving] and torch")
    parser.add_argument("--url")
    parser.add_argument("--model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.url:
            return asyncio.run(Checks(given.url, given.model, Path(folder)).all())
        with serving(given.python) as (url, model):
            return asyncio.run(Checks(url, model, Path(folder)).all())


if __name__ == "__main__":
    sys.exit(bool(main()))

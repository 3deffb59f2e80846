"""CPU time per call of stepgraph's seam, beside bare aiohttp and the openai client. See the README here.

As in cpu_per_call.py, from which the shapes and the table come; here no contender has a graph: a step is
asked directly, and its journal is on where the name says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .contenders import prompt_for, question, using_stub
from .cpu_per_call import Shapes, bare_openai, measured, openai_shapes, shapes, table
from .processes import Contender, compare


@asynccontextmanager
async def bare_aiohttp(url: str, _: Path) -> AsyncIterator[Shapes]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def ask(number: int) -> str:
            body = {"model": "stub", "messages": [{"role": "user", "content": prompt_for(number)}]}
            async with client.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json()
            return str(answer["choices"][0]["message"]["content"])

        yield shapes(ask)


@asynccontextmanager
async def openai_over_aiohttp(url: str, _: Path) -> AsyncIterator[Shapes]:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async with AsyncOpenAI(base_url=url, api_key="none", http_client=DefaultAioHttpClient()) as client:
        yield openai_shapes(client)


def step_shapes(session: Any) -> Shapes:
    step = question()

    async def ask(number: int) -> str:
        config = session.config("benchmark") if session else None
        answer: str = await step.answer({"number": number, "text": ""}, config)
        return answer

    return shapes(ask)


@asynccontextmanager
async def seam(url: str, _: Path) -> AsyncIterator[Shapes]:
    with using_stub(url):
        yield step_shapes(None)


@asynccontextmanager
async def seam_langchain(url: str, _: Path) -> AsyncIterator[Shapes]:
    with using_stub(url, client="langchain"):
        yield step_shapes(None)


@asynccontextmanager
async def seam_journal(url: str, folder: Path) -> AsyncIterator[Shapes]:
    from stepgraph import Session

    with using_stub(url), Session(folder / "session.sqlite") as session:
        yield step_shapes(session)


OURS, OURS_KEPT = "stepgraph step", "stepgraph step with journal"
BY_LANGCHAIN = "stepgraph step, client langchain"
CONTENDERS: dict[str, Contender[Shapes]] = {
    "bare aiohttp": bare_aiohttp,
    "openai client over aiohttp": openai_over_aiohttp,
    "openai client, default transport": bare_openai,
    OURS: seam,
    BY_LANGCHAIN: seam_langchain,
    OURS_KEPT: seam_journal,
}


def main() -> None:
    columns = {"seam": OURS, "by langchain": BY_LANGCHAIN, "+ journal": OURS_KEPT}
    compare("benchmarks.client_overhead", __doc__, CONTENDERS, measured, lambda times: table(times, columns))


if __name__ == "__main__":
    main()

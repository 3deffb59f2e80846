"""CPU time per call of stepgraph's seam, beside bare aiohttp and the openai client. See the README here.

As in cpu_per_call.py, from which the processes and the table come; here no contender but the last has a
graph: a step is asked directly, and its journal is on where the name says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.cpu_per_call import (
    CALLS,
    CHAIN,
    FAN_OUT,
    REPEATS,
    Shapes,
    State,
    ask_for_round,
    bare_openai,
    measured,
    prompt_for,
    start,
)

HERE = Path(__file__).parent
Ask = Callable[[int], Awaitable[str]]


def shapes(ask: Ask) -> Shapes:
    async def chain() -> str:
        return "".join([await ask(number) for number in range(CHAIN)])

    async def fan_out() -> str:
        return "".join(await asyncio.gather(*map(ask, range(FAN_OUT))))

    return {"chain": chain, "fan-out": fan_out}


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

        async def ask(number: int) -> str:
            message = {"role": "user", "content": prompt_for(number)}
            create: Any = client.chat.completions.create
            completion = await create(model="stub", messages=[message])
            return str(completion.choices[0].message.content)

        yield shapes(ask)


def asking(session: Any) -> Ask:
    from stepgraph import Ask as Question, step

    @step("text")
    def question(state: State) -> Question[str]:
        return Question(prompt_for(state["number"]))

    async def ask(number: int) -> str:
        config = session.config("benchmark") if session else None
        return await question.answer({"number": number, "text": ""}, config)

    return ask


@asynccontextmanager
async def seam(url: str, _: Path) -> AsyncIterator[Shapes]:
    from stepgraph import using

    with using({"model": "stub", "base_url": url, "max_concurrency": FAN_OUT}):
        yield shapes(asking(None))


@asynccontextmanager
async def seam_journal(url: str, folder: Path) -> AsyncIterator[Shapes]:
    from stepgraph import Session, using

    with (
        using({"model": "stub", "base_url": url, "max_concurrency": FAN_OUT}),
        Session(folder / "session.sqlite") as session,
    ):
        yield shapes(asking(session))


CONTENDERS: dict[str, Callable[[str, Path], AbstractAsyncContextManager[Shapes]]] = {
    "bare aiohttp": bare_aiohttp,
    "openai client over aiohttp": openai_over_aiohttp,
    "openai client, default transport": bare_openai,
    "stepgraph step": seam,
    "stepgraph step with journal": seam_journal,
}
OURS = [name for name in CONTENDERS if name.startswith("stepgraph")]


async def work(name: str, url: str) -> None:
    """Be one contender: for each line that comes in, run one round and print its times as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        async with CONTENDERS[name](url, Path(folder)) as runs:
            while sys.stdin.readline():
                times = {s: await measured(run, REPEATS[s], CALLS[s]) for s, run in runs.items()}
                print(json.dumps(times), flush=True)


def table(times: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians, and what ours cost relative to each contender."""
    lines = []
    for shape, calls in CALLS.items():
        columns = {name: [found[shape] for found in rounds] for name, rounds in times.items()}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        title = f"{shape} of {calls}: CPU ms per call"
        lines += ["", f"{title:45} {'median':>7} {'min - max':>13} {'seam':>6} {'+ journal':>10}"]
        for name, values in columns.items():
            ratios = [f"{medians[ours] / medians[name]:.2f}" for ours in OURS]
            spread = f"{min(values):.2f} - {max(values):.2f}"
            lines.append(f"  {name:43} {medians[name]:7.2f} {spread:>13} {ratios[0]:>6} {ratios[1]:>10}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(*options.worker))
        return
    server, port = start(HERE / "stub_server.py")
    url = f"http://127.0.0.1:{port.readline().strip()}/v1"
    workers = {name: start("-m", "benchmarks.client_overhead", "--worker", name, url) for name in CONTENDERS}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for number in range(options.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        for name, worker in workers.items():
            times[name].append(ask_for_round(*worker))
    print(table(times))
    for to_worker, _ in [*workers.values(), (server, port)]:
        to_worker.close()


if __name__ == "__main__":
    main()

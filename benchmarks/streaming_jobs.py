"""How long a word takes from a worker to a client on another machine: p50 and p95. See the README here.

    python -m benchmarks.streaming_jobs [--streams 200] [--words 50] [--every 0.1] [--postgres URL]

The worker is a process of its own, and so is the client; the record's database is between them. Each word is
the time at which it was said. `--quiet` runs the same jobs with nobody listening, and prints the worker's
CPU of both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from stepgraph import Ask, ScriptedModel, asubmit, aworker, chain, step
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.stack.roles import GIVEN
from stepgraph.providers.stack.stack import Member, stacked
from stepgraph.state.errors import StoreError

GRAPH = "benchmarks.streaming_jobs:app"


@dataclass
class Talk:
    number: int
    text: str = ""


@step("text")
def say(talk: Talk) -> Ask[str]:
    return Ask(f"Say {talk.number}")


app = chain(say, name="talk").compile()


class Talker(ScriptedModel):
    """Says the time, again and again."""

    def __init__(self, words: int, every_s: float) -> None:
        super().__init__(lambda *_: "done")
        self._words, self._every_s = words, every_s

    async def complete(self, request: Request, context: CallContext) -> Any:
        number = int(str(request.messages[-1]["content"]).split()[-1])
        await asyncio.sleep(self._every_s * (number % 50) / 50)
        for _ in range(self._words):
            if context.sink is not None:
                await context.sink.emit(f"{time.time():.6f} ")
            await asyncio.sleep(self._every_s)
        return await super().complete(request, context)


async def serve(database: str, words: int, every_s: float, streams: int) -> None:
    all_at_once = GIVEN.model_copy(update={"max_concurrency": streams})  # it would begin with 32
    model = stacked(Member(Talker(words, every_s), all_at_once))
    await aworker(GRAPH, db=database, models=model, at_once=streams, ready=lambda: print("ready", flush=True))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{used.ru_utime + used.ru_stime:.2f}", flush=True)


async def listened(database: str, name: str, streams: int, *, quiet: bool) -> list[float]:
    """Run the jobs; return how old each word was when it was heard."""
    ages: list[float] = []

    async def one(number: int) -> None:
        run = await asubmit(GRAPH, {"number": number}, db=database, thread_id=f"{name}-{number}")
        if quiet:
            await run.aresult()
            return
        async for part in run.astream(stream_mode="messages"):
            if isinstance(part, dict):
                now = time.time()
                chunk = part["data"][0]
                if not chunk.response_metadata:
                    ages.extend(now - float(moment) for moment in chunk.text.split())

    await asyncio.gather(*map(one, range(streams)))
    return ages


async def measured(options: argparse.Namespace, database: str, *, quiet: bool) -> tuple[list[float], float]:
    arguments = [str(options.words), str(options.every), str(options.streams)]
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.streaming_jobs", "--serve", database, *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert worker.stdout is not None
    await worker.stdout.readline()
    try:
        ages = await listened(database, f"run-{time.time():.0f}", options.streams, quiet=quiet)
    finally:
        worker.terminate()
    cpu = float(await worker.stdout.readline())
    await worker.wait()
    return ages, cpu


async def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        await serve(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--words", type=int, default=50)
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two words of a stream")
    parser.add_argument("--postgres", metavar="URL")
    parser.add_argument("--quiet", action="store_true", help="and with nobody listening")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = options.postgres or str(Path(folder) / "runs.sqlite")
        ages, cpu = await measured(options, database, quiet=False)
        cuts = quantiles(ages, n=100)
        print(
            f"{options.streams} streams, {len(ages)} words, one each {options.every * 1000:.0f} ms and "
            f"stream, {'Postgres' if options.postgres else 'SQLite'}, load {os.getloadavg()[0]:.1f} on "
            f"{os.cpu_count()} cores: p50 {cuts[49] * 1000:.0f} ms, p95 {cuts[94] * 1000:.0f} ms; the "
            f"worker's CPU {cpu:.1f} s"
        )
        if options.quiet:
            _, cpu = await measured(options, database, quiet=True)
            print(f"With nobody listening: the worker's CPU {cpu:.1f} s")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except StoreError as error:
        sys.exit(str(error))

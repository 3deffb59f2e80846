"""A server whose room for calls at a time changes: how much of it is used, and how many calls are refused.

    python -m benchmarks.adaptive_concurrency

The server is a process of its own that answers each call after a second, give or take a fifth, and refuses
with 429 what is more than it has room for; it has room for 50, then 10, then 80. The settings say nothing of
all that. What counts: the calls served from 30 seconds after each change on, of those that the server had
room for, and how many of all calls were refused.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp import web

PHASES = (50, 10, 80)
LATENCY_S = 1.0
SETTLE_S = 30.0


def shares(
    served: Sequence[float], starts: Sequence[float], latency_s: float, settle_s: float = SETTLE_S
) -> list[float]:
    """Return, for each phase, the calls that ended once it had settled, of those that there was room for.

    `starts` are the times at which the phases begin, and the end of the last one.
    """
    used = []
    for room, start, end in zip(PHASES, starts, starts[1:], strict=False):
        ended = sum(start + settle_s <= at < end for at in served)
        used.append(ended / (room * (end - start - settle_s) / latency_s))
    return used


class Changing:
    """The server; POST /room sets how many calls it takes at a time."""

    def __init__(self, retry_after: float | None) -> None:
        self.room = PHASES[0]
        self.running = 0
        self.served: list[float] = []
        self.refused: list[float] = []
        self.headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}

    async def chat(self, request: web.Request) -> web.Response:
        await request.read()
        if self.running >= self.room:
            self.refused.append(time.monotonic())
            return web.json_response({"error": {"message": "busy"}}, status=429, headers=self.headers)
        self.running += 1
        try:
            await asyncio.sleep(LATENCY_S * random.uniform(0.8, 1.2))
        finally:
            self.running -= 1
        self.served.append(time.monotonic())
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
        return web.json_response({"model": "changing", "choices": [choice], "usage": usage})

    async def change(self, request: web.Request) -> web.Response:
        self.room = int(await request.text())
        return web.json_response(time.monotonic())

    async def report(self, _: web.Request) -> web.Response:
        return web.json_response({"served": self.served, "refused": self.refused})


async def serve(retry_after: float | None) -> None:
    server = Changing(retry_after)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/room", server.change)
    app.router.add_get("/told", server.report)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def measure(url: str, seconds: float, branches: int) -> tuple[list[float], float, int]:
    """Return the share of the room that was used in each phase, the share of refused calls, and all calls."""
    from stepgraph import using
    from stepgraph.providers.model import CallContext, Request
    from stepgraph.providers.stack.roles import find_model_async

    request = Request(({"role": "user", "content": "Hello"},))
    starts: list[float] = []
    with using({"model": "changing", "base_url": f"{url}/v1"}):
        model = await find_model_async(None)

    async def work() -> None:
        while len(starts) <= len(PHASES):
            await model.complete(request, CallContext("work"))

    async def change() -> None:
        async with aiohttp.ClientSession() as session:
            for room in (*PHASES, PHASES[-1]):
                async with session.post(f"{url}/room", data=str(room)) as response:
                    starts.append(await response.json())
                if len(starts) <= len(PHASES):
                    await asyncio.sleep(seconds)

    await asyncio.gather(change(), *(work() for _ in range(branches)))
    async with aiohttp.ClientSession() as session, session.get(f"{url}/told") as response:
        report: dict[str, Any] = await response.json()
    calls = len(report["served"]) + len(report["refused"])
    return shares(report["served"], starts, LATENCY_S), len(report["refused"]) / calls, calls


async def run(options: argparse.Namespace) -> None:
    more = [] if options.retry_after is None else ["--retry-after", str(options.retry_after)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.adaptive_concurrency", "--serve", *more,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        room_shares, refused, calls = await measure(
            f"http://127.0.0.1:{port}", options.seconds, options.branches
        )
    finally:
        process.terminate()
        await process.wait()
    for room, share in zip(PHASES, room_shares, strict=True):
        print(f"room for {room:>2}: {share:.1%} used, from {SETTLE_S:.0f} s after the change on")
    print(f"{refused:.2%} of {calls} calls refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long each phase lasts")
    parser.add_argument("--branches", type=int, default=200)
    parser.add_argument("--retry-after", type=float, help="what the server says with a 429")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve(options.retry_after) if options.serve else run(options))


if __name__ == "__main__":
    main()

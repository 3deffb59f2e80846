"""500 branches against a server that refuses what is above its limit. See the README here.

The server counts the calls of each sliding window and answers 429 above its limit. What counts: the calls
served, of those that the limit allows in the time that it took, and how many were refused.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import deque

from aiohttp import web

from stepgraph import using

from .contenders import fanned, question


class Limited:
    """Answers at most `limit` calls in any window of `window_s` seconds; the others get a 429."""

    def __init__(self, limit: int, window_s: float, latency_s: float) -> None:
        self.limit, self.window_s, self.latency_s = limit, window_s, latency_s
        self.served: deque[float] = deque()
        self.count = self.refused = 0
        self.first = self.last = 0.0

    async def __call__(self, request: web.Request) -> web.Response:
        await request.read()
        now = time.monotonic()
        while self.served and self.served[0] <= now - self.window_s:
            self.served.popleft()
        if len(self.served) >= self.limit:
            self.refused += 1
            return web.json_response({"error": {"message": "rate limit"}}, status=429)
        self.served.append(now)
        self.first = self.first or now
        self.last = now
        self.count += 1
        await asyncio.sleep(self.latency_s)
        message = {"role": "assistant", "content": "ok"}
        usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"model": "limited", "choices": [choice], "usage": usage})


async def measure(
    branches: int, limit: int, window_s: float = 1.0, latency_s: float = 0.2
) -> dict[str, float]:
    """Run the branches, and return the share of the allowed rate that was used and the share of 429s.

    And the calls that the server saw, and after how many seconds it served the last one.
    """
    server = Limited(limit, window_s, latency_s)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    spec = {
        "model": "limited",
        "base_url": url,
        "requests_per_minute": limit * 60 / window_s,
        "max_concurrency": branches,
    }
    began = time.monotonic()
    try:
        with using(spec):
            result = await fanned(question(), branches).compile().ainvoke({"number": 0, "text": ""})
    finally:
        await runner.cleanup()
    assert result["text"] == "ok" * branches
    rate = (server.count - 1) / (server.last - server.first)
    return {
        "calls": server.count + server.refused,
        "last_s": server.last - began,
        "share_of_allowed": rate * window_s / limit,
        "share_of_429": server.refused / (server.count + server.refused),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=int, default=500)
    parser.add_argument("--limits", type=int, nargs="+", default=[20, 50, 100], help="calls per second")
    options = parser.parse_args()
    for limit in options.limits:
        result = asyncio.run(measure(options.branches, limit))
        print(
            f"{options.branches} branches, {limit} calls/s allowed: {result['share_of_allowed']:.1%} of the "
            f"allowed rate, {result['share_of_429']:.2%} of {result['calls']:.0f} calls refused"
        )


if __name__ == "__main__":
    main()

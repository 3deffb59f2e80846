"""Four processes ask one endpoint under one limit; the endpoint counts what arrives, and how many at a time.

    python -m tests.chaos.limits [--postgres] [--calls 600] [--per-minute 2400] [--late 0.4]

Prints one line of JSON for each limit: how much of it was used. Ends with 1 if one was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stepgraph import Ask, Session, arun, chain, step, using

from .living import FORK

PROCESSES = 4
ANSWER_S = 0.2
AT_ONCE = 8
BODY = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
}


class Counting:
    """An endpoint that notes when calls arrive, and how many were under way at a time."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.now = self.most = 0
        self.busy_s = self.since = 0.0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                ]
                await reader.readexactly(int(lengths[0].split(b":")[1]))
                self._note(1)
                await asyncio.sleep(ANSWER_S)
                self._note(-1)
                body = json.dumps(BODY).encode()
                told = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
                writer.write(f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode() + body)

    def _note(self, more: int) -> None:
        now = time.monotonic()
        self.busy_s += self.now * (now - self.since)
        self.since = now
        self.now += more
        self.most = max(self.most, self.now)
        if more > 0:
            self.arrived.append(now)


def serve(parent: Connection) -> None:
    """Be the endpoint: tell the port, and at each question what was counted since the last one."""

    async def main() -> None:
        counting = Counting()
        server = await asyncio.start_server(lambda r, w: counting.answer(r, w), "127.0.0.1", 0, backlog=1024)
        parent.send(server.sockets[0].getsockname()[1])
        with suppress(EOFError):
            while True:
                await asyncio.to_thread(parent.recv)
                parent.send((counting.arrived, counting.most, counting.busy_s))
                counting.__init__()  # type: ignore[misc]

    asyncio.run(main())


@dataclass
class Work:
    number: int = 0
    said: str = ""


@step("said")
def say(work: Work) -> Ask[str]:
    return Ask(f"say {work.number}")


GRAPH = chain(say).compile()


def live(database: str, number: int, calls: int, settings: dict[str, Any]) -> None:
    async def main() -> None:
        async with Session(database) as session:
            with using(settings):
                names = [f"{settings['model']}-{number}-{n}" for n in range(calls)]
                await asyncio.gather(*(arun(GRAPH, Work(n), session, name) for n, name in enumerate(names)))

    try:
        asyncio.run(main())
    except BaseException as error:
        print(f"worker {number}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def spent_by(workers: int, database: str, calls: int, settings: dict[str, Any], server: Connection) -> Any:
    started = [
        FORK.Process(target=live, args=(database, n, calls // workers, settings)) for n in range(workers)
    ]
    for worker in started:
        worker.start()
    for worker in started:
        worker.join(120)
    if any(worker.exitcode for worker in started):
        raise SystemExit("a worker failed")
    server.send(None)
    return server.recv()


def slots(database: str, calls: int, settings: dict[str, Any], server: Connection) -> tuple[int, float]:
    """Return how many calls were under way at most, and on average as a share of the limit."""
    arrived, most, busy_s = spent_by(PROCESSES, database, calls, settings, server)
    return most, busy_s / (max(arrived) + ANSWER_S - min(arrived)) / AT_ONCE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--per-minute", type=int, default=2400, help="calls allowed")
    parser.add_argument(
        "--late",
        type=float,
        default=0.4,
        help="seconds that the first call may arrive later after its turn than the last one does, on a busy "
        "machine: the span between them is then shorter than the limit's. Four processes that share nothing "
        "take a quarter of the limit's",
    )
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = str(folder / "runs.sqlite")
        mine, theirs = FORK.Pipe()
        endpoint = FORK.Process(target=serve, args=(theirs,), daemon=True)
        endpoint.start()
        stack.callback(endpoint.kill)
        model = {"base_url": f"http://127.0.0.1:{mine.recv()}/v1", "model": "m", "retries": 0}
        if options.postgres:
            from cluster.postgres import PostgresServer
            from cluster.processes import own_folder

            server = PostgresServer(own_folder())
            server.start()
            stack.callback(server.stop, "immediate")
            database = server.lend()
        Session(database).close()
        shared = {**model, "shared": True}
        limit: dict[str, Any] = {
            "model": "rate",
            "requests_per_minute": options.per_minute,
            "max_concurrency": 200,
        }
        arrived, *_ = spent_by(PROCESSES, database, options.calls, {**shared, **limit}, mine)
        span_s = max(arrived) - min(arrived)
        rate = (len(arrived) - 1) / span_s * 60
        kept = (len(arrived) - 1) / (span_s + options.late) * 60 <= options.per_minute
        told = {
            "limit": "requests_per_minute",
            "calls": len(arrived),
            "used": round(rate / options.per_minute, 3),
        }
        print(json.dumps(told), flush=True)

        most, used = slots(
            database, options.calls, {**shared, "model": "slots", "max_concurrency": AT_ONCE}, mine
        )
        # The same slots, dealt out beforehand: what is missing there is this machine's, not the sharing's.
        own = {**model, "shared": False, "model": "own", "max_concurrency": AT_ONCE // PROCESSES}
        _, dealt = slots(database, options.calls, own, mine) if options.calls > 200 else (0, math.nan)
        told = {
            "limit": "max_concurrency",
            "most": most,
            "used": round(used, 3),
            "dealt out": round(dealt, 3),
        }
        print(json.dumps(told), flush=True)
    return 0 if kept and most <= AT_ONCE else 1


if __name__ == "__main__":
    sys.exit(main())

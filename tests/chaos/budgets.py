"""Random histories of one shared budget: four processes spend it at once, some are killed, others go on.

    python -m tests.chaos.budgets --histories 1000 --seed 1 [--postgres]

Each process runs threads of a small graph under the same budget until that ends, or is killed and followed by
another one that goes on with its threads. A server of its own counts what it answered, also to those who were
dead by then: that is never more than the limit. What the limit left unused is counted too.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stepgraph import Ask, Budget, Session, arun, chain, step, using
from stepgraph.providers.backends.backend import Backend
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.prices import Price
from stepgraph.state.errors import ThreadBusy
from stepgraph.state.journal import budget_holds, reservations
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.money import PICOS, dollars

FORK = multiprocessing.get_context("fork")
PROCESSES = 4
SCOPE = "team:chaos"
PROMPT_TOKENS, MOST_TOKENS = 10, 40
PRICE = Price(input=1000, output=3000)  # dollars per million tokens, so that sums are not round
SILENT_S = 60  # after which a worker hangs, if none of them has asked anything


class Served(asyncio.Protocol):
    """One connection to the server; each line asks for one answer, and says how soon it may come."""

    calls = tokens = picos = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for line in data.splitlines():
            asked = json.loads(line)
            if asked is None:
                self._send({"calls": Served.calls, "tokens": Served.tokens, "picos": Served.picos})
                continue
            output = random.randint(1, MOST_TOKENS)
            Served.calls += 1
            Served.tokens += PROMPT_TOKENS + output
            Served.picos += PICOS * (1000 * PROMPT_TOKENS + 3000 * output) // 1_000_000
            asyncio.get_running_loop().call_later(asked, self._send, output)

    def _send(self, value: object) -> None:
        if not self._transport.is_closing():
            self._transport.write(json.dumps(value).encode() + b"\n")


def serve(address: str, ready: Connection) -> None:
    """Be the server, until the parent ends."""

    async def main() -> None:
        await asyncio.get_running_loop().create_unix_server(Served, address)
        ready.send(None)
        with suppress(EOFError):
            await asyncio.to_thread(ready.recv)

    asyncio.run(main())


async def ask_server(address: str, question: object) -> Any:
    reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        return json.loads(await reader.readline())
    finally:
        writer.close()


class Remote(Backend):
    """A model whose answers are counted where they are made."""

    name = "remote"
    price = PRICE

    def __init__(self, address: str, slowest_s: float) -> None:
        self._server, self._slowest_s = address, slowest_s

    async def count_tokens(self, request: Request) -> int | None:
        return PROMPT_TOKENS

    async def complete(self, request: Request, context: CallContext) -> Reply:
        output = await ask_server(self._server, random.uniform(0, self._slowest_s))
        return Reply("ok", self.name, usage=Usage(PROMPT_TOKENS, output), finish_reason="stop")


@dataclass
class Work:
    number: int = 0
    first: str = ""
    second: str = ""


@step("first")
def first(work: Work) -> Ask[str]:
    return Ask(f"first {work.number}", max_tokens=MOST_TOKENS)


@step("second")
def second(work: Work) -> Ask[str]:
    return Ask(f"second {work.number}", max_tokens=MOST_TOKENS)


GRAPH = chain(first, second, name="spend").compile()


@dataclass(frozen=True)
class History:
    """What happens in one history: who may spend how much, and how."""

    budget: Budget
    at_once: int
    slowest_s: float
    kills: int

    @classmethod
    def random(cls, luck: random.Random) -> History:
        calls = luck.randint(60, 240)
        usual = PROMPT_TOKENS + MOST_TOKENS / 2
        limits: dict[str, Any] = {
            "calls": {"calls": calls},
            "tokens": {"tokens": int(calls * usual)},
            "usd": {"usd": round(calls * (1000 * PROMPT_TOKENS + 1500 * MOST_TOKENS) / 1e6, 2)},
        }
        resource = luck.choice(sorted(limits))
        per = luck.choice([None, "month"])
        budget = Budget(**limits[resource], scope=SCOPE, per=per)
        return cls(budget, luck.randint(1, 8), luck.choice([0.0, 0.003, 0.02]), luck.randint(0, 3))


# What a dead process had set aside counts as spent soon, so that nobody waits for it for long.
budget_holds.LIFETIME_S = reservations.LIFETIME_S = 1.0
reservations.RENEW_S = 0.25


def live(database: str, number: int, history: History, address: str) -> None:
    """Be one process: spend until the budget ends."""

    faulthandler.register(signal.SIGUSR1)

    async def main() -> None:
        async with Session(database) as session:
            with using(Remote(address, history.slowest_s)):
                ended = False
                numbers = iter(range(10_000))

                async def spend() -> None:
                    nonlocal ended
                    while not ended:
                        thread = f"{number}-{next(numbers)}"
                        try:
                            result = await arun(GRAPH, Work(number), session, thread, budget=history.budget)
                        except ThreadBusy:  # the claim of the one before, who was killed, has not ended yet
                            continue
                        ended = ended or result.status == "partial"

                await asyncio.gather(*(spend() for _ in range(history.at_once)))

    try:
        asyncio.run(main())
    except BaseException:
        print(f"worker {number}: {traceback.format_exc()}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


@dataclass
class Tally:
    """What was counted over some histories; the last three must stay zero."""

    histories: int = 0
    kills: int = 0
    calls: int = 0
    limit: float = 0.0
    used: float = 0.0  # as the server counted, both in limits
    overspent: int = 0
    uncounted: int = 0  # the account has less than the server made
    failed: int = 0
    least_used: float = field(default=1.0)

    def __iadd__(self, other: Tally) -> Tally:
        least = min(self.least_used, other.least_used)
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.least_used = least
        return self

    @property
    def faults(self) -> int:
        return self.overspent + self.uncounted + self.failed


def run(history: History, database: str, address: str, luck: random.Random) -> Tally:
    """Run one history, and compare the server's count with the limit and with the account."""
    before = asyncio.run(ask_server(address, None))
    tally = Tally(histories=1)
    workers = {n: _start(database, n, history, address) for n in range(PROCESSES)}
    for _ in range(history.kills):
        time.sleep(luck.uniform(0, 0.4))
        number = luck.randrange(PROCESSES)
        if workers[number].is_alive():
            os.kill(workers[number].pid or 0, signal.SIGKILL)
            workers[number].join()
            tally.kills += 1
            workers[number] = _start(database, number, history, address)
    for number, worker in workers.items():
        _join(worker, address)
        if worker.is_alive():
            print(f"worker {number} of {database} hangs:", file=sys.stderr, flush=True)
            os.kill(worker.pid or 0, signal.SIGUSR1)
            time.sleep(1)
            worker.kill()
            worker.join()
        if worker.exitcode != 0:
            print(f"worker {number} of {database} ended by {worker.exitcode}", file=sys.stderr, flush=True)
            tally.failed += 1
    after = asyncio.run(ask_server(address, None))
    made = {name: after[name] - before[name] for name in after}
    made["usd"] = dollars(made["picos"])
    with Session(database) as session:
        (account,) = accounts(session.journal)
    ((name, limit),) = account.limits.items()
    counted = account.spent[name] + account.reserved[name] + account.unsettled[name]
    tally.calls, tally.limit, tally.used = made["calls"], 1.0, made[name] / limit
    tally.least_used = tally.used
    tally.overspent += made[name] > limit
    tally.uncounted += round(counted - made[name], 12) < 0
    return tally


def _join(worker: Any, address: str) -> None:
    """Wait for a worker as long as any of them asks something."""
    seen, heard_at = None, time.monotonic()
    while worker.is_alive() and time.monotonic() < heard_at + SILENT_S:
        worker.join(1)
        made = asyncio.run(ask_server(address, None))
        if made != seen:
            seen, heard_at = made, time.monotonic()


def _start(database: str, number: int, history: History, address: str) -> Any:
    worker = FORK.Process(target=live, args=(database, number, history, address))
    worker.start()
    return worker


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the server beside, and give its address."""
    address = str(folder / "server")
    mine, theirs = FORK.Pipe()
    server = FORK.Process(target=serve, args=(address, theirs), daemon=True)
    server.start()
    mine.recv()
    try:
        yield address
    finally:
        server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="Share the budgets in Postgres.")
    options = parser.parse_args()
    luck, tally = random.Random(options.seed), Tally()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(serving(folder))
        server: Any = None
        if options.postgres:
            from cluster.postgres import PostgresServer
            from cluster.processes import own_folder

            server = PostgresServer(own_folder())
            server.start()
            stack.callback(server.stop, "immediate")
        for number in range(options.histories):
            database = server.lend() if server else str(folder / f"{number}.sqlite")
            tally += run(History.random(luck), database, address, luck)
            if server:
                server.take_back(database)
            if (number + 1) % 50 == 0 or number + 1 == options.histories:
                print(
                    f"{tally.histories} histories, {tally.kills} kills, {tally.calls} calls: OVERSPENT "
                    f"{tally.overspent}, UNCOUNTED {tally.uncounted}, FAILED {tally.failed}; used of the "
                    f"limits {tally.used / tally.limit:.1%}, at least {tally.least_used:.1%}",
                    flush=True,
                )
    return 1 if tally.faults or tally.used / tally.limit < 0.95 else 0


if __name__ == "__main__":
    sys.exit(main())

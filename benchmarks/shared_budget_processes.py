"""Calls a second of eight processes on Postgres: without a budget, with one each, with one that all share.

    python -m benchmarks.shared_budget_processes

Each process has four threads at once, whose calls come one after another; the model is in the process and
answers at once. So it is a question of who waits for whom: the database writes each commit to the disk, and
what one process holds locked meanwhile, no other one can change. Contenders take turns within each round.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import time
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, TypedDict

from cluster.postgres import PostgresServer
from cluster.processes import own_folder
from stepgraph import Ask, Budget, Session, step
from stepgraph.testing import ScriptedModel

PROCESSES, AT_ONCE, CALLS, ROUNDS = 8, 4, 25, 9
NONE, OWN, SHARED = "no budget", "a budget of each process", "a budget that all share"
ENDLESS = 10**12


class State(TypedDict, total=False):
    number: int
    ask: str


@step("ask", model=ScriptedModel(lambda *_: "Switch the lamp off and on again, then write to us."))
def ask(state: State) -> Ask[str]:
    return Ask(f"Ticket {state['number']}: the lamp does not turn on.")


def budget_of(contender: str, number: int) -> Budget | None:
    if contender == NONE:
        return None
    scope = "all" if contender == SHARED else f"process:{number}"
    return Budget(calls=ENDLESS, scope=scope, per="day")


def worker(place: str, number: int, pipe: Connection) -> None:
    """Make calls under the budget that is named, each time that one is."""

    async def calls(session: Session, contender: str) -> None:
        config = session.config(budget=budget_of(contender, number))
        for at in range(CALLS):
            await ask.answer({"number": at}, config)

    async def work() -> None:
        with Session(place) as session:
            for contender in (NONE, OWN, SHARED):
                await calls(session, contender)
            gc.freeze()
            pipe.send(None)
            while (contender := await asyncio.to_thread(pipe.recv)) is not None:
                await asyncio.gather(*(calls(session, contender) for _ in range(AT_ONCE)))
                pipe.send(None)

    asyncio.run(work())


def main() -> None:
    server = PostgresServer(own_folder(), quick=False)
    server.start()
    url = server.lend()
    spawning = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for number in range(PROCESSES):
        mine, theirs = spawning.Pipe()
        workers.append(spawning.Process(target=worker, args=(url, number, theirs)))
        workers[-1].start()
        mine.recv()
        pipes.append(mine)
    per_s: dict[str, list[float]] = {NONE: [], OWN: [], SHARED: []}
    for _ in range(ROUNDS):
        for contender, figures in per_s.items():
            began = time.perf_counter()
            _at_once(pipes, contender)
            figures.append(PROCESSES * AT_ONCE * CALLS / (time.perf_counter() - began))
    for pipe in pipes:
        pipe.send(None)
    for each in workers:
        each.join()
    server.stop()
    print(f"{PROCESSES} processes, {AT_ONCE} threads each; calls a second, medians of {ROUNDS} rounds")
    for contender, figures in per_s.items():
        ratio = median(one / none for one, none in zip(figures, per_s[NONE], strict=True))
        spread = f"{min(figures):.0f} - {max(figures):.0f}"
        print(f"{contender:26} {median(figures):6.0f} ({spread:>11})  {ratio:4.2f} x no budget")


def _at_once(pipes: list[Any], contender: str) -> None:
    for pipe in pipes:
        pipe.send(contender)
    for pipe in pipes:
        pipe.recv()


if __name__ == "__main__":
    main()

"""What a run costs more on Temporal than without it: CPU of the worker, and what Temporal keeps of the run.

    python -m benchmarks.temporal_engine [--postgres]

A worker takes runs of 3 calls, and one of 200 side by side, from Temporal's development server, which is
started for it on loopback; in turns with it the same graphs run by `arun`. Each has a process of its own,
whose CPU counts; that of the server and of the client that submits does not. The model is in the process and
answers at once. The record is a file for each of the two, or a database in a Postgres that is started, too.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from cluster.postgres import PostgresServer
from cluster.processes import own_folder
from cluster.temporal import TemporalServer
from stepgraph import Ask, Session, arun, asubmit, chain, fan_out, step, using, worker
from stepgraph.runners.engines.temporal_client import Address
from stepgraph.runners.loading import Loaded
from stepgraph.testing import ScriptedModel

ROUNDS, RUNS, WIDTH = 9, 20, 200
SHORT, WIDE = "3 calls", f"{WIDTH} calls"


@dataclass
class Piece:
    number: int = 0
    said: str = ""


@dataclass
class Book:
    first: str = ""
    second: str = ""
    third: str = ""
    pieces: list[Piece] = field(default_factory=list)


@step("first")
def first(_: Book) -> Ask[str]:
    return Ask("The lamp does not turn on.")


@step("second")
def second(book: Book) -> Ask[str]:
    return Ask(f"Make it friendlier: {book.first}")


@step("third")
def third(book: Book) -> Ask[str]:
    return Ask(f"Make it shorter: {book.second}")


@step("said")
def say(piece: Piece) -> Ask[str]:
    return Ask(f"Piece {piece.number}")


def cut(_: Book) -> list[Piece]:
    return [Piece(number) for number in range(WIDTH)]


GRAPHS = {
    SHORT: chain(first, second, third, name="short").compile(),
    WIDE: fan_out(cut, say, into="pieces", max_items=WIDTH, name="wide").compile(),
}
AFTER_S = 0.5  # what a run leaves to do after its result is known counts, too
# Which graph, how many runs of it a round, and how many of them at a time.
LOADS = ((SHORT, RUNS, RUNS), (SHORT, RUNS, 1), (WIDE, 5, 1))
MODEL = ScriptedModel(lambda *_: "Switch the lamp off and on again, then write to us.")


def serve(on: str, database: str, pipe: Connection) -> None:
    """Serve the graphs on Temporal, and say when they are served."""
    served = {name: Loaded(graph, name) for name, graph in GRAPHS.items()}
    worker(served, db=database, on=on, models=MODEL, ready=lambda: pipe.send(True), at_once=RUNS)


async def repeat(make: Callable[[], Awaitable[Any]], times: int, at_once: int) -> list[Any]:
    """Await so many of what is made, so many at a time, and return their results."""
    results: list[Any] = []
    while len(results) < times:
        results += await asyncio.gather(*(make() for _ in range(at_once)))
    return results


async def runner(database: str, pipe: Connection) -> None:
    """Make the runs that are asked for."""
    with using(MODEL), Session(database) as session:
        pipe.send(True)
        while (asked := await asyncio.to_thread(pipe.recv)) is not None:
            name, runs, at_once = asked
            await repeat(partial(arun, GRAPHS[name], Book(), session), runs, at_once)
            pipe.send(True)


def run(database: str, pipe: Connection) -> None:
    asyncio.run(runner(database, pipe))


def cpu_ms(process: Any) -> float:
    """Return the milliseconds of CPU that a process has taken: by Linux' clock of it, which counts in ns."""
    return 1000 * time.clock_gettime((~process.pid << 3) | 2)


async def history(on: str, thread: str) -> tuple[int, int]:
    """Return how many events Temporal keeps of a run, and how many bytes they are."""
    address = Address.read(on)
    handle = (await address.client()).get_workflow_handle(f"{address.queue}/{thread}")
    sizes = [event.ByteSize() async for event in handle.fetch_history_events()]
    return len(sizes), sum(sizes)


async def submit(name: str, on: str, database: str) -> str:
    """Hand a run to the worker, and return its thread once it has ended."""
    handed = await asubmit(name, {}, db=database, on=on, thread_id=secrets.token_hex(6))
    await handed.aresult(300)
    return handed.thread_id


async def measure(on: str, without: str, database: str) -> None:
    """Measure runs on Temporal, with their record in a database, beside runs without, in one of their own."""
    spawning = multiprocessing.get_context("spawn")
    own_pipe, theirs = spawning.Pipe()
    own = spawning.Process(target=run, args=(without, theirs), daemon=True)
    worker_pipe, its = spawning.Pipe()
    temporal = spawning.Process(target=serve, args=(on, database, its), daemon=True)
    for process, pipe in ((own, own_pipe), (temporal, worker_pipe)):
        process.start()
        await asyncio.to_thread(pipe.recv)
    print(f"CPU in ms a run, medians of {ROUNDS} rounds; what Temporal keeps of the last one")
    for name, runs, at_once in LOADS:
        times: dict[str, list[float]] = {"own": [], "temporal": []}
        for round_ in range(ROUNDS + 1):
            before = cpu_ms(own)
            own_pipe.send((name, runs, at_once))
            await asyncio.to_thread(own_pipe.recv)
            await asyncio.sleep(AFTER_S)
            mine = (cpu_ms(own) - before) / runs
            before = cpu_ms(temporal)
            threads = await repeat(partial(submit, name, on, database), runs, at_once)
            await asyncio.sleep(AFTER_S)
            theirs_ms = (cpu_ms(temporal) - before) / runs
            if round_:  # the first one does not count
                times["own"].append(mine)
                times["temporal"].append(theirs_ms)
        one, other = median(times["own"]), median(times["temporal"])
        events, size = await history(on, threads[-1])
        print(
            f"{name:10} {at_once:2} at once: without {one:7.1f}  on Temporal {other:7.1f}: "
            f"{other - one:+6.1f}, "
            f"{other / one:4.2f} x; {events} events, {size} bytes",
            flush=True,
        )
    own_pipe.send(None)
    temporal.terminate()
    temporal.join()


def main() -> None:
    folder = own_folder()
    server = TemporalServer(folder)
    postgres = PostgresServer(folder) if "--postgres" in sys.argv else None
    server.start()
    try:
        on = f"temporal://{server.address}?queue={secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory() as files:
            databases = [str(Path(files) / f"{name}.sqlite") for name in ("own", "temporal")]
            if postgres is not None:
                postgres.start()
                databases = [postgres.create(name) for name in ("own", "temporal")]
            print(f"The record is in {'a file' if postgres is None else 'Postgres'}.")
            asyncio.run(measure(on, *databases))
    finally:
        server.stop()
        if postgres is not None:
            postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

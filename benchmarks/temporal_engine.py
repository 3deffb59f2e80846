"""What a run costs more on Temporal than without it: CPU of the worker, and what Temporal keeps of the run.

    python -m benchmarks.temporal_engine [--postgres]

A worker takes runs of 3 calls, and one of 200 side by side, from Temporal's development server, which is
started for it on loopback; in turns with it the same graphs run by `arun`. Each has a process of its own,
whose CPU counts; that of the server and of the client that submits does not. The model is in the process and
answers at once. The record is a file for each of the two, or a database in a Postgres that is started, too.

`arun` begins its runs at the same moment, so that they share commits, which the server's, given one after
another, hardly do; so it also begins them at the worker's pace. The bare workflow is one of temporalio alone,
with one activity that does nothing: what no worker on Temporal can go below.
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
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

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


async def paced(make: Callable[[], Awaitable[Any]], times: int, every_s: float) -> None:
    """Await so many of what is made, of which one begins every so many seconds."""

    async def after(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await make()

    await asyncio.gather(*(after(number * every_s) for number in range(times)))


async def runner(database: str, pipe: Connection) -> None:
    """Make the runs that are asked for."""
    with using(MODEL), Session(database) as session:
        pipe.send(True)
        while (asked := await asyncio.to_thread(pipe.recv)) is not None:
            name, runs, at_once, every_s = asked
            make = partial(arun, GRAPHS[name], Book(), session)
            await (repeat(make, runs, at_once) if every_s is None else paced(make, runs, every_s))
            pipe.send(True)


@activity.defn(name="nothing")
async def nothing(thread: str) -> dict[str, str]:
    return {"thread": thread}


@workflow.defn(name="bare")
class Bare:
    """The least that a run on Temporal can be."""

    @workflow.run
    async def run(self, thread: str) -> dict[str, str]:
        done: dict[str, str] = await workflow.execute_activity(
            nothing, thread, start_to_close_timeout=timedelta(minutes=1)
        )
        return done


async def serve_bare(on: str, pipe: Connection) -> None:
    address = Address.read(on)
    worker = Worker(
        await address.client(),
        task_queue=f"{address.queue}-bare",
        workflows=[Bare],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    pipe.send(True)
    await worker.run()


def bare(on: str, pipe: Connection) -> None:
    asyncio.run(serve_bare(on, pipe))


async def submit_bare(on: str) -> None:
    address, thread = Address.read(on), secrets.token_hex(6)
    await (await address.client()).execute_workflow(
        Bare.run, thread, id=f"bare/{thread}", task_queue=f"{address.queue}-bare"
    )


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


class Measured:
    """A process, and the CPU in ms that each of its runs took, in each round."""

    def __init__(self, target: Callable[..., None], *arguments: str) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawning.Pipe()
        self.process = spawning.Process(target=target, args=(*arguments, theirs), daemon=True)
        self.process.start()
        self.pipe.recv()

    async def ask(self, *asked: Any) -> None:
        self.pipe.send(asked)
        await asyncio.to_thread(self.pipe.recv)

    async def ms_a_run(self, runs: int, work: Awaitable[Any]) -> float:
        before = cpu_ms(self.process)
        await work
        await asyncio.sleep(AFTER_S)
        return (cpu_ms(self.process) - before) / runs


async def measure(on: str, without: str, database: str) -> None:
    """Measure runs on Temporal, with their record in a database, beside runs without, in one of their own."""
    own, temporal, empty = Measured(run, without), Measured(serve, on, database), Measured(bare, on)
    print(f"CPU in ms a run, medians of {ROUNDS} rounds; what Temporal keeps of the last one")
    threads: list[str] = []

    async def handed(name: str, runs: int, at_once: int) -> None:
        threads[:] = await repeat(partial(submit, name, on, database), runs, at_once)

    for name, runs, at_once in LOADS:
        times: dict[str, list[float]] = {"own": [], "paced": [], "bare": [], "temporal": []}
        for round_ in range(ROUNDS + 1):
            mine = await own.ms_a_run(runs, own.ask(name, runs, at_once, None))
            began = time.monotonic()
            theirs = await temporal.ms_a_run(runs, handed(name, runs, at_once))
            every_s = (time.monotonic() - began - AFTER_S) / runs
            at_its_pace = await own.ms_a_run(runs, own.ask(name, runs, at_once, every_s))
            least = await empty.ms_a_run(runs, repeat(partial(submit_bare, on), runs, at_once))
            if round_:  # the first one does not count
                for what, ms in zip(times, (mine, at_its_pace, least, theirs), strict=True):
                    times[what].append(ms)
        one, paced_, least, other = (median(each) for each in times.values())
        events, size = await history(on, threads[-1])
        print(
            f"{name:10} {at_once:2} at once: without {one:7.1f}  on Temporal {other:7.1f}: "
            f"{other - one:+6.1f}, {other / one:4.2f} x; "
            f"without, at its pace {paced_:7.1f}: {other - paced_:+6.1f}; "
            f"a bare workflow {least:5.1f}; {events} events, {size} bytes",
            flush=True,
        )
    own.pipe.send(None)
    for each in (temporal, empty):
        each.process.terminate()
        each.process.join()


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

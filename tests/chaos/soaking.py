"""Several processes on one SQLite file, and a lock that somebody else holds."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stepgraph import Session, chain, using

from .living import Server, forked, received
from .scenarios import Scenario, Work, equal_at_once, improve, one_by_one, plan

PROCESSES = 4
WORKERS = 3  # threads in each process
MAX_RUNS = 5_000  # of each worker


def soak(server: Server, file: Path, seconds: float) -> list[str]:
    """Let the processes run short workflows for so long, and return what went wrong."""
    model = server.model("soak", "burst", Scenario(Work, cap=32))
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(forked(_soak, number, file, model, seconds))[1] for number in range(PROCESSES)
        ]
        reports = [received(pipe) for pipe in pipes]
    errors = [error for _, failed in reports for error in failed]
    done = sum(finished for finished, _ in reports)
    asked = server.asked("soak").total()
    with closing(sqlite3.connect(file)) as connection:
        (runs,) = connection.execute("SELECT count(*) FROM runs WHERE status = 'done'").fetchone()
        (rows,) = connection.execute(ANSWERED).fetchone()
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
    shares = " + ".join(str(finished) for finished, _ in reports)
    print(
        f"soak: {PROCESSES} processes x {WORKERS} threads, {seconds:g} s: {done} runs ({shares}), "
        f"{runs} on record, {asked} calls asked, {rows} on record, {len(errors)} errors, integrity {whole}",
        flush=True,
    )
    faults = [f"soak: {error}" for error in errors[:3]]
    if not (done == runs and asked == rows and whole == "ok" and all(number for number, _ in reports)):
        faults.append("soak: the counts differ")
    return faults


ANSWERED = "SELECT count(*) FROM calls WHERE status = 'answered' AND source = 'model'"


def _soak(pipe: Connection, number: int, file: Path, model: dict[str, Any], seconds: float) -> None:
    done: list[str] = []
    errors: list[str] = []
    deadline = time.monotonic() + seconds
    with Session(file) as session:

        def work(worker: int) -> None:
            with using(model):
                try:
                    done.extend(_runs(session, f"{number}-{worker}", deadline, sync=worker == 0))
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}")

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    pipe.send((len(done), errors))


def _runs(session: Session, name: str, deadline: float, *, sync: bool) -> Iterator[str]:
    app = chain(plan, one_by_one, chain(equal_at_once, improve)).compile()
    for number in range(MAX_RUNS):
        if time.monotonic() > deadline:
            return
        thread = f"{name}-{number}"
        config = session.config(thread)
        values = app.invoke(Work(), config) if sync else asyncio.run(app.ainvoke(Work(), config))
        assert len(values["notes"]) == 20
        yield thread


def wait_out_lock(server: Server, file: Path, seconds: float) -> list[str]:
    """Run workflows while another process holds the file's write lock, and return what went wrong."""
    Session(file).close()
    model = server.model("lock", "spread", Scenario(Work, cap=32))
    with forked(_hold, file, seconds) as (_, holder), forked(_run_locked, file, model) as (_, runner):
        assert received(runner) == "ready"
        assert received(holder) == "held"
        runner.send("go")
        took, stalled, error = received(runner)
    asked = server.asked("lock").total()
    with closing(sqlite3.connect(file)) as connection:
        (rows,) = connection.execute(ANSWERED).fetchone()
    print(
        f"lock held for {seconds:g} s: 10 runs waited it out in {took:.1f} s, {asked} calls asked, {rows} on "
        f"record; the event loop stood still for {stalled:.1f} s at most; error: {error}",
        flush=True,
    )
    faults = [] if error is None else [f"lock: {error}"]
    if asked != rows or took < seconds * 0.9:
        faults.append("lock: the counts differ, or nobody waited")
    return faults


def _hold(pipe: Connection, file: Path, seconds: float) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        pipe.send("held")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def _run_locked(pipe: Connection, file: Path, model: dict[str, Any]) -> None:
    app = chain(plan, one_by_one, equal_at_once, improve).compile()
    stalls = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            stalls.append(time.monotonic() - before)

    async def run() -> None:
        with Session(file) as session, using(model):
            configs = [session.config() for _ in range(10)]
            pipe.send("ready")
            assert pipe.recv() == "go"
            watcher = asyncio.create_task(watch())
            await asyncio.gather(*(app.ainvoke(Work(), config) for config in configs))
            watcher.cancel()

    started = time.monotonic()
    error = None
    try:
        asyncio.run(run())
    except Exception as failed:
        error = f"{type(failed).__name__}: {failed}"
    pipe.send((time.monotonic() - started, max(stalls), error))

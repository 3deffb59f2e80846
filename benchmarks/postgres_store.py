"""Runs of three calls each, kept in a file, in Postgres, behind PgBouncer, and by LangGraph's own saver.

    python -m benchmarks.postgres_store

First 200 runs at once in one process, then 100 at once in each of four processes. The model is in the process
and answers at once, so what is measured is the client, and Postgres. The servers are started for it, on
loopback; they write to the disk as they do in earnest. Contenders take turns within each round, so trust the
ratios, not the milliseconds.

LangGraph's AsyncPostgresSaver takes part where it is installed (`pip install langgraph-checkpoint-postgres
psycopg-pool`): plain LangGraph with the same three nodes. In one run of it they ask a LangChain model in the
process, so that it does what ours does (and keeps no answers, costs, budgets or claims); in the other one
they return a constant, so that it is the checkpointer alone.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from cluster.processes import own_folder
from stepgraph import Ask, Session, chain, step
from stepgraph.testing import ScriptedModel

AT_ONCE, CALLS, ROUNDS = 200, 3, 7
PROCESSES, AT_ONCE_EACH = 4, 100
POOL = 8
FILE, POSTGRES, BOUNCED = "SQLite", "Postgres", "Postgres through PgBouncer"
SAVER, CONSTANT = "AsyncPostgresSaver", "AsyncPostgresSaver, no model"
ANSWER = "Switch the lamp off and on again, then write to us."


class State(TypedDict, total=False):
    first: str
    second: str
    third: str


MODEL = ScriptedModel(lambda *_: ANSWER)


@step("first", model=MODEL)
def first(_: State) -> Ask[str]:
    return Ask("The lamp does not turn on.")


@step("second", model=MODEL)
def second(state: State) -> Ask[str]:
    return Ask(f"Make it friendlier: {state['first']}")


@step("third", model=MODEL)
def third(state: State) -> Ask[str]:
    return Ask(f"Make it shorter: {state['second']}")


class Chat(BaseChatModel):
    """A LangChain model in the process that answers at once."""

    @property
    def _llm_type(self) -> str:
        return "constant"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return self._generate(messages)


APP = chain(first, second, third).compile()
Runs = Callable[[int], Awaitable[None]]


def plain(asks: bool) -> StateGraph[Any, Any, Any, Any]:
    """Return the same graph as LangGraph has it, whose nodes ask a model, or return a constant."""
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    before = START
    prompts = {
        "first": lambda _: "The lamp does not turn on.",
        "second": lambda state: f"Make it friendlier: {state['first']}",
        "third": lambda state: f"Make it shorter: {state['second']}",
    }
    for name, prompt in prompts.items():
        graph.add_node(name, _asking(name, prompt) if asks else _answering(name))
        graph.add_edge(before, name)
        before = name
    return graph


def _asking(name: str, prompt: Callable[[State], str]) -> Any:
    model = Chat()

    async def asked(state: State) -> dict[str, Any]:
        return {name: (await model.ainvoke(prompt(state))).content}

    return asked


def _answering(name: str) -> Any:
    async def answered(_: State) -> dict[str, str]:
        return {name: ANSWER}

    return answered


@asynccontextmanager
async def opened(name: str, place: str) -> AsyncIterator[Runs]:
    """Yield what makes so many runs at once."""
    if name not in (SAVER, CONSTANT):
        with Session(place) as session:

            async def runs(number: int) -> None:
                await asyncio.gather(*(APP.ainvoke({}, session.config()) for _ in range(number)))

            yield runs
        return
    from psycopg.rows import dict_row

    AsyncPostgresSaver = import_module("langgraph.checkpoint.postgres.aio").AsyncPostgresSaver  # noqa: N806
    Pool = import_module("psycopg_pool").AsyncConnectionPool  # noqa: N806
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with Pool(place, min_size=POOL, max_size=POOL, kwargs=options, open=False) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        app: Any = plain(name == SAVER).compile(checkpointer=saver)

        async def saved(number: int) -> None:
            configs = ({"configurable": {"thread_id": secrets.token_hex(8)}} for _ in range(number))
            await asyncio.gather(*(app.ainvoke({}, config) for config in configs))

        yield saved


def cpu_below(pid: int) -> float:
    """Return the CPU seconds of a process's children, those that ended included."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue
        fields = rest.split()
        if int(fields[1]) == pid:
            total += int(fields[11]) + int(fields[12])
        if int(name.split(" ", 1)[0]) == pid:
            total += int(fields[13]) + int(fields[14])
    return total / tick


Figures = dict[str, float]


async def one_process(places: dict[str, str], pid: int) -> dict[str, list[Figures]]:
    """Return, for each call, the milliseconds of CPU here and in the server; and the calls in a second."""
    figures: dict[str, list[Figures]] = {name: [] for name in places}
    async with AsyncExitStack() as stack:
        contenders = {
            name: await stack.enter_async_context(opened(name, place)) for name, place in places.items()
        }
        for round_ in range(ROUNDS + 1):
            for name, runs in contenders.items():
                gc.collect()  # nobody pays for what another one left
                server, client, wall = cpu_below(pid), time.process_time(), time.perf_counter()
                await runs(AT_ONCE)
                number = AT_ONCE * CALLS
                values = {
                    "client": 1000 * (time.process_time() - client) / number,
                    "calls/s": number / (time.perf_counter() - wall),
                    "server": 1000 * (cpu_below(pid) - server) / number,
                }
                if round_:  # the first one does not count
                    figures[name].append(values)
            gc.freeze()  # as a worker does: what is imported is nobody's work
    return figures


def worker(name: str, place: str, pipe: Connection) -> None:
    """Make runs each time that it is told to, and say how much CPU they took."""

    async def work() -> None:
        async with opened(name, place) as runs:
            await runs(5)
            gc.freeze()
            pipe.send(0.0)
            while await asyncio.to_thread(pipe.recv):
                began = time.process_time()
                await runs(AT_ONCE_EACH)
                pipe.send(time.process_time() - began)

    asyncio.run(work())


def four_processes(places: dict[str, str], pid: int) -> dict[str, list[Figures]]:
    """Return the same of four processes at a time."""
    spawning = multiprocessing.get_context("spawn")
    figures: dict[str, list[Figures]] = {name: [] for name in places}
    pipes: dict[str, list[Any]] = {}
    workers = []
    for name, place in places.items():
        pairs = [spawning.Pipe() for _ in range(PROCESSES)]
        pipes[name] = [mine for mine, _ in pairs]
        for own, theirs in pairs:
            workers.append(spawning.Process(target=worker, args=(name, place, theirs)))
            workers[-1].start()
            own.recv()
    for _ in range(ROUNDS):
        for name, mine in pipes.items():
            server, wall = cpu_below(pid), time.perf_counter()
            for pipe in mine:
                pipe.send(True)
            client = sum(pipe.recv() for pipe in mine)
            number = PROCESSES * AT_ONCE_EACH * CALLS
            values = {
                "client": 1000 * client / number,
                "calls/s": number / (time.perf_counter() - wall),
                "server": 1000 * (cpu_below(pid) - server) / number,
            }
            figures[name].append(values)
    for pipe in (pipe for mine in pipes.values() for pipe in mine):
        pipe.send(False)
    for each in workers:
        each.join()
    return figures


def table(title: str, figures: dict[str, list[Figures]]) -> str:
    medians = {
        name: {kind: median(each[kind] for each in rows) for kind in rows[0]}
        for name, rows in figures.items()
    }
    lines = [f"{title}, medians of {ROUNDS} rounds; CPU in ms per call"]
    base = medians[FILE]
    for name, row in medians.items():
        lines.append(
            f"{name:29} client {row['client']:5.2f} ({row['client'] / base['client']:4.2f} x SQLite)  "
            f"Postgres {row['server']:5.2f}  {row['calls/s']:6.0f} calls/s "
            f"({row['calls/s'] / base['calls/s']:4.2f} x SQLite)"
        )
    if BOUNCED in medians:
        bounced = medians[BOUNCED]["client"] / medians[POSTGRES]["client"]
        lines.append(f"PgBouncer / Postgres, client: {bounced:.2f}")
    for saver in (SAVER, CONSTANT):
        if saver in medians:
            faster = medians[POSTGRES]["calls/s"] / medians[saver]["calls/s"]
            less = sum(medians[saver][kind] for kind in ("client", "server")) / sum(
                medians[POSTGRES][kind] for kind in ("client", "server")
            )
            lines.append(
                f"Postgres / {saver}: {faster:.1f} times the calls/s; 1/{less:.1f} of the CPU of both"
            )
    return "\n".join(lines)


def main() -> None:
    folder = own_folder()
    server = PostgresServer(folder, quick=False)
    server.start()
    bouncer = PgBouncer(server)
    bouncer.start()
    url = server.lend()
    pid = int((folder / "postgres" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    savers = (SAVER, CONSTANT) if find_spec("langgraph.checkpoint.postgres") else ()
    stock = {name: server.lend() for name in savers}
    with tempfile.TemporaryDirectory() as files:
        places = {FILE: str(Path(files, "one.sqlite")), POSTGRES: url}
        bounced = {BOUNCED: f"{bouncer.url(url)}?schema=bounced"}
        alone = asyncio.run(one_process({**places, **bounced, **stock}, pid))
        print(table(f"{AT_ONCE} runs of {CALLS} calls at once", alone), flush=True)
        places = {FILE: str(Path(files, "four.sqlite")), POSTGRES: f"{url}?schema=four"}
        four = four_processes({**places, **stock}, pid)
        print()
        print(table(f"{PROCESSES} processes, {AT_ONCE_EACH} runs of {CALLS} calls at once each", four))
    bouncer.stop()
    server.stop()


if __name__ == "__main__":
    main()

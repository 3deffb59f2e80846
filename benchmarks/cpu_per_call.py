"""CPU time per model call, beside plain LangGraph and the bare openai client. See the README here.

Each contender runs in a process of its own, which imports only what it needs. The processes stay for all
rounds and take turns within each, so that what else the machine does hits all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, TypedDict

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

HERE = Path(__file__).parent
CHAIN, FAN_OUT = 10, 200
# How often each shape runs in one round, after one run that does not count.
REPEATS = {"chain": 20, "fan-out": 3}
CALLS = {"chain": CHAIN, "fan-out": FAN_OUT}

PROMPT = "Answer the customer in two sentences, politely, and name the next step. " * 6

Run = Callable[[], Awaitable[object]]
Shapes = dict[str, Run]


class State(TypedDict):
    number: int
    text: Annotated[str, operator.add]


def prompt_for(number: int) -> str:
    return f"{PROMPT}\nTicket number {number}: the lamp does not turn on."


@asynccontextmanager
async def bare_openai(url: str, _: Path) -> AsyncIterator[Shapes]:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none")

    async def ask(number: int) -> str:
        message = {"role": "user", "content": prompt_for(number)}
        create: Any = client.chat.completions.create
        completion = await create(model="stub", messages=[message])
        return str(completion.choices[0].message.content)

    async def chain() -> str:
        return "".join([await ask(number) for number in range(CHAIN)])

    async def fan_out() -> str:
        return "".join(await asyncio.gather(*map(ask, range(FAN_OUT))))

    yield {"chain": chain, "fan-out": fan_out}


def chained(nodes: Sequence[Any]) -> Any:
    from langgraph.graph import START, StateGraph

    graph: Any = StateGraph(State)
    names = [f"call_{number}" for number in range(len(nodes))]
    for name, before, node in zip(names, [START, *names], nodes, strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph


def fanned(node: Any) -> Any:
    from langgraph.graph import START, StateGraph
    from langgraph.types import Send

    def split(_: State) -> list[Any]:
        return [Send("branch", {"number": number}) for number in range(FAN_OUT)]

    graph: Any = StateGraph(State)
    graph.add_node("branch", node)
    graph.add_conditional_edges(START, split, ["branch"])
    return graph


def shapes_of(chain: Any, fan_out: Any, config: Callable[[], RunnableConfig | None]) -> Shapes:
    start: State = {"number": 0, "text": ""}
    return {
        "chain": lambda: chain.ainvoke(start, config()),
        "fan-out": lambda: fan_out.ainvoke(start, config()),
    }


def new_thread() -> RunnableConfig:
    return {"configurable": {"thread_id": os.urandom(8).hex()}}


def chat_node(url: str) -> Any:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    chat = ChatOpenAI(model="stub", base_url=url, api_key=SecretStr("none"))

    async def ask(state: State) -> dict[str, str]:
        message = await chat.ainvoke(prompt_for(state["number"]))
        return {"text": str(message.text)}

    return ask


@asynccontextmanager
async def langgraph(url: str, _: Path) -> AsyncIterator[Shapes]:
    node = chat_node(url)
    yield shapes_of(chained([node] * CHAIN).compile(), fanned(node).compile(), lambda: None)


@asynccontextmanager
async def langgraph_sqlite(url: str, folder: Path) -> AsyncIterator[Shapes]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    node = chat_node(url)
    async with AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        chain, fan_out = chained([node] * CHAIN), fanned(node)
        yield shapes_of(chain.compile(checkpointer=saver), fan_out.compile(checkpointer=saver), new_thread)


@asynccontextmanager
async def stepgraph_plain(url: str, _: Path) -> AsyncIterator[Shapes]:
    from stepgraph import Ask, chain, step, using

    @step("text")
    def ask(state: State) -> Ask[str]:
        return Ask(prompt_for(state["number"]))

    with using({"model": "stub", "base_url": url, "max_concurrency": FAN_OUT}):
        yield shapes_of(chain(*[ask] * CHAIN).compile(), fanned(ask).compile(), lambda: None)


@asynccontextmanager
async def stepgraph_session(url: str, folder: Path) -> AsyncIterator[Shapes]:
    from stepgraph import Ask, Session, chain, step, using

    @step("text")
    def ask(state: State) -> Ask[str]:
        return Ask(prompt_for(state["number"]))

    with (
        using({"model": "stub", "base_url": url, "max_concurrency": FAN_OUT}),
        Session(folder / "session.sqlite") as session,
    ):
        yield shapes_of(chain(*[ask] * CHAIN).compile(), fanned(ask).compile(), session.config)


CONTENDERS: dict[str, Callable[[str, Path], AbstractAsyncContextManager[Shapes]]] = {
    "asyncio + openai client": bare_openai,
    "LangGraph + ChatOpenAI": langgraph,
    "LangGraph + ChatOpenAI + AsyncSqliteSaver": langgraph_sqlite,
    "stepgraph": stepgraph_plain,
    "stepgraph + Session (journal, checkpoints)": stepgraph_session,
}
OURS = [name for name in CONTENDERS if name.startswith("stepgraph")]


async def measured(run: Run, repeats: int, calls: int) -> float:
    """Return the CPU milliseconds per call, those of all threads of this process."""
    await run()
    start = time.process_time()
    for _ in range(repeats):
        await run()
    return (time.process_time() - start) * 1e3 / (repeats * calls)


async def work(name: str, url: str) -> None:
    """Be one contender: for each line that comes in, run one round and print its times as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        async with CONTENDERS[name](url, Path(folder)) as shapes:
            while sys.stdin.readline():
                times = {s: await measured(run, REPEATS[s], CALLS[s]) for s, run in shapes.items()}
                print(json.dumps(times), flush=True)


def start(*command: str | Path) -> tuple[IO[str], IO[str]]:
    """Start a Python process and return its standard input and output."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def ask_for_round(to_worker: IO[str], from_worker: IO[str]) -> dict[str, float]:
    print("go", file=to_worker, flush=True)
    line = from_worker.readline()
    if not line:
        raise SystemExit("A contender failed; its error is above.")
    times: dict[str, float] = json.loads(line)
    return times


def table(times: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians, and in the last two columns what stepgraph costs relative to each row."""
    lines = []
    for shape, calls in CALLS.items():
        columns = {name: [found[shape] for found in rounds] for name, rounds in times.items()}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        title = f"{shape} of {calls}: CPU ms per call"
        lines += ["", f"{title:45} {'median':>7} {'min - max':>13} {'ours':>6} {'+ Session':>10}"]
        for name, values in columns.items():
            ratios = [f"{medians[ours] / medians[name]:.2f}" for ours in OURS]
            spread = f"{min(values):.2f} - {max(values):.2f}"
            lines.append(f"  {name:43} {medians[name]:7.2f} {spread:>13} {ratios[0]:>6} {ratios[1]:>10}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two rounds, to see that it works")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(*options.worker))
        return
    server, port = start(HERE / "stub_server.py")
    url = f"http://127.0.0.1:{port.readline().strip()}/v1"
    workers = {name: start(__file__, "--worker", name, url) for name in CONTENDERS}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for number in range(2 if options.quick else options.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        for name, worker in workers.items():
            times[name].append(ask_for_round(*worker))
    print(table(times))
    for to_worker, _ in [*workers.values(), (server, port)]:
        to_worker.close()


if __name__ == "__main__":
    main()

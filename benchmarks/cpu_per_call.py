"""CPU time per model call, beside plain LangGraph and the bare openai client. See the README here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from .contenders import (
    AT_ONCE,
    Graphs,
    langgraph,
    langgraph_sqlite,
    prompt_for,
    stepgraph_plain,
    stepgraph_session,
    with_graphs,
)
from .processes import Contender, Medians, Rounds, compare, table_of

CALLS = {"chain": 10, "fan-out": AT_ONCE}
# How often each shape runs in one round, after one run that does not count.
REPEATS = {"chain": 20, "fan-out": 3}
OURS, OURS_KEPT = "stepgraph", "stepgraph + Session (journal, checkpoints)"

Run = Callable[[], Awaitable[object]]
Shapes = dict[str, Run]


def shapes(ask: Callable[[int], Awaitable[str]]) -> Shapes:
    """Return both shapes of a function that asks the model without a graph."""

    async def chain() -> str:
        return "".join([await ask(number) for number in range(CALLS["chain"])])

    async def fan_out() -> str:
        return "".join(await asyncio.gather(*map(ask, range(CALLS["fan-out"]))))

    return {"chain": chain, "fan-out": fan_out}


def graph_shapes(graphs: Graphs) -> Shapes:
    apps = {"chain": graphs.chain(CALLS["chain"]), "fan-out": graphs.fan_out(CALLS["fan-out"])}

    def run_of(app: Any) -> Run:
        return lambda: app.ainvoke({"number": 0, "text": ""}, graphs.config())

    return {shape: run_of(app) for shape, app in apps.items()}


def openai_shapes(client: Any) -> Shapes:
    async def ask(number: int) -> str:
        message = {"role": "user", "content": prompt_for(number)}
        completion = await client.chat.completions.create(model="stub", messages=[message])
        return str(completion.choices[0].message.content)

    return shapes(ask)


@asynccontextmanager
async def bare_openai(url: str, _: Path) -> AsyncIterator[Shapes]:
    from openai import AsyncOpenAI

    yield openai_shapes(AsyncOpenAI(base_url=url, api_key="none"))


CONTENDERS: dict[str, Contender[Shapes]] = {
    "asyncio + openai client": bare_openai,
    "LangGraph + ChatOpenAI": with_graphs(langgraph, graph_shapes),
    "LangGraph + ChatOpenAI + AsyncSqliteSaver": with_graphs(langgraph_sqlite, graph_shapes),
    OURS: with_graphs(stepgraph_plain, graph_shapes),
    OURS_KEPT: with_graphs(stepgraph_session, graph_shapes),
}


async def measured(shapes: Shapes) -> dict[str, float]:
    """Return the CPU milliseconds per call of each shape, those of all threads of this process."""
    figures = {}
    for shape, run in shapes.items():
        await run()
        start = time.process_time()
        for _ in range(REPEATS[shape]):
            await run()
        figures[shape] = (time.process_time() - start) * 1e3 / (REPEATS[shape] * CALLS[shape])
    return figures


def table(times: Rounds, ours: dict[str, str]) -> str:
    """Return the medians, and in the last columns what the contenders of ours cost relative to each row."""

    def relative(to: str) -> Callable[[Medians, str], float]:
        return lambda medians, name: medians[to] / medians[name]

    titles = {shape: f"{shape} of {calls}: CPU ms per call" for shape, calls in CALLS.items()}
    return table_of(times, titles, {heading: relative(name) for heading, name in ours.items()})


def main() -> None:
    columns = {"ours": OURS, "+ Session": OURS_KEPT}
    compare("benchmarks.cpu_per_call", __doc__, CONTENDERS, measured, lambda times: table(times, columns))


if __name__ == "__main__":
    main()

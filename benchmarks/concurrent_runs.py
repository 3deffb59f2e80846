"""200 concurrent runs of three calls each: wall-clock and CPU, with and without persistence.

    python -m benchmarks.concurrent_runs

As in cpu_per_call.py, each contender is a process of its own, and they take turns within each round. The
endpoint answers at once, so what is measured is everything but the model.
"""

from __future__ import annotations

import asyncio
import time

from .contenders import (
    AT_ONCE,
    Graphs,
    langgraph,
    langgraph_sqlite,
    stepgraph_plain,
    stepgraph_session,
    with_graphs,
)
from .cpu_per_call import Run
from .processes import Rounds, compare, table_of

CALLS = 3
REPEATS = 2  # in each round, after one that does not count


def at_once(graphs: Graphs) -> Run:
    app, start = graphs.chain(CALLS), {"number": 0, "text": ""}
    return lambda: asyncio.gather(*(app.ainvoke(start, graphs.config()) for _ in range(AT_ONCE)))


PLAIN, OURS = "LangGraph + ChatOpenAI", "stepgraph"
CONTENDERS = {
    PLAIN: with_graphs(langgraph, at_once),
    "LangGraph + ChatOpenAI + AsyncSqliteSaver": with_graphs(langgraph_sqlite, at_once),
    OURS: with_graphs(stepgraph_plain, at_once),
    "stepgraph + Session": with_graphs(stepgraph_session, at_once),
}


async def measured(run: Run) -> dict[str, float]:
    """Return the seconds that the runs take, by the wall's clock and of the CPU."""
    await run()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(REPEATS):
        await run()
    return {
        "wall": (time.perf_counter() - wall) / REPEATS,
        "CPU": (time.process_time() - cpu) / REPEATS,
    }


def table(times: Rounds) -> str:
    """Return the medians, and each as a multiple of the two that keep nothing."""
    titles = {kind: f"{AT_ONCE} runs of {CALLS} calls at once: {kind}, s" for kind in ("wall", "CPU")}
    ratios = {
        "x LangGraph": lambda medians, name: medians[name] / medians[PLAIN],
        "x stepgraph": lambda medians, name: medians[name] / medians[OURS],
    }
    return table_of(times, titles, ratios)


def main() -> None:
    compare("benchmarks.concurrent_runs", __doc__, CONTENDERS, measured, table)


if __name__ == "__main__":
    main()

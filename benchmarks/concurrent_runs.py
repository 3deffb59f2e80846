"""200 concurrent runs of three calls each: wall-clock and CPU, with and without persistence.

    python -m benchmarks.concurrent_runs

As in cpu_per_call.py, each contender is a process of its own, and they take turns within each round. The
endpoint answers at once, so what is measured is everything but the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cpu_per_call import HERE, Run, State, ask_for_round, chained, chat_node, new_thread, prompt_for, start

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

RUNS, CALLS = 200, 3
REPEATS = 2  # in each round, after one that does not count


def at_once(app: Any, config: Callable[[], RunnableConfig | None]) -> Run:
    given: State = {"number": 0, "text": ""}
    return lambda: asyncio.gather(*(app.ainvoke(given, config()) for _ in range(RUNS)))


@asynccontextmanager
async def langgraph(url: str, _: Path) -> AsyncIterator[Run]:
    yield at_once(chained([chat_node(url)] * CALLS).compile(), lambda: None)


@asynccontextmanager
async def langgraph_sqlite(url: str, folder: Path) -> AsyncIterator[Run]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        yield at_once(chained([chat_node(url)] * CALLS).compile(checkpointer=saver), new_thread)


@asynccontextmanager
async def stepgraph_plain(url: str, _: Path) -> AsyncIterator[Run]:
    from stepgraph import using

    with using({"model": "stub", "base_url": url, "max_concurrency": RUNS}):
        yield at_once(three_steps(), lambda: None)


@asynccontextmanager
async def stepgraph_session(url: str, folder: Path) -> AsyncIterator[Run]:
    from stepgraph import Session, using

    spec = {"model": "stub", "base_url": url, "max_concurrency": RUNS}
    with using(spec), Session(folder / "session.sqlite") as session:
        yield at_once(three_steps(), session.config)


def three_steps() -> Any:
    from stepgraph import Ask, chain, step

    @step("text")
    def ask(state: State) -> Ask[str]:
        return Ask(prompt_for(state["number"]))

    return chain(*[ask] * CALLS).compile()


PLAIN, OURS, OURS_PLAIN = "LangGraph + ChatOpenAI", "stepgraph + Session", "stepgraph"
CONTENDERS: dict[str, Callable[[str, Path], AbstractAsyncContextManager[Run]]] = {
    PLAIN: langgraph,
    "LangGraph + ChatOpenAI + AsyncSqliteSaver": langgraph_sqlite,
    OURS_PLAIN: stepgraph_plain,
    OURS: stepgraph_session,
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


async def work(name: str, url: str) -> None:
    """Be one contender: for each line that comes in, run one round and print its times as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        async with CONTENDERS[name](url, Path(folder)) as run:
            while sys.stdin.readline():
                print(json.dumps(await measured(run)), flush=True)


def table(times: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians, and each as a multiple of the two that keep nothing."""
    lines = []
    for kind in ("wall", "CPU"):
        columns = {name: [found[kind] for found in rounds] for name, rounds in times.items()}
        medians = {name: statistics.median(values) for name, values in columns.items()}
        title = f"{RUNS} runs of {CALLS} calls at once: {kind}, s"
        lines += ["", f"{title:45} {'median':>7} {'min - max':>13} {'x LangGraph':>12} {'x stepgraph':>12}"]
        for name, values in columns.items():
            spread = f"{min(values):.2f} - {max(values):.2f}"
            ratios = "".join(f" {medians[name] / medians[none]:12.2f}" for none in (PLAIN, OURS_PLAIN))
            lines.append(f"  {name:43} {medians[name]:7.2f} {spread:>13}{ratios}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="two rounds, to see that it works")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(*options.worker))
        return
    server, port = start(HERE / "stub_server.py")
    url = f"http://127.0.0.1:{port.readline().strip()}/v1"
    workers = {name: start("-m", "benchmarks.concurrent_runs", "--worker", name, url) for name in CONTENDERS}
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

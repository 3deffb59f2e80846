"""How much of the ideal a fan-out reaches: N calls of 200 ms at once, sync and async.

    python -m benchmarks.fan_out

The endpoint is a process of its own that answers each call after 200 ms, so that N calls at once ideally take
200 ms, and with at most 8 of them at a time ceil(N / 8) x 200 ms. Efficiency is the ideal over what the whole
run took. Plain LangGraph runs the same steps as Sends, as its documentation shows, with a shared ChatOpenAI.
"""

from __future__ import annotations

import asyncio
import math
import operator
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepgraph import Ask, Session, chain, fan_out, step, using

from .processes import options_of, stub_server

LATENCY_S = 0.2
WIDTHS = (8, 32, 200)
CAP = 8


@dataclass
class Page:
    number: int
    note: str = ""


@dataclass
class Book:
    length: int
    pages: list[Page] = field(default_factory=list)


def split(book: Book) -> list[Page]:
    return [Page(number) for number in range(book.length)]


@step("note")
def read(page: Page) -> Ask[str]:
    return Ask(f"Note on page {page.number}")


class Plain(TypedDict):
    length: int
    notes: Annotated[list[str], operator.add]


def langgraph(url: str) -> Any:
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send
    from pydantic import SecretStr

    model = ChatOpenAI(model="stub", base_url=url, api_key=SecretStr("none"))

    async def aread(page: Any) -> Any:
        answer = await model.ainvoke(f"Note on page {page['number']}")
        return {"notes": [answer.text]}

    def read_sync(page: Any) -> Any:
        return {"notes": [model.invoke(f"Note on page {page['number']}").text]}

    from langchain_core.runnables import RunnableLambda

    graph: Any = StateGraph(Plain)
    graph.add_node("read", RunnableLambda(read_sync, aread))
    graph.add_conditional_edges(
        START, lambda state: [Send("read", {"number": n}) for n in range(state["length"])], ["read"]
    )
    graph.add_edge("read", END)
    return graph.compile()


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def contenders(url: str, width: int, folder: Path) -> dict[str, tuple[float, Callable[[], Any]]]:
    """Return, for each contender, its ideal time in seconds and a function that runs it once."""
    plain, ours = langgraph(url), fan_out(split, read, into="pages").compile()
    nested = fan_out(split, chain(read), into="pages").compile()
    book, start = Book(width), {"length": width, "notes": []}
    stack = ExitStack()
    session = stack.enter_context(Session(folder / f"{width}.sqlite"))
    capped = math.ceil(width / CAP) * LATENCY_S

    def sync(
        app: Any, state: Any, *, cap: int = width, keep: bool = False, on_loop: bool = False
    ) -> Callable[[], Any]:
        def run() -> None:
            config = session.config() if keep else None
            with using({"model": "stub", "base_url": url, "max_concurrency": cap}):
                if on_loop:
                    loop.run_until_complete(app.ainvoke(state, config))
                else:
                    app.invoke(state, config)

        return run

    async_ = partial(sync, on_loop=True)

    return {
        "LangGraph, async": (LATENCY_S, async_(plain, start)),
        "LangGraph, sync": (LATENCY_S, sync(plain, start)),
        "fan_out, async": (LATENCY_S, async_(ours, book)),
        "fan_out, sync": (LATENCY_S, sync(ours, book)),
        "fan_out, async, session": (LATENCY_S, async_(ours, book, keep=True)),
        "fan_out, sync, session": (LATENCY_S, sync(ours, book, keep=True)),
        "fan_out of chains, async": (LATENCY_S, async_(nested, book)),
        f"fan_out, async, at most {CAP} at once": (capped, async_(ours, book, cap=CAP)),
        f"fan_out, sync, at most {CAP} at once": (capped, sync(ours, book, cap=CAP)),
    }


loop = asyncio.new_event_loop()


def main() -> None:
    options = options_of(__doc__).parse_args()
    rows: dict[str, list[str]] = {}
    with stub_server(LATENCY_S) as url, tempfile.TemporaryDirectory() as folder:
        for width in WIDTHS:
            runs = contenders(url, width, Path(folder))
            times: dict[str, list[float]] = {name: [] for name in runs}
            for number in range(1 + options.rounds):
                print(f"N = {width}, round {number}", file=sys.stderr)
                for name, (_, run) in runs.items():
                    seconds = timed(run)
                    if number:  # the first warms up
                        times[name].append(seconds)
            for name, (ideal, _) in runs.items():
                rows.setdefault(name, []).append(f"{ideal / statistics.median(times[name]):>9.0%}")
    print(f"{'efficiency: ideal / median':40}" + "".join(f"{f'N = {width}':>9}" for width in WIDTHS))
    for name, cells in rows.items():
        print(f"{name:40}" + "".join(cells))


if __name__ == "__main__":
    main()

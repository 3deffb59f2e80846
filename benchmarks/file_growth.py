"""How much the file grows with 200 appends to a list of 100 kB: plain list fields and delta fields.

    python -m benchmarks.file_growth [--appends 200] [--kilobytes 100]

Each append is a superstep that adds 100 characters. Prints the bytes that each checkpointer wrote and
their ratio to what changed in the state.
"""

from __future__ import annotations

import argparse
import operator
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from stepgraph import Session

APPENDED = "x" * 100


def extend(old: list[str], new: Sequence[list[str]]) -> list[str]:
    return [*old, *(line for lines in new for line in lines)]


class Plain(TypedDict):
    lines: Annotated[list[str], operator.add]
    left: int


class Delta(TypedDict):
    lines: Annotated[list[str], DeltaChannel(extend)]
    left: int


def graph_of(state: type[Any]) -> Any:
    builder = StateGraph(state)
    builder.add_node("append", lambda state: {"lines": [APPENDED], "left": state["left"] - 1})
    builder.add_edge(START, "append")
    builder.add_conditional_edges("append", lambda state: "append" if state["left"] else END)
    return builder


@contextmanager
def langgraph_saver(path: Path) -> Iterator[tuple[Any, Any]]:
    connection = sqlite3.connect(path, check_same_thread=False)
    yield SqliteSaver(connection), {"configurable": {"thread_id": "1"}}
    connection.close()


@contextmanager
def session_of(path: Path) -> Iterator[tuple[Any, Any]]:
    with Session(path) as session:
        yield None, session.config("1")


def grown(keeper: Any, state: type[Any], folder: Path, appends: int, start: list[str]) -> tuple[int, float]:
    """Return the bytes that the appends added to the file, and the seconds that they took."""
    path = folder / f"{keeper.__name__}-{state.__name__}.sqlite"
    with keeper(path) as (checkpointer, config):
        app = graph_of(state).compile(checkpointer=checkpointer)
        config["recursion_limit"] = appends + 10
        began = time.perf_counter()
        result = app.invoke({"lines": start, "left": appends}, config)
        seconds = time.perf_counter() - began
        assert len(result["lines"]) == len(start) + appends
        assert app.get_state(config).values["lines"] == result["lines"]
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size, seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--appends", type=int, default=200)
    options.add_argument("--kilobytes", type=int, default=100)
    arguments = options.parse_args()
    start = [APPENDED] * (arguments.kilobytes * 10)
    changed = arguments.kilobytes * 1000 + arguments.appends * len(APPENDED)
    print(
        f"{arguments.appends} appends of 100 B to a list of {arguments.kilobytes} kB: {changed:,} B of state"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, keeper in (("SqliteSaver", langgraph_saver), ("stepgraph", session_of)):
            for state in (Plain, Delta):
                size, seconds = grown(keeper, state, Path(folder), arguments.appends, start)
                ratio = size / changed
                print(f"{name:<12} {state.__name__:<6} {size:>12,} B  {ratio:>6.1f} x  {seconds:5.2f} s")


if __name__ == "__main__":
    main()

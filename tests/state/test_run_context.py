from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from stepgraph import Budget, Session
from stepgraph.state.budget import Ledger
from stepgraph.state.run_context import RunContext, checkpoint_at, for_reading, with_draw, with_ledgers

ROOT = Path(__file__).parents[2]


class Post(TypedDict, total=False):
    topic: str


def strings(outside: str) -> Iterator[tuple[Path, str]]:
    """Yield every string constant of the package, except in one folder and outside the package."""
    for path in ROOT.rglob("*.py"):
        top = path.relative_to(ROOT).parts[0]
        if top in (outside, "tests", "benchmarks", "examples") or top.startswith((".", "build", "dist")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path.relative_to(ROOT), node.value


def test_nobody_outside_state_looks_into_a_config() -> None:
    assert [path for path, text in strings("state") if text == "configurable"] == []


def test_private_prefixes_are_written_once() -> None:
    places = {path for path, text in strings("") if text in ("stepgraph_", "__stepgraph_")}
    assert places == {Path("state/names.py"), Path("ui/guarding.py")}  # there it is a cookie's name
    assert {path for path, text in strings("") if text.startswith("__stepgraph_")} == {Path("state/names.py")}


async def test_a_node_finds_the_run_it_belongs_to(session: Session) -> None:
    seen: list[RunContext] = []

    async def look(post: Post, config: RunnableConfig) -> dict[str, Any]:
        seen.append(RunContext.of(config))
        return {}

    look.__annotations__["config"] = RunnableConfig
    inner = StateGraph(Post)
    inner.add_node("look", look)
    inner.add_edge(START, "look")
    outer = StateGraph(Post)
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "inner")
    await outer.compile().ainvoke({}, session.config("t", budget=Budget(calls=1), cache_s=5.0))
    (run,) = seen
    assert (run.session, run.thread_id, run.path) == (session, "t", "inner/look")
    assert run.task.startswith("inner:")
    assert ([ledger.budget for ledger in run.ledgers], run.cache_s, run.draw) == ([Budget(calls=1)], 5.0, ())
    assert (run.checkpointer, run.attempt) == (session.checkpointer, 1)
    assert run.execution is not None
    place = RunContext.of(run.outer_checkpoint())
    assert (place.thread_id, place.path) == ("t", "inner")
    assert session.checkpointer.get_tuple(run.outer_checkpoint()) is not None


@pytest.mark.parametrize("config", [None, {}, {"configurable": {}}])
def test_outside_of_a_run_everything_is_empty(config: RunnableConfig | None) -> None:
    run = RunContext.of(config)
    assert (run.session, run.thread_id, run.task, run.path, run.checkpoint_id) == (None, "", "", "", "")
    assert (run.checkpointer, run.ledgers, run.cache_s, run.draw, run.execution) == (None, (), None, (), None)
    assert run.attempt == 1


def test_a_config_is_changed_in_a_copy(session: Session) -> None:
    config, ledger = session.config("t"), Ledger(Budget(calls=2))
    changed = with_draw(with_draw(with_ledgers(config, ledger), 3), 4)
    run = RunContext.of(changed)
    assert (run.ledgers, run.draw, run.session) == ((ledger,), (3, 4), session)
    assert changed.get("callbacks") is config.get("callbacks")
    assert (RunContext.of(config).ledgers, RunContext.of(config).draw) == ((), ())
    assert list(for_reading(changed)) == ["configurable"]


def test_the_place_of_a_checkpoint() -> None:
    assert checkpoint_at("t") == {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    assert checkpoint_at("t", None) == {"configurable": {"thread_id": "t"}}
    assert RunContext.of(checkpoint_at("t", "a:1", "c")).checkpoint_id == "c"

"""A thread that begins in a run here is known from its beginning; any other one is looked up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from stepgraph import Ask, Session, arun, chain, fan_out, step
from stepgraph.errors import ThreadBusy
from stepgraph.state.journal.records import Description
from stepgraph.testing import ScriptedModel
from stepgraph.tracing import fork


@dataclass
class State:
    text: str = ""
    answer: str = ""
    items: list[Any] = field(default_factory=list)


class Life:
    """What was asked, and how often a node dies after it was answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.deaths = 0

    def graph(self, pattern: str = "chain") -> Any:
        def answered(request: Any, _: int) -> str:
            self.asked.append(request.messages[-1]["content"])
            return f"answer {len(self.asked)}"

        @step("answer", model=ScriptedModel(answered))
        def ask(state: State) -> Ask[str]:
            return Ask(f"Question {state.text}")

        async def node(state: State) -> dict[str, Any]:
            first, second = await asyncio.gather(ask.answer(state), ask.answer(state))
            if self.deaths:
                self.deaths -= 1
                raise OSError("died")
            return {"answer": f"{first}, {second}"}

        def split(_: State) -> list[State]:
            return [State("a"), State("b")]

        patterns: dict[str, Callable[[], Any]] = {
            "node": lambda: node,
            "chain": lambda: chain(node),
            "nested": lambda: chain(chain(node)),
            "fan_out": lambda: fan_out(split, node, into="items"),
        }
        made = patterns[pattern]()
        return made if made is node else made.compile()


async def invoke(session: Session, app: Any, input: Any = None, thread: str = "t") -> Any:
    return await app.ainvoke(input or State("x"), session.config(thread))


async def untouched(session: Session, app: Any) -> str:
    return "t"


async def queued(session: Session, app: Any) -> str:
    session.journal.queue_run("t", Description("g.py:g", {}, {}))
    return "t"


async def ended(session: Session, app: Any) -> str:
    await invoke(session, app)
    return "t"


async def forked(session: Session, app: Any) -> str:
    await invoke(session, app)
    return await asyncio.to_thread(fork, session, "t", new_thread="u")


async def updated(session: Session, app: Any) -> str:
    await app.aupdate_state(session.config("t"), {"text": "y"})
    return "t"


@pytest.mark.parametrize("begin", [untouched, queued, ended, forked, updated])
async def test_a_claim_tells_whether_a_thread_is_new(
    tmp_path: Path, begin: Callable[[Session, Any], Awaitable[str]]
) -> None:
    with Session(tmp_path / "runs.sqlite") as session:
        thread = await begin(session, Life().graph())
        assert await session.claims.aacquire(thread) == (begin in (untouched, queued))
        session.claims.release(thread)


async def test_nothing_is_paid_twice_by_a_node_that_is_tried_again(tmp_path: Path) -> None:
    life = Life()
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False, retry_on=OSError)
    graph = StateGraph(State).add_node("node", life.graph("node"), retry_policy=policy)
    app = graph.add_edge(START, "node").compile()
    life.deaths = 2
    with Session(tmp_path / "runs.sqlite") as session:
        found = await invoke(session, app)
        assert found["answer"] == "answer 1, answer 2"
        (row,) = session.journal.query("SELECT sum(replays) AS n FROM calls")
        assert (len(life.asked), row["n"]) == (2, 4)


@pytest.mark.parametrize("pattern", ["chain", "nested", "fan_out"])
async def test_nothing_is_paid_twice_by_a_run_that_goes_on(tmp_path: Path, pattern: str) -> None:
    life = Life()
    app, given = life.graph(pattern), State("x")
    life.deaths = 1
    with Session(tmp_path / "runs.sqlite") as session:
        with pytest.raises(OSError, match="died"):
            await invoke(session, app, given)
        asked = list(life.asked)
        await invoke(session, app, given)
        assert len(life.asked) - len(asked) in (0, 2)  # what a sibling that was called off had not asked
        assert "t" not in session.journal.new_threads


async def test_runs_that_begin_together_read_nothing_but_whether_they_are_new(tmp_path: Path) -> None:
    reads: list[str] = []
    with Session(tmp_path / "runs.sqlite") as session:
        store = session.journal.store
        for name in ("query", "rows", "aquery", "arows"):
            asked = getattr(store, name)

            def seen(sql: str, *values: Any, asked: Any = asked) -> Any:
                reads.append(sql)
                return asked(sql, *values)

            for owner in (store, session.journal):
                setattr(owner, name, seen)
        app = Life().graph("nested")
        configs = [session.config() for _ in range(5)]
        await asyncio.gather(*(app.ainvoke(State("x"), config) for config in configs))
    looks = [sql for sql in reads if "claims" not in sql]
    assert len(looks) == 0, looks


async def test_of_two_that_claim_a_thread_at_once_one_is_refused(tmp_path: Path) -> None:
    with Session(tmp_path / "runs.sqlite") as session:
        found = await asyncio.gather(
            session.claims.aacquire("t"),
            session.claims.aacquire("t"),
            session.claims.aacquire("u"),
            return_exceptions=True,
        )
        assert sorted(map(str, (isinstance(each, ThreadBusy) for each in found))) == [
            "False",
            "False",
            "True",
        ]
        assert found[2] is True


async def test_a_thread_whose_name_is_new_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    with Session(tmp_path / "runs.sqlite") as session:
        is_touched = session.journal.is_touched

        async def looking(thread: str) -> bool:
            looked.append(thread)
            return await is_touched(thread)

        monkeypatch.setattr(session.journal, "is_touched", looking)
        result = await arun(Life().graph(), State("x"), session)
        assert looked == []
        await arun(Life().graph(), {"text": "y"}, session, result.thread_id)
        assert looked == [result.thread_id]

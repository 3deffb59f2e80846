"""Checkpoints that somebody else kept and lost: what was paid for since is not paid for again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from operator import add
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from stepgraph import Ask, ScriptedModel, Session, chain, refine, rule, section, step, using
from stepgraph.state.session.default import default_sessions

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}


@dataclass
class Draft:
    text: str = ""
    other: str = ""
    grade: str = ""
    log: Annotated[list[str], add] = field(default_factory=list)


@step("text")
def write(draft: Draft) -> Ask[str]:
    return Ask("Write.")  # the same in every round: each is a sample of its own


@step("other")
def title(draft: Draft) -> Ask[str]:
    return Ask("A title?")


def keep(draft: Draft) -> dict[str, Any]:
    return {"log": [draft.text, draft.other]}


@rule("grade")
def grade(draft: Draft) -> str:
    return "good" if len(draft.log) > 5 else "bad"


class Break:
    """A node that fails until it is mended."""

    mended = False

    def node(self, draft: Draft) -> dict[str, Any]:
        if not self.mended:
            raise RuntimeError("broken")
        return {}


def loop() -> Any:
    return refine(chain(write, keep), grade, until=lambda said: said == "good", rounds=3)


def by_hand(last: Any) -> Any:
    graph: Any = StateGraph(Draft)
    names = {
        "one": write,
        "keep": keep,
        "two": write,
        "inner": chain(chain(title), keep).compile(),
        "last": last,
    }
    for name, node in names.items():
        graph.add_node(name, node)
    for one, other in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(one, other)
    return graph


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda last: chain(write, keep, title, keep, last),
    "nested": lambda last: chain(write, chain(chain(write, keep), title), keep, last),
    "loop": lambda last: chain(loop(), title, last),
    "branches": lambda last: chain(section({"a": chain(write, keep), "b": chain(title, keep)}), write, last),
    "by hand": by_hand,
}


def without_tail(saver: InMemorySaver, last: str, *, writes: bool) -> InMemorySaver:
    """Return a saver that has nothing after a checkpoint, nor, without `writes`, what was put to that."""
    short = InMemorySaver()
    short.blobs = deepcopy(saver.blobs)
    for thread, namespaces in saver.storage.items():
        for namespace, checkpoints in namespaces.items():
            for name, checkpoint in checkpoints.items():
                if name <= last:
                    short.storage[thread][namespace][name] = checkpoint
    for place, kept in saver.writes.items():
        if place[2] < last or (writes and place[2] == last):
            short.writes[place] = dict(kept)
    return short


@pytest.mark.sqlite_file("a copy of the file")
@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_lost_tail_is_not_paid_for_again(
    name: str, writes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = count(1)
    model = ScriptedModel(lambda request, context: f"answer {next(numbers)}")
    saver, last = InMemorySaver(), Break()
    first = tmp_path / "first.sqlite"
    monkeypatch.setenv("STEPGRAPH_DB", str(first))
    with using(model), pytest.raises(RuntimeError):
        asyncio.run(GRAPHS[name](last.node).compile(checkpointer=saver).ainvoke(Draft(), CONFIG))
    default_sessions.close()
    asked = len(model.asks)
    last.mended = True
    places = sorted(name for kept in saver.storage["t"].values() for name in kept)
    ended = set()
    for number, place in list(enumerate(places))[writes::2]:
        short = without_tail(saver, place, writes=writes)
        if not any(True for _ in short.list(CONFIG)):
            continue
        file = tmp_path / f"{number}.sqlite"
        file.write_bytes(first.read_bytes())
        monkeypatch.setenv("STEPGRAPH_DB", str(file))
        with using(model):
            values = asyncio.run(GRAPHS[name](last.node).compile(checkpointer=short).ainvoke(None, CONFIG))
        default_sessions.close()
        assert len(model.asks) == asked, f"after checkpoint {number} of {len(places)}"
        ended.add(repr(values))
        with Session(file) as session:
            assert session.spent("t").calls == asked
    assert len(ended) == 1


def test_a_sample_that_is_in_use_is_no_lost_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    numbers, last = count(1), Break()

    def broken_first(draft: Draft) -> dict[str, Any]:
        return last.node(draft)

    app = chain(write, keep, broken_first, write, keep).compile(checkpointer=InMemorySaver())
    with using(ScriptedModel(lambda request, context: f"{next(numbers)}")):
        with pytest.raises(RuntimeError):
            app.invoke(Draft(), CONFIG)
        last.mended = True
        assert app.invoke(None, CONFIG)["log"] == ["1", "", "2", ""]
    default_sessions.close()

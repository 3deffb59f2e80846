"""What threads wait for whose checkpoints another checkpointer keeps: the record tells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from stepgraph import Session, chain, due, review, section, wait
from stepgraph.tracing import read_waiting


@dataclass
class Post:
    draft: str = "tea"
    title: str = "Tea"
    done: bool = False


@review("draft", deadline=timedelta(days=1), otherwise="approve")
def look(post: Post) -> str:
    return "Is the draft good?"


@review("title")
def look_at_title(post: Post) -> str:
    return "Is the title good?"


def publish(post: Post) -> dict[str, bool]:
    return {"done": True}


GRAPH = chain(
    section({"draft": chain(look, name="inner"), "title": look_at_title}),
    wait(until=timedelta(hours=1), name="later"),
    publish,
)


@pytest.mark.parametrize("mine", [True, False], ids=["the session's", "another's"])
def test_what_waits_is_found_whoever_keeps_the_checkpoints(
    mine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs.sqlite"
    monkeypatch.setenv("STEPGRAPH_DB", str(file))
    now = datetime.now(UTC)
    with Session(file, clock=lambda: now) as session:
        app = GRAPH.compile(checkpointer=session.checkpointer if mine else InMemorySaver())
        config: Any = {"configurable": {"thread_id": "t"}}

        def waits() -> dict[str, str]:
            return {item.id: item.name for item in read_waiting(session)}

        def until(ids: list[str]) -> None:
            """Return once another session of this process has committed which questions stand."""
            while sorted(waits()) != sorted(ids):
                time.sleep(0.01)

        result = app.invoke(Post(), config)
        until([item.id for item in result["__interrupt__"]])
        assert waits() == {
            item.id: "look" if "due" in item.value else "title" for item in result["__interrupt__"]
        }
        assert not due(session)
        now += timedelta(days=2)
        assert [(item.thread_id, item.name) for item in due(session)] == [("t", "look")]
        now -= timedelta(days=2)

        ids = [item.id for item in result["__interrupt__"]]
        result = app.invoke(Command(resume=dict.fromkeys(ids, "approve")), config)
        until([item.id for item in result["__interrupt__"]])
        assert list(waits().values()) == ["later"]
        assert app.invoke(Command(resume="now"), config)["done"]
        until([])

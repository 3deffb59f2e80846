"""Forks that cannot be made: the error says why, and nothing is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, step, using
from stepgraph.state.errors import InputError
from stepgraph.tracing.forks.fork import fork


@dataclass
class Note:
    text: str = ""
    size: int = 0


@step("text")
def write(note: Note) -> Ask[str]:
    return Ask("Write.")


def measure(note: Note) -> dict[str, int]:
    return {"size": len(note.text)}


app = chain(write, measure).compile()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"call": "write", "at": 1}, "at a checkpoint, where fields can be set, or at a call: give one"),
        ({"call": "write", "changes": {"size": 1}}, "or at a call: give one"),
        ({"answer": "so"}, "stands in for one call: name it"),
        ({"new_thread": "t"}, "The thread 't' exists already"),
        ({"changes": {"size": 1}}, r"fork needs the graph: graph="),
        ({"changes": {"syze": 1}, "graph": app}, "Note has no field 'syze' to set. Did you mean 'size'"),
        ({"changes": {"size": "x"}, "graph": app}, "size = 'x' does not fit Note: Input should be"),
        ({"changes": {"size": 1}, "graph": app, "as_node": "rite", "at": 1}, "as_node"),
        ({"at": 99}, "The thread 't' has no checkpoint '99'.*stepgraph history t"),
        ({"at": ""}, r"\d checkpoints of 't' begin with ''.*stepgraph history t"),
    ],
)
async def test_a_fork_that_cannot_be_made(session: Session, options: dict[str, Any], told: str) -> None:
    with ScriptedModel(["tea"]) as model, using(model):
        await app.ainvoke(Note(), session.config("t"))
    with pytest.raises(InputError, match=told):
        fork(session, "t", **options)
    assert session.journal.query("SELECT thread_id FROM runs") == [{"thread_id": "t"}]

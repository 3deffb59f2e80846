"""Gates, cascades and verifications on the model of this machine: no good judge, so the ways are tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field

from stepgraph import Ask, Session, cascade, chain, gate, step, using, verify

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("local")]


class Opinion(BaseModel):
    correct: bool
    why: str = Field(max_length=80)


@dataclass
class Note:
    topic: str = "a kettle"
    text: str = ""
    opinion: Opinion | None = None


@step("text", model="small")
def write(note: Note) -> Ask[str]:
    return Ask(f"Describe {note.topic} in one sentence.", temperature=0, max_tokens=40)


@step("opinion", model="judge")
def judge(note: Note) -> Ask[Opinion]:
    return Ask(f"Is this true? {note.text}", temperature=0, max_tokens=120)


def shouted(note: Note) -> bool | str:
    return note.text.isupper() or "Write in capital letters only."


def shout(note: Note) -> dict[str, str]:
    return {"text": note.text.upper()}


def run(graph: Any, session: Session) -> tuple[dict[str, Any], list[str], int]:
    with using("local"):
        result = graph.compile().invoke(Note(), session.config("t"))
    rows = session.journal.query("SELECT choice FROM decisions ORDER BY id")
    (calls,) = session.journal.query("SELECT count(*) AS n FROM calls WHERE output_tokens > 0")
    return result, [row["choice"] for row in rows], calls["n"]


def test_a_gate_asks_again_and_then_goes_elsewhere(session: Session) -> None:
    graph = chain(write, gate(shouted, repair=write, tries=1, otherwise=shout))
    result, choices, calls = run(graph, session)
    assert result["text"].isupper()
    assert choices in (["repair", "otherwise"], ["repair", "passed"])
    assert calls == 2


def test_a_cascade_escalates(session: Session) -> None:
    result, choices, calls = run(cascade(write, write.on("large"), accept=str.isupper), session)
    assert (choices, calls) == (["otherwise"], 2)
    assert result["text"]


def test_a_verification_gets_a_typed_opinion(session: Session) -> None:
    graph = verify(write, judge, agrees=lambda opinion: opinion.correct, otherwise=shout)
    result, choices, calls = run(graph, session)
    assert isinstance(result["opinion"], Opinion)
    assert choices == ["passed" if result["opinion"].correct else "otherwise"]
    assert calls >= 2

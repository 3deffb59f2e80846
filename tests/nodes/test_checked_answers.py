"""Answers that code judges: `Ask(…, check=…)` in a step, an agent, a gate's repair, and a chain of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, ToolCall, Workflow, agent, chain, gate, step, using, vote
from stepgraph.errors import DefinitionError, InvalidAnswer


@dataclass
class Note:
    text: str = "tea"
    number: int = 0
    title: str = ""


def quoted(note: Note) -> Any:
    return lambda title: note.text in title or f"{note.text!r} is missing."


@step("title")
def name(note: Note) -> Ask[str]:
    return Ask("Name", check=quoted(note))


@step("number")
def count(note: Note) -> Ask[int]:
    return Ask("Count", check=lambda number: number > 0 or "it must be above 0.")


def look_up(word: str) -> str:
    """Look a word up."""
    return word


def long_enough(note: Note) -> bool | str:
    return len(note.title) > 5 or "too short."


CASES: dict[str, tuple[Workflow[Note], list[Any], str]] = {
    "step": (chain(name), ["milk", "tea time"], "'tea' is missing."),
    "number": (chain(count, name), [0, 3, "tea time"], "it must be above 0."),
    "agent": (agent(name, tools=[look_up]), ["milk", "tea time"], "'tea' is missing."),
    "agent's last answer": (
        agent(name, tools=[look_up], turns=1),
        [ToolCall("look_up", {"word": "tea"}), "milk", "tea time"],
        "'tea' is missing.",
    ),
    "repair": (
        chain(name, gate(long_enough, repair=name)),
        ["tea", "milk", "tea time"],
        "'tea' is missing.",
    ),
    "vote": (vote(name, 1, uncertain=""), ["milk", "tea time"], "'tea' is missing."),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_hold_is_asked_for_again(case: str, tmp_path: Path) -> None:
    graph, answers, told = CASES[case]
    with Session(tmp_path / "runs.sqlite") as session, ScriptedModel(answers) as model, using(model):
        assert graph.compile().invoke(Note(), session.config("t"))["title"] == "tea time"
        problems = session.journal.query("SELECT problem FROM calls WHERE problem IS NOT NULL")
    assert any(told in str(request.messages) for _, request in model.asks)
    assert [told in row["problem"] for row in problems] == [True]


def test_after_the_last_try_the_reason_stands_in_the_error() -> None:
    with (
        using(ScriptedModel(["milk", "cup", "pot"])),
        pytest.raises(InvalidAnswer, match=r"in 3 tries.*'tea' is"),
    ):
        chain(name).compile().invoke(Note())


def test_another_model_is_asked_where_answers_that_do_not_hold_go_on() -> None:
    first, second = ScriptedModel(["milk"]), ScriptedModel(["tea time"])
    with using({"models": [first, second], "on": ["invalid"]}):
        assert chain(name).compile().invoke(Note())["title"] == "tea time"


def test_a_resume_judges_the_answer_on_record_again(tmp_path: Path) -> None:
    def stop(note: Note) -> dict[str, str]:
        raise KeyError(note.title)

    app = chain(name, stop).compile()
    with (
        Session(tmp_path / "runs.sqlite") as session,
        ScriptedModel(["milk", "tea time"]) as model,
        using(model),
    ):
        for given in (Note(), None):
            with pytest.raises(KeyError, match="tea time"):
                app.invoke(given, session.config("t"))


def test_an_async_check_is_refused() -> None:
    async def check(title: str) -> bool:
        return bool(title)

    refused: Any = check
    with pytest.raises(DefinitionError, match="plain code"):
        Ask("Name", check=refused)

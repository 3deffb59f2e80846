"""The dialogue's logic, on the scripted model; and once on the model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stepgraph import Budget, ScriptedModel, Session, run, using
from stepgraph.graphs.ready.dialogue.graph import (
    KEPT_TOKENS,
    MAX_SUMMARY,
    MAX_TOKENS,
    Dialogue,
    graph,
    intent,
    older,
)
from stepgraph.nodes.costs import least, most
from stepgraph.state.errors import AuthenticationFailed

app = graph.compile()


def say(session: Session, text: str, thread: str = "t", **options: Any) -> Any:
    return run(app, {"text": text}, session, thread, **options)


def test_a_turn_sees_the_turns_before_it_in_another_process(tmp_path: Path) -> None:
    with ScriptedModel(["Hello Ada.", "You have a blender."]) as model, using(model):
        for text in ("My name is Ada and I have a blender.", "What do I have?"):
            with Session(tmp_path / "runs.sqlite") as session:
                result = say(session, text)
    assert result.values["reply"] == "You have a blender."
    assert [m["content"] for m in model.asks[1][1].messages[1:]] == [
        "My name is Ada and I have a blender.",
        "Hello Ada.",
        "What do I have?",
    ]


def test_threads_do_not_hear_each_other(session: Session) -> None:
    with ScriptedModel(["Hello Ada.", "I do not know."]) as model, using(model):
        say(session, "My name is Ada and I live in London.", "one")
        say(session, "Where do I live, what did I tell you?", "two")
    assert len(model.asks[1][1].messages) == 2


def test_greetings_and_goodbyes_cost_nothing(session: Session) -> None:
    with ScriptedModel([]) as model, using(model):
        assert say(session, "Hi there!").values["reply"] == "Hello! What can I do for you?"
        assert say(session, "Thanks, that is all, bye.").values["intent"] == "goodbye"
        assert say(session, "Good morning.").values["reply"].startswith("Welcome back!")


@pytest.mark.parametrize("text", ["Hello, which blender is best for ice?", "It burns the bread.", "zzz qqq"])
def test_what_is_no_clear_greeting_is_answered(session: Session, text: str) -> None:
    with ScriptedModel(["Well."]) as model, using(model):
        assert say(session, text).values["reply"] == "Well."


def test_intents_are_found() -> None:
    found = {text: intent.classify(text).label for text in ("Hey!", "see you tomorrow", "Why is that?")}
    assert found == {"Hey!": "greeting", "see you tomorrow": "goodbye", "Why is that?": "question"}


def test_old_turns_become_a_summary_and_a_prompt_never_grows(session: Session) -> None:
    def speak(request: Any, context: Any) -> str:
        return "Ada asks about numbers. " * 100 if context.step == "summarise" else "So it is. " * 30

    with ScriptedModel(speak) as model, using(model):
        for number in range(12):
            result = say(session, f"Why is it number {number}? " + "Tell me all of it. " * 20)
    words = [sum(len(str(m["content"])) for m in request.messages) for _, request in model.asks]
    assert max(words) <= 3 * MAX_TOKENS + MAX_SUMMARY + 600
    assert len(result.values["messages"]) < 12
    assert len(result.values["summary"]) == MAX_SUMMARY
    assert isinstance(result.values["messages"][0], HumanMessage)
    steps = [step for step, _ in model.asks]
    assert steps.count("answer") == 12
    assert 2 <= steps.count("summarise") <= 6
    asked = [request for step, request in model.asks if step == "summarise"]
    assert "Known so far: Ada asks about numbers." in asked[1].messages[0]["content"]
    assert "Ada asks about numbers." in model.asks[-1][1].messages[0]["content"]


def test_what_was_just_said_always_stays_and_an_answer_never_stands_first() -> None:
    long = "word " * (KEPT_TOKENS * 2)
    turns = [HumanMessage("a"), AIMessage("b"), HumanMessage(long)]
    assert older(turns) == turns[:2]
    assert older([HumanMessage(long)]) == []
    assert older([HumanMessage("a"), AIMessage(long), HumanMessage("c")])[-1].content == long


def test_a_turn_that_fails_is_gone_on_with_and_pays_nothing_twice(session: Session) -> None:
    with using(ScriptedModel(["Hello Ada."])):
        say(session, "My name is Ada and I live in London.")
    with using(ScriptedModel([AuthenticationFailed("no such key")])), pytest.raises(AuthenticationFailed):
        say(session, "Where do I live?")
    with ScriptedModel(["In London."]) as model, using(model):
        result = run(app, None, session, "t")
    assert [m.content for m in result.values["messages"]][2:] == ["Where do I live?", "In London."]


def test_a_budget_counts_for_the_thread_over_its_turns(session: Session) -> None:
    with using(ScriptedModel(["Yes."])):
        assert say(session, "Is it so, and why?", budget=Budget(calls=1)).status == "done"
        assert say(session, "Why is that so?").status == "partial"


def test_a_turn_costs_no_call_to_two() -> None:
    assert (least(graph.cost), most(graph.cost)) == (0, 2)


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine_it_speaks_over_two_turns(session: Session) -> None:
    """The model hears the turn before; whether its answer is any good is not promised."""
    with using("local"):
        say(session, "My name is Ada and I have a blender.")
        result = say(session, "What is my name?")
    assert result.values["reply"]
    assert len(result.values["messages"]) == 4
    assert session.spent("t").calls == 2
    assert app.invoke(Dialogue("Hi!"), session.config("u"))["reply"]

"""Device first: its logic, on scripted models; and once on the model on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepgraph import ScriptedModel, Session, run, using
from stepgraph.graphs.ready.device_first.graph import Question, backed, graph, kind
from stepgraph.nodes.costs import least, most
from stepgraph.runners.result import RunResult
from stepgraph.state.errors import AuthenticationFailed
from stepgraph.state.schema import parse_input

QUESTIONS = Path(__file__).parents[3] / "examples" / "questions.jsonl"
TEXT = "The meeting about the garden moves to Friday, 14:00, in room 12. Ben brings the plans."
ROOM = "In which room is the meeting?"
THINK = "Compare the two plans and say which is better."
YES: dict[str, Any] = {"correct": True, "why": ""}


def ask(
    session: Session,
    question: Question,
    device: list[Any],
    cloud: list[Any],
    judge: list[Any],
    thread: str = "t",
) -> RunResult:
    models = ScriptedModel(device), ScriptedModel(cloud), ScriptedModel(judge)
    with models[0], models[1], models[2], using(device=models[0], cloud=models[1], judge=models[2]):
        return run(graph.compile(), question, session, thread)


def test_a_plain_question_stays_on_the_device(session: Session) -> None:
    values = ask(session, Question(TEXT, ROOM), ["The meeting is in room 12."], [], []).values
    assert (values["answer"], values["answered_by"], values["status"]) == (
        "The meeting is in room 12.",
        "device",
        "answered",
    )


def test_an_answer_that_the_text_does_not_back_is_asked_of_the_cloud(session: Session) -> None:
    values = ask(session, Question(TEXT, ROOM), ["The meeting is in room 14."], ["In room 12."], []).values
    assert (values["answer"], values["answered_by"], values["status"]) == ("In room 12.", "cloud", "answered")
    rows = session.journal.query("SELECT choice, reason FROM decisions WHERE kind = 'cascade'")
    assert rows[0]["choice"] == "otherwise"
    assert rows[0]["reason"].startswith("The text does not say 14.")


def test_what_the_cloud_makes_up_is_held(session: Session) -> None:
    values = ask(session, Question(TEXT, ROOM), ["No idea."], ["In room 99."], []).values
    assert (values["status"], values["problems"]) == (
        "held",
        [
            "The text does not say 99.",
            "The text does not back the answer.",
            "It tells nothing from the text.",
        ],
    )


def test_what_asks_for_thought_goes_to_the_cloud_at_once_and_is_checked_by_another(session: Session) -> None:
    values = ask(session, Question(TEXT, THINK), [], ["There is one plan only."], [YES]).values
    assert (values["answered_by"], values["status"]) == ("cloud", "answered")


def test_a_disputed_answer_is_held_with_the_reason(session: Session) -> None:
    no = {"correct": False, "why": "There are no two plans."}
    values = ask(session, Question(TEXT, THINK), [], ["The first one."], [no]).values
    assert (values["status"], values["second"].why) == ("held", "There are no two plans.")


def test_a_private_question_never_leaves_the_device(session: Session) -> None:
    for question in (ROOM, THINK):
        asked = Question(TEXT, question, private=True)
        values = ask(session, asked, ["In room 13."], [], [], question).values
        assert (values["answered_by"], values["status"]) == ("device", "held")


def test_without_the_cloud_the_thread_waits_and_goes_on_later(session: Session) -> None:
    with pytest.raises(AuthenticationFailed):
        ask(session, Question(TEXT, ROOM), ["No idea."], [AuthenticationFailed("offline")], [])
    cloud = ScriptedModel(["In room 12."])
    with cloud, using(ScriptedModel([]), cloud=cloud):  # the device's answer is on record
        values = run(graph.compile(), None, session, "t").values
    assert (values["answered_by"], values["status"]) == ("cloud", "answered")


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        ("In room 12.", []),
        ("The meeting is on Friday at 14:00.", []),
        ("Ben", []),
        ("", ["It tells nothing from the text."]),
        ("The room.", ["It tells nothing from the text."]),
        ("Elephants brought seven big plans yesterday.", ["The text does not back the answer."]),
        ("Friday. " * 50, ["It is too long."]),
    ],
)
def test_what_backs_an_answer(answer: str, problems: list[str]) -> None:
    text = TEXT.replace("The meeting", "A meeting")
    asked = "Which room, and when?" if answer != "The room." else "What about the room?"
    assert backed(Question(text, asked, answer=answer)) == problems


def test_kinds_are_found() -> None:
    asked = {"How many guests come?": "look up", "What does the hotel cost?": "look up", THINK: "think"}
    assert {text: kind.classify(text).label for text in asked} == asked


def test_the_examples_can_be_read() -> None:
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    assert [parse_input(Question, json.loads(line)).private for line in lines] == [False, True, False]


def test_it_costs_a_call_or_two() -> None:
    assert (least(graph.cost), most(graph.cost)) == (1, 2)


@pytest.mark.local
@pytest.mark.device
def test_on_this_machine(session: Session) -> None:
    with using("local"):
        result = run(graph.compile(), Question(TEXT, ROOM, private=True), session, "t")
    assert result.values["answered_by"] == "device"
    assert (result.values["status"] == "answered") == (not result.values["problems"])
    assert session.spent("t").calls == 1

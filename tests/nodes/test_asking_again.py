"""What a model is asked after an answer that did not fit: never the same in vain."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from stepgraph import (
    Ask,
    CallContext,
    Reply,
    Request,
    ScriptedModel,
    Session,
    chain,
    resume,
    run,
    step,
    using,
)
from stepgraph.nodes.answers import ValidationFailed, form_of
from stepgraph.providers.backends.backend import Backend
from stepgraph.providers.model import Usage
from stepgraph.state.errors import InvalidAnswer


class Line(BaseModel):
    text: str
    amount: float


class Invoice(BaseModel):
    number: int
    lines: list[Line]
    payer: Line | None = None


@dataclass
class Mail:
    text: str = "x"
    invoice: Invoice | None = None
    lines: list[Line] | None = None
    reply: str = ""


GOOD = '{"number": 1, "lines": []}'


@step("invoice", tries=4)
def read(mail: Mail) -> Ask[Invoice]:
    return Ask("Read it.")


@step("invoice", tries=4)
def read_coldly(mail: Mail) -> Ask[Invoice]:
    return Ask("Read it.", temperature=0)


@step("reply")
def say(mail: Mail) -> Ask[str]:
    return Ask("Say it.", max_tokens=8)


@step("reply")
def say_whole(mail: Mail) -> Ask[str]:
    return Ask("Say it.", max_tokens=8, whole=True)


class Replies(Backend):
    """Gives these replies, and keeps the requests."""

    name = "replies"

    def __init__(self, *replies: Reply) -> None:
        self.left = list(replies)
        self.asks: list[Request] = []

    async def complete(self, request: Request, context: CallContext) -> Reply:
        self.asks.append(request)
        return self.left.pop(0)


def cut(text: str, *, reasoning: int | None = None, output: int | None = 8) -> Reply:
    return Reply(text, "m", finish_reason="length", usage=Usage(9, output, reasoning=reasoning))


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Here is the invoice:\n\n```json\n{GOOD}\n```\nAsk me for more.",
        f"Sure! {GOOD}",
        f"{GOOD}\n\nI hope it helps [really].",
        f"I used {{braces}} and a [list], so: {GOOD}",
        f"It is {GOOD}, that is {GOOD}.",
    ],
)
async def test_an_answer_in_a_fence_or_after_a_preamble_is_read_at_once(text: str, session: Session) -> None:
    with ScriptedModel([text]) as model, using(model):
        result = run(chain(read).compile(), Mail(), session)
    assert result.value.invoice == Invoice(number=1, lines=[])
    assert len(model.asks) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"number": 1}, or {"number": 2, "lines": []}, or {"number": 3, "lines": []}',
            "more than one JSON value",
        ),
        ('Sure: {"number": 1, "lines": [{"text": "a", "amount": 1}, {"te', "not valid JSON.*cut off"),
        ('Sure: {"number": "one", "lines": []}', "number: Input should be a valid integer"),
    ],
)
def test_what_cannot_be_told_apart_or_is_a_part_is_no_answer(text: str, problem: str) -> None:
    with pytest.raises(ValidationFailed, match=problem):
        form_of(Invoice).parse(text, "length")
    with pytest.raises(ValidationFailed):
        form_of(list[Line]).parse('{"answer": [{"text": "a", "amount": 1}, {"te', "length")


def test_a_correction_is_whole_and_names_each_path() -> None:
    lines = [{"text": "a", "amount": "much"}, *({"amount": 1} for _ in range(50))]
    answer = json.dumps({"number": "n", "lines": lines, "payer": {"text": "p"}})
    with pytest.raises(ValidationFailed) as told:
        form_of(Invoice).parse(answer)
    problems = str(told.value)
    for part in (
        "number: Input should be a valid integer",
        "lines[0].amount: Input should be a valid number, unable to parse string as a number, got 'much'",
        "lines[1-50].text: Field required",
        "payer.amount: Field required",
    ):
        assert part in problems
    assert len(problems) < 400


@pytest.mark.parametrize(("asked", "calls"), [(read_coldly, 2), (read, 4)])
def test_the_same_answer_is_not_asked_for_again_at_temperature_0(asked: Any, calls: int) -> None:
    model = ScriptedModel(["{}"] * calls)
    with model, using(model), pytest.raises(InvalidAnswer, match=f"in {calls} tries"):
        chain(asked).compile().invoke(Mail())


def test_another_answer_is_asked_for_again_at_temperature_0() -> None:
    with ScriptedModel(["{}", '{"number": 1}', GOOD]) as model, using(model):
        assert chain(read_coldly).compile().invoke(Mail())["invoice"].number == 1


@pytest.mark.parametrize("asked", [read, say])
def test_tokens_that_went_into_reasoning_are_given_again(asked: Any, session: Session) -> None:
    good = Reply(GOOD, "m", finish_reason="stop")
    model = Replies(cut("", reasoning=8), cut("", reasoning=16), good)
    with using(model):
        result = run(chain(asked).compile(), Mail(), session, "t")
    assert result.status == "done"
    assert [ask.max_tokens for ask in model.asks] == [model.asks[0].max_tokens, 16, 32]
    assert model.asks[0].messages == model.asks[1].messages == model.asks[2].messages
    with using(Replies()):
        assert resume(chain(asked).compile(), session, "t").value == result.value


def test_a_cut_object_after_much_reasoning_is_given_more_room_too() -> None:
    model = Replies(cut('{"number": 1, "li', reasoning=5), Reply(GOOD, "m", finish_reason="stop"))
    with using(model):
        chain(read).compile().invoke(Mail())
    assert model.asks[1].max_tokens == 16


def test_more_room_is_bounded_and_never_the_same_request() -> None:
    model = Replies(*(cut("", output=None) for _ in range(9)))
    with using(model), pytest.raises(InvalidAnswer, match="in 1 try"):
        chain(read).compile().invoke(Mail())  # no limit is known that could be raised
    model = Replies(*(cut("") for _ in range(9)))
    with using(model), pytest.raises(InvalidAnswer, match="in 4 tries"):
        chain(read).compile().invoke(Mail())
    assert [ask.max_tokens for ask in model.asks] == [None, 16, 32, 64]


def test_a_text_that_was_cut_is_taken_or_asked_for_again(session: Session) -> None:
    with using(Replies(cut("The contract ends on"))):
        assert run(chain(say).compile(), Mail(), session).value.reply == "The contract ends on"
    model = Replies(cut("The contract ends on"), Reply("It ends.", "m", finish_reason="stop"))
    with using(model):
        assert run(chain(say_whole).compile(), Mail(), session).value.reply == "It ends."
    assert "cut off: answer shorter" in model.asks[1].messages[-1]["content"]
    with using(Replies(*[cut("The contract ends on")] * 3)), pytest.raises(InvalidAnswer, match="cut off"):
        run(chain(say_whole).compile(), Mail(), session)


def test_a_chain_of_models_goes_on_for_a_cut_answer_that_must_be_whole() -> None:
    first, second = Replies(cut("The contract")), Replies(Reply("It ends.", "m", finish_reason="stop"))
    with using({"models": [first, second], "on": ["invalid"]}):
        assert chain(say_whole).compile().invoke(Mail())["reply"] == "It ends."


class Answer(BaseModel):
    answer: list[str]


@dataclass
class Question:
    answer: Answer | None = None
    words: list[str] | None = None


@step("answer")
def ask(question: Question) -> Ask[Answer]:
    return Ask("Answer.")


@step("words")
def words(question: Question) -> Ask[list[str]]:
    return Ask("Words.")


@pytest.mark.parametrize("given", [{"answer": ["a"]}, Answer(answer=["a"]), '{"answer": ["a"]}'])
def test_a_script_wraps_only_what_travels_wrapped(given: Any) -> None:
    with ScriptedModel([given, ["a"]]) as model, using(model):
        found = chain(ask, words).compile().invoke(Question())
    assert (found["answer"], found["words"]) == (Answer(answer=["a"]), ["a"])

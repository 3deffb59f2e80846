"""States as a TypedDict and as a pydantic model, answers of many types, a gate of every kind."""

import operator
from enum import Enum
from typing import Annotated, Any, assert_type

from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import Ask, Step, Workflow, chain, gate, refine, route, rule, step


class Topic(TypedDict):
    name: str
    notes: Annotated[list[str], operator.add]
    summary: str
    score: int


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Letter(BaseModel):
    text: str
    mood: Mood = Mood.GOOD
    words: list[str] = []
    urgent: bool = False
    reply: str = ""


@step("notes")
def research(topic: Topic) -> Ask[list[str]]:
    return Ask(f"Three facts on {topic['name']}.")


@step("summary")
def sum_up(topic: Topic) -> Ask:
    return Ask("\n".join(topic["notes"]))


@step("score")
def rate(topic: Topic) -> Ask[int]:
    return Ask(topic["summary"])


assert_type(research, Step[Topic, list[str]])
assert_type(sum_up, Step[Topic, str])
assert_type(chain(research, sum_up), Workflow[Topic])
assert_type(refine(sum_up, rate, until=lambda score: score > 3, rounds=2), Workflow[Topic])


@step("mood")
def feel(letter: Letter) -> Ask[Mood]:
    return Ask(letter.text)


@step("words", model="small", tries=1)
def keywords(letter: Letter) -> Ask[list[str]]:
    return Ask(letter.text, system="Five keywords.", temperature=0.2, max_tokens=50)


@step("urgent")
def is_urgent(letter: Letter) -> Ask[bool]:
    return Ask(letter.text)


@step("reply")
def answer(letter: Letter) -> Ask[str]:
    return Ask(letter.text)


@rule("reply")
def sorry(letter: Letter) -> str:
    return f"Sorry about {letter.text}"


def has_words(letter: Letter) -> bool:
    return bool(letter.words)


def short_enough(letter: Letter) -> str | None:
    return "too long" if len(letter.reply) > 500 else None


assert_type(route(feel, {Mood.GOOD: answer, Mood.BAD: sorry}), Workflow[Letter])
assert_type(route(is_urgent, {True: answer, False: sorry}), Workflow[Letter])
assert_type(
    chain(keywords, gate(has_words), answer, gate(short_enough), gate(is_urgent, lambda urgent: not urgent)),
    Workflow[Letter],
)


async def ask(topic: Topic, letter: Letter) -> None:
    assert_type(await research.answer(topic), list[str])
    assert_type(await sum_up.answer(topic), str)
    assert_type(await rate.answer(topic), int)
    assert_type(await feel.answer(letter), Mood)
    assert_type(await is_urgent.answer(letter), bool)
    assert_type(await sorry.answer(letter), str)
    assert_type(sorry(letter), str)
    assert_type(feel.invoke(letter), dict[str, Any])


def run() -> None:
    chain(research, sum_up).compile().invoke({"name": "tea", "notes": [], "summary": "", "score": 0})
    chain(keywords, answer).compile().invoke(Letter(text="x"))

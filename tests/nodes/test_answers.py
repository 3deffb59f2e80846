from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import Choice
from stepgraph.nodes.answers import ValidationFailed, form_of
from stepgraph.state.errors import DefinitionError


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Point:
    x: int
    y: int = 0


class Person(TypedDict):
    name: str


Kind = Literal["howto", "opinion"]


@pytest.mark.parametrize(
    ("answer", "text", "value"),
    [
        (str, " Boil water.\n", "Boil water."),
        (Kind, '{"answer": "howto"}', "howto"),
        (bool, '{"answer": true}', True),
        (int, '{"answer": 7}', 7),
        (float, '{"answer": 7}', 7.0),
        (list[str], '{"answer": ["a", "b"]}', ["a", "b"]),
        (list[Grade], '{"answer": [{"score": 1}]}', [Grade(score=1)]),
        (Grade, '{"score": 4, "fix": "shorter"}', Grade(score=4, fix="shorter")),
        (Grade | None, '{"answer": null}', None),
        (Point, '{"x": 1}', Point(1)),
        (Person, '{"name": "Ann"}', {"name": "Ann"}),
        (Mood, '{"answer": "bad"}', Mood.BAD),
        (Choice[Kind], '{"label": "howto", "confidence": 0.9}', Choice[Kind](label="howto", confidence=0.9)),
        (Grade, '```json\n{"score": 4}\n```', Grade(score=4)),
        (Grade, '```\n{"score": 4}\n```\n', Grade(score=4)),
    ],
)
def test_a_text_becomes_the_answer(answer: Any, text: str, value: Any) -> None:
    assert form_of(answer).parse(text) == value


def test_what_is_not_an_object_travels_in_one() -> None:
    schema = form_of(Kind).schema
    assert schema is not None
    assert schema["properties"]["answer"]["enum"] == ["howto", "opinion"]
    assert form_of(str).schema is None


@pytest.mark.parametrize(
    ("answer", "text", "problem"),
    [
        (str, "  \n", "The answer was empty."),
        (Grade, "", "The answer was empty."),
        (Grade, "four", "not valid JSON"),
        (Grade, '{"score": "high"}', r"score: Input should be a valid integer.*got 'high'"),
        (Grade, "{}", "score: Field required"),
        (Kind, '{"answer": "poem"}', "answer: Input should be 'howto' or 'opinion'"),
        (Mood, '{"answer": "so-so"}', "answer: Input should be 'good' or 'bad'"),
    ],
)
def test_a_misfit_says_what_to_mend(answer: Any, text: str, problem: str) -> None:
    with pytest.raises(ValidationFailed, match=problem):
        form_of(answer).parse(text)


def test_an_answer_that_was_cut_off_is_told_to_be_shorter() -> None:
    with pytest.raises(ValidationFailed, match="It was cut off: answer shorter"):
        form_of(Grade).parse('{"score": 4, "fix": "sho', finish_reason="length")


def test_a_type_without_a_schema_is_refused() -> None:
    class Opaque: ...

    with pytest.raises(DefinitionError, match=r"Ask\[Opaque\]: a model cannot answer with this type"):
        form_of(Opaque)

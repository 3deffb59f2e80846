"""Sizes: a step's prompt counts, through patterns; else the item itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from stepgraph import Ask, chain, step
from stepgraph.nodes.sizes import PromptSizes


@dataclass
class Part:
    text: str
    grade: Any = None
    note: str = ""


class Line(TypedDict):
    text: str


@step("note")
def sum_up(part: Part) -> Ask[str]:
    return Ask(f"two words {part.text}", system="one")


@step("grade")
def judge(part: Part) -> Ask[int]:
    return Ask(f"{part.grade.fix} {part.text}")


@step("text")
def shout(line: Line) -> Ask[str]:
    return Ask(line["text"])


def words(text: str) -> int:
    return len(text.split())


sizes = PromptSizes(5, words)


def test_a_step_counts_with_its_whole_prompt() -> None:
    assert sizes.of(sum_up, Part("a b")) == 5
    assert sizes.fits(sum_up, Part("a b"))
    assert not sizes.fits(sum_up, Part("a b c"))


def test_a_schema_counts_too() -> None:
    @step("grade")
    def rate(part: Part) -> Ask[int]:
        return Ask(part.text)

    assert PromptSizes(100, len).of(rate, Part("a")) > len("a") + len('{"properties"')


def test_a_pattern_counts_by_its_largest_prompt_that_can_be_made_already() -> None:
    assert sizes.of(chain(sum_up, judge), Part("a b")) == 5


def test_a_step_over_a_typed_dict() -> None:
    assert sizes.of(shout, {"text": "a b c"}) == 3


def test_anything_else_counts_as_the_item_in_json() -> None:
    def note(part: Part) -> dict[str, str]:
        return {}

    assert PromptSizes(100, len).of(note, Part("a")) == len('{"text":"a","grade":null,"note":""}')

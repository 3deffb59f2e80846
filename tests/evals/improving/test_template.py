"""The prompt of a step as a text with placeholders: the same question for every state, or none at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from stepgraph import Ask, step
from stepgraph.evals.improving.template import PromptTemplate, revision, template_of


@dataclass
class Memo:
    text: str = ""
    note: str | None = None
    count: int = 0
    parts: list[str] = field(default_factory=list)
    reply: str = ""


class Record(BaseModel):
    text: str = ""
    reply: str = ""


class Plain(TypedDict):
    text: str
    reply: str


@step("reply")
def filled(memo: Memo) -> Ask[str]:
    return Ask(f'Shorten {memo.text} to {memo.count} words, as JSON: {{"short": "…"}}')


@step("reply")
def optional(memo: Memo) -> Ask[str]:
    return Ask(f"{memo.text}, {memo.note}")


@step("reply")
def with_system(memo: Memo) -> Ask[str]:
    return Ask(memo.text, system=f"You shorten texts of {memo.count} lines.")


@step("reply")
def both(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten this text, and keep its numbers: {memo.text}", system="Be brief.")


@step("reply")
def if_noted(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten {memo.text}" + (f" Mind: {memo.note}" if memo.note else ""))


@step("reply")
def listed(memo: Memo) -> Ask[str]:
    return Ask("\n".join(memo.parts), system="Sum up." if memo.count else None)


@step("reply")
def messages(memo: Memo) -> Ask[str]:
    return Ask([memo.text])


@step("reply")
def changed(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten {memo.text.upper()} {len(memo.text)}")


@step("reply")
def touchy(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten {memo.text} {'abc'.index(memo.note or 'a')}")


@step("reply")
def of_model(record: Record) -> Ask[str]:
    return Ask(f"Shorten {record.text}")


@step("reply")
def of_dict(plain: Plain) -> Ask[str]:
    return Ask(f"Shorten {plain['text']}")


MEMOS = [
    Memo("a long text", None, 3, ["x"]),
    Memo("{text} in braces", "short", 0, ["y", "z"]),
    Memo("", "b", 12),
]


@pytest.mark.parametrize(
    ("asking", "text"),
    [
        (filled, 'Shorten {text} to {count} words, as JSON: {"short": "…"}'),
        (optional, "{text}, {note}"),
        (with_system, "You shorten texts of {count} lines."),
        (both, "Shorten this text, and keep its numbers: {text}"),
        (if_noted, None),
        (listed, None),
        (messages, None),
        (changed, None),
    ],
)
def test_a_template_gives_the_very_question_or_there_is_none(asking: Any, text: str | None) -> None:
    found = template_of(asking, MEMOS)
    assert found.adds == (text is None)
    if text is not None:
        assert found.text == text
        for memo in MEMOS:
            assert found.rendered(memo) == getattr(asking.ask(memo), found.part)


def test_a_state_of_any_kind_will_do() -> None:
    assert template_of(of_model, [Record(text="a"), Record(text="b")]).text == "Shorten {text}"
    assert (
        template_of(of_dict, [Plain(text="a", reply=""), Plain(text="b", reply="")]).text == "Shorten {text}"
    )
    assert template_of(touchy, [Memo("a"), Memo("b", "b")]).adds
    assert template_of(filled, []).adds


@pytest.mark.parametrize("asking", [filled, with_system, both, if_noted, listed, messages, changed])
def test_a_revised_question_has_the_new_text_and_nothing_else_changes(asking: Any) -> None:
    base = template_of(asking, MEMOS)
    new = base.with_text(f"New. {base.text} {{unknown}} {{}}")
    for memo in MEMOS:
        before = asking.ask(memo)
        with asking.revising(revision(base, new)):
            after = asking.ask(memo)
        assert asking.ask(memo) == before
        other = "prompt" if base.part == "system" else "system"
        assert getattr(after, other) == getattr(before, other)
        said = getattr(after, base.part)
        assert "New. " in said
        assert said.endswith("{unknown} {}")
        if base.adds and before.system:
            assert said.startswith(before.system)
        elif not base.adds:
            assert said == f"New. {getattr(before, base.part)} {{unknown}} {{}}"


def test_a_question_that_the_template_does_not_describe_stays_as_it_is() -> None:
    base = template_of(if_noted, [Memo("a"), Memo("b")])
    assert base.text == "Shorten {text}"
    with if_noted.revising(revision(base, base.with_text("New {text}"))):
        assert if_noted.ask(Memo("c")).prompt == "New c"
        assert if_noted.ask(Memo("c", "hm")).prompt == "Shorten c Mind: hm"


def test_what_part_is_meant_can_be_said() -> None:
    assert template_of(both, MEMOS, "system") == PromptTemplate("system", "Be brief.")
    assert template_of(filled, MEMOS, "system").adds

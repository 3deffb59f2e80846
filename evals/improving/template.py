"""A step's prompt as one text with placeholders, found by asking the step about marked states."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel

from ...nodes.ask import Ask
from ...nodes.steps import Step
from ...state.schema import values_of

Part = Literal["prompt", "system"]
PARTS: tuple[Part, ...] = ("prompt", "system")
MARKED_NUMBER = 907_160_000


@dataclass(frozen=True)
class PromptTemplate:
    """What a step asks: a text in which {field} stands for a field of the state.

    `part` says where it stands: the prompt itself, or the system message. With `adds`, the code makes the
    question in a way that no such text describes, so the text, empty at first, is added as a system message.
    """

    part: Part
    text: str
    names: tuple[str, ...] = ()
    adds: bool = False

    def with_text(self, text: str) -> PromptTemplate:
        return replace(self, text=text)

    def rendered(self, state: Any) -> str:
        """Return the text for a state. Braces around anything but a field of the template are text."""
        if not self.names:
            return self.text
        values = values_of(state)
        return re.sub(self._places, lambda match: f"{values.get(match[1])}", self.text)

    def missing_in(self, text: str) -> list[str]:
        """Return the fields that stand in this template, and not in a text that is to take its place."""
        used = {match[1] for match in re.finditer(self._places, self.text)} if self.names else set()
        there = {match[1] for match in re.finditer(self._places, text)} if self.names else set()
        return sorted(used - there)

    @property
    def own_text(self) -> str:
        """The text without its fields."""
        return re.sub(self._places, "", self.text) if self.names else self.text

    @property
    def _places(self) -> str:
        return r"\{(" + "|".join(map(re.escape, self.names)) + r")\}"


def revision(base: PromptTemplate, new: PromptTemplate) -> Callable[[Any, Ask[Any]], Ask[Any]]:
    """Return what asks by a new text instead of the base's.

    Where the code asks otherwise than the base says, its question stays as it is.
    """

    def revise(state: Any, question: Ask[Any]) -> Ask[Any]:
        if base.adds:
            system = "\n\n".join(filter(None, (question.system, new.text)))
            return replace(question, system=system or None)
        if getattr(question, base.part) != base.rendered(state):
            return question
        text = new.rendered(state)
        return replace(question, prompt=text) if base.part == "prompt" else replace(question, system=text)

    return revise


def template_of(step: Step[Any, Any], states: Sequence[Any], part: Part | None = None) -> PromptTemplate:
    """Return the template of a step's prompt that gives its very question for each of the states.

    Of prompt and system message, the one with more text of its own is taken, unless `part` says which.
    """
    questions = [step.ask(state) for state in states]
    templates: list[PromptTemplate] = []
    for each in PARTS if part is None else (part,):
        texts = [getattr(question, each) for question in questions]
        if questions and all(isinstance(text, str) for text in texts):
            guesses = (_guess(step, states[0], each, with_empty=flag) for flag in (True, False))
            fitting = (g for g in guesses if g and [g.rendered(state) for state in states] == texts)
            templates += [next(fitting, None) or PromptTemplate(each, "", adds=True)]
    whole = [template for template in templates if not template.adds]
    adding = PromptTemplate("system", "", adds=True)
    return max(whole, key=lambda template: len(template.own_text), default=adding)


def _guess(step: Step[Any, Any], state: Any, part: Part, *, with_empty: bool) -> PromptTemplate | None:
    """Ask the step about a state with marks in its fields, and see where the marks come out."""
    marks: dict[str, str | int] = {}
    for number, (name, value) in enumerate(values_of(state).items()):
        if (with_empty and value in (None, "")) or (isinstance(value, str) and value):
            marks[name] = f"\u27e6{name}\u27e7"
        elif isinstance(value, int) and not isinstance(value, bool):
            marks[name] = MARKED_NUMBER + number
    try:
        text = getattr(step.ask(_marked(state, marks)), part)
    except Exception:  # the function may do anything with a value that it never sees otherwise
        return None
    if not isinstance(text, str):
        return None
    used = [name for name, mark in marks.items() if str(mark) in text]
    for name in used:
        text = text.replace(str(marks[name]), f"{{{name}}}")
    return PromptTemplate(part, text, tuple(used))


def _marked(state: Any, marks: Mapping[str, Any]) -> Any:
    if isinstance(state, Mapping):
        return {**state, **marks}
    if isinstance(state, BaseModel):
        return state.model_copy(update=dict(marks))
    if not is_dataclass(state):
        raise TypeError(type(state).__name__)
    other = copy.copy(state)
    for name, mark in marks.items():
        object.__setattr__(other, name, mark)
    return other

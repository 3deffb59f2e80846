"""A text whose mood is judged."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from stepgraph import (
    Ask,
    step,
)

Mood = Literal["good", "bad", "?"]


@dataclass
class Text:
    text: str = "x"
    mood: Mood = "?"
    drafts: list[str] = field(default_factory=list)
    best: int = 0
    seen: str = ""
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    parts: list[Text] = field(default_factory=list)
    whole: Text | None = None


@step("mood", model="judge")
def judge(text: Text) -> Ask[Mood]:
    return Ask(f"Mood of {text.text}?")


def mark(text: Text) -> dict[str, list[str]]:
    return {"log": ["judged"]}


def keep(text: Text) -> dict[str, str]:
    return {"seen": text.mood}


def join(parts: list[Text]) -> Text:
    return parts[0]


def judged(result: dict[str, Any]) -> bool:
    return bool(result["log"] == ["judged"])

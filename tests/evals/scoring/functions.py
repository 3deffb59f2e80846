"""An agent with functions, and a model that chooses among them from a script: rightly for some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepgraph import Ask, ScriptedModel, ToolCall, agent, chain, step


@dataclass
class Question:
    text: str
    reply: str = ""


def triangle_area(base: int, height: int, unit: str = "units") -> str:
    """Give the area of a triangle."""
    return f"{base * height / 2:g} square {unit}"


def weather(city: str, days: int = 1) -> str:
    """Give a forecast."""
    return f"Rain in {city}."


def book(places: list[str], guest: dict[str, str]) -> str:
    """Book a journey."""
    return "Booked."


@step("reply")
def answer(question: Question) -> Ask[str]:
    return Ask(question.text)


graph = chain(agent(answer, tools=[triangle_area, weather, book]), name="functions")

CHOICES: dict[str, list[ToolCall]] = {
    "simple": [ToolCall("triangle_area", {"base": 10, "height": 5})],
    "simple, another value": [ToolCall("triangle_area", {"base": 10, "height": 6})],
    "left out": [ToolCall("triangle_area", {"base": 10})],
    "too much": [ToolCall("triangle_area", {"base": 10, "height": 5, "colour": "red"})],
    "a word for a number": [ToolCall("triangle_area", {"base": "10", "height": 5})],
    "spelled": [ToolCall("weather", {"city": "san francisco, ca"})],
    "wrong function": [ToolCall("weather", {"city": "Rome"})],
    "unknown function": [ToolCall("forecast", {"city": "Rome"})],
    "parallel": [ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Oslo"})],
    "parallel, one lost": [ToolCall("weather", {"city": "Rome"})],
    "parallel, one twice": [ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Rome"})],
    "nested": [ToolCall("book", {"places": ["Rome", "Oslo"], "guest": {"name": "Ann"}})],
    "none": [],
    "none, but called": [ToolCall("weather", {"city": "Rome"})],
    "some": [ToolCall("weather", {"city": "Rome"})],
    "some, but none": [],
}


def chosen(request: Any, context: Any) -> Any:
    """Call what the script says, and answer once the results are there."""
    calls = CHOICES[str(request.messages[0]["content"])]
    return calls if calls and len(request.messages) == 1 else "Done."


def model() -> ScriptedModel:
    return ScriptedModel(chosen)

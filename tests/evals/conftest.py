"""A small workflow to evaluate: classify a note, answer it, and mend the answer until it is polite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, refine, route, rule, step, using
from stepgraph.evals.files.located import from_yaml
from stepgraph.evals.files.results import Results
from stepgraph.evals.files.suite_file import suite_from
from stepgraph.evals.running.runner import run_suite
from stepgraph.evals.suite.model import Suite

Mood = Literal["good", "bad"]


@dataclass
class Note:
    text: str
    mood: Mood | None = None
    answer: str = ""
    size: int = 0
    problems: str = ""


@step("mood")
def classify(note: Note) -> Ask[Mood]:
    return Ask(f"Good or bad? {note.text}")


@step("answer")
def reply(note: Note) -> Ask[str]:
    return Ask(f"Answer: {note.text} {note.problems}")


@rule("problems")
def polite(note: Note) -> str:
    return "" if "please" in note.answer else "say please"


def measure(note: Note) -> dict[str, int]:
    if note.text == "crash":
        raise ZeroDivisionError("by nought")
    return {"size": len(note.answer)}


def shrug(note: Note) -> dict[str, str]:
    return {"answer": "fine"}


mend = refine(reply, polite, until=lambda problems: not problems, rounds=3)
graph = route(classify, {"good": shrug, "bad": chain(mend, measure)}, name="notes")

HEAD = "suite: notes\nconcurrency: 1\n"


def suite_of(text: str, **changes: Any) -> Suite:
    """Return the suite that YAML describes."""
    return suite_from(from_yaml(HEAD + text, "notes.yaml"))


def mood_of(request: Any, context: Any) -> Any:
    """Answer as a perfect model would: notes with a good word are good."""
    words = request.messages[-1]["content"]
    if context.step == "classify":
        return "good" if "love" in words else "bad"
    if context.step == "reply":
        return "Calm down, please." if "say please" in words else "Calm down."
    raise AssertionError(context.step)


@pytest.fixture
def evaluate(session: Session) -> Callable[..., Results]:
    """Run a suite on a scripted model."""

    def run(text: str, script: Any = mood_of, results: Path | None = None, **options: Any) -> Results:
        with ScriptedModel(script) as model, using(model):
            return run_suite(suite_of(text), graph.compile(), session, results=results, **options)

    return run

"""A letter that is written, or not."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from stepgraph import (
    Ask,
    Choice,
    ScriptedModel,
    Session,
    Workflow,
    attempt,
    chain,
    gate,
    guard,
    route,
    section,
    step,
    vote,
)
from stepgraph.errors import (
    ModelFiltered,
    ModelNotFound,
)


@dataclass
class Letter:
    text: str = "hello"
    kind: Literal["a", "b"] = "a"
    reply: str = ""
    score: int = 0
    why: str = "old"
    log: Annotated[list[str], operator.add] = field(default_factory=list)


@step("reply")
def write(letter: Letter) -> Ask[str]:
    return Ask(f"Write {letter.text}")


@step("reply")
def standby(letter: Letter) -> Ask[str]:
    return Ask(f"Stand by. {letter.why}")


@step("score", tries=2)
def grade(letter: Letter) -> Ask[int]:
    return Ask(f"Grade {letter.reply}")


def note(letter: Letter) -> dict[str, list[str]]:
    return {"log": ["noted"]}


def known_by_none(letter: Letter) -> Choice[str]:
    return Choice(label=None)


def never(letter: Letter) -> str:
    return "not good."


async def slow(letter: Letter) -> dict[str, str]:
    await asyncio.sleep(60)
    return {}


def script(**answers: Any) -> ScriptedModel:
    """Answers by the step's name; the last answer of a step comes again and again."""

    def say(request: Any, context: Any) -> Any:
        said = answers.get(context.step, "fine")
        return (said.pop(0) if len(said) > 1 else said[0]) if isinstance(said, list) else said

    return ScriptedModel(say)


def mute(letter: Letter) -> dict[str, str]:
    raise ModelNotFound("no such model")


FAILING: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "InvalidAnswer": (lambda: grade, {"grade": "none"}),
    "ModelFiltered": (lambda: write, {"write": ModelFiltered("no")}),
    "ModelNotFound": (lambda: mute, {}),
    "GateFailed": (lambda: chain(write, gate(never)), {}),
    "GuardTripped": (lambda: guard(write, never), {}),
    "NoRoute": (lambda: route(known_by_none, {"a": write}), {}),
    "NoAnswer": (lambda: vote(mute, 2, field="reply", uncertain="?"), {}),
    "BranchTimeout": (lambda: section({"a": slow}, timeout_s=0.05), {}),
}


def begin(name: str, **options: Any) -> Workflow[Letter]:
    """Return an attempt that fails, between two parts, after it wrote a field of each kind."""
    part = chain(note, write, FAILING[name][0]())
    return chain(note, attempt(part, otherwise=standby, reason="why", **options), note)


def decisions(session: Session) -> list[tuple[str, str, str]]:
    rows = session.journal.query(
        "SELECT kind, choice, reason FROM decisions WHERE kind = 'attempt' ORDER BY id"
    )
    return [(row["kind"], row["choice"], row["reason"]) for row in rows]


def raises(error: BaseException) -> Callable[[Letter], dict[str, str]]:
    def part(letter: Letter) -> dict[str, str]:
        raise error

    return part

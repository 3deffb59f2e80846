"""Patterns that are killed: what runs side by side, repairs, falls back, calls tools.

All voters of the vote must agree and the guard passes, so that no call is called off by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stepgraph import (
    Ask,
    Workflow,
    agent,
    attempt,
    cascade,
    chain,
    end,
    ensemble,
    fan_out,
    gate,
    guard,
    map_reduce,
    orchestrate,
    route,
    section,
    step,
    vote,
)


@dataclass
class Piece:
    subject: str = ""
    text: str = ""
    value: int = 0


@dataclass
class Job:
    topic: str = "tea"
    text: str = ""
    mood: str = ""
    safe: bool = False
    grade: int = 0
    legal: str = ""
    pieces: list[Piece] = field(default_factory=list)
    plan: list[Piece] = field(default_factory=list)
    drafts: list[str] = field(default_factory=list)
    whole: Piece | None = None


SUBJECTS = ("boiling water", "green leaves", "porcelain cups", "milk jugs", "sugar lumps", "rainy evenings")


@step("text")
def begin(job: Job) -> Ask[str]:
    return Ask(f"Begin {job.topic}.")


@step("text")
def close(job: Job) -> Ask[str]:
    return Ask(f"Close {job.text} {job.mood} {job.grade} with {[piece.text for piece in job.pieces]}.")


@step("text")
def note(piece: Piece) -> Ask[str]:
    return Ask(f"Note {piece.subject}.")


@step("text")
def sharpen(piece: Piece) -> Ask[str]:
    return Ask(f"Sharpen {piece.text}.")


@step("text")
def same(piece: Piece) -> Ask[str]:
    return Ask("The same to all.")


@step("value")
def appraise(piece: Piece) -> Ask[int]:
    return Ask(f'Appraise {piece.subject}. Say {{"answer": {len(piece.subject)}}}')


@step("text")
def sum_up(piece: Piece) -> Ask[str]:
    return Ask(f"Sum up {piece.text}.")


@step("mood")
def mood(job: Job) -> Ask[str]:
    return Ask(f"How does {job.text} sound?")


@step("safe")
def screen(job: Job) -> Ask[bool]:
    return Ask(f'Is {job.text} safe? Say {{"answer": true}}')


@step("legal")
def check_law(job: Job) -> Ask[str]:
    return Ask(f"Is {job.text} legal?")


@step("grade")
def grade(job: Job) -> Ask[int]:
    return Ask(f'Grade {job.text}. Say {{"answer": {len(job.text)}}}')


@step("text")
def rewrite(job: Job) -> Ask[str]:
    return Ask(f"Rewrite {job.text}.")


@step("text")
def best(job: Job) -> Ask[str]:
    return Ask(f"Make one of {job.drafts}.")


@step("plan")
def divide(job: Job) -> Ask[list[Piece]]:
    shown = ", ".join(f'{{"subject": "{subject}", "text": ""}}' for subject in SUBJECTS)
    return Ask(f'Divide {job.text}. Say {{"answer": [{shown}]}}')


@step("text")
def look_up(job: Job) -> Ask[str]:
    return Ask(f"Look {job.text} up.")


def find(query: str) -> str:
    """Find something."""
    return f"found {query}"


def split(job: Job) -> list[Piece]:
    return [Piece(subject) for subject in SUBJECTS]


def split_widely(job: Job) -> list[Piece]:
    return [Piece(f"{subject} {number}") for number in range(10) for subject in SUBJECTS]


def together(pieces: list[Piece]) -> Piece:
    return Piece(text=" ".join(piece.text for piece in pieces))


def is_mended(job: Job) -> str | bool:
    return job.grade >= 2 or f"{job.text} is not mended"


def mend() -> Workflow[Job]:
    def count(job: Job) -> dict[str, int]:
        return {"grade": job.grade + 1}

    return gate(is_mended, repair=chain(rewrite, count, name="mend"), tries=3)


def give_up(job: Job) -> dict[str, str]:
    raise KeyError(job.text)


def is_long(job: Job) -> str | bool:
    return len(job.text) > 99 or f"{job.text} is short"


def again() -> Workflow[Job]:
    """A step that is asked again by its gate, with the reason."""
    return gate(is_long, repair=rewrite, otherwise=begin)


def parallel() -> Workflow[Job]:
    return section(
        {
            "law": check_law,
            "mood": vote(mood, 5, needed=5, uncertain=""),
            "pieces": fan_out(split, chain(note, sharpen), into="pieces"),
        },
        merge=close,
    )


GRAPHS: dict[str, Any] = {
    "fan_out of chains": lambda: chain(
        begin, fan_out(split_widely, chain(note, sharpen), into="pieces"), close
    ),
    "fan_out, equal calls joined": lambda: chain(begin, fan_out(split, same, into="pieces"), close),
    "vote": lambda: chain(begin, vote(mood, 7, needed=7, uncertain=""), close),
    "guard": lambda: chain(begin, guard(chain(rewrite, grade, close), screen, bool), close),
    "ensemble": lambda: chain(
        begin,
        ensemble([rewrite, chain(rewrite, close), close], into="drafts", merge=best, field="text"),
        close,
    ),
    "section of patterns": lambda: chain(begin, parallel(), rewrite),
    "orchestrate": lambda: chain(
        begin, orchestrate(divide, chain(note, sharpen), close, into="pieces"), rewrite
    ),
    "map_reduce": lambda: chain(
        begin, map_reduce(split, note, join=together, reduce=sum_up, into="whole", tokens=40), close
    ),
    "gate with repair": lambda: chain(begin, mend(), again(), close),
    "cascade": lambda: chain(begin, cascade(rewrite, rewrite.on("large"), accept=lambda text: False), close),
    "attempt": lambda: chain(
        begin, attempt(chain(rewrite, give_up), otherwise=chain(rewrite, grade), on=KeyError), close
    ),
    "early end": lambda: chain(
        begin, chain(rewrite, gate(is_long, otherwise=end()), close, name="inner"), close
    ),
    "vote that decides": lambda: chain(
        begin, route(vote(mood, 3, needed=3, uncertain=""), {"": begin}, fallback=rewrite), close
    ),
    "agent": lambda: chain(begin, agent(look_up, tools=[find]), close),
    "fallback": lambda: chain(begin, grade, fan_out(split, appraise, into="pieces"), grade, close),
}

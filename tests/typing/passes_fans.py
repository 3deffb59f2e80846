"""Workers over a state of their own: fan_out, map_reduce and orchestrate tie the types together."""

from dataclasses import dataclass, field
from typing import assert_type

from stepgraph import (
    Ask,
    PlanRules,
    Workflow,
    chain,
    fan_out,
    map_reduce,
    orchestrate,
    rule,
    split_text,
    step,
)
from stepgraph.nodes.splitting import Piece


@dataclass
class Part:
    title: str
    text: str = ""


@dataclass
class Book:
    text: str = ""
    plan: list[Part] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    digest: Part | None = None
    complete: bool = False


def cut(book: Book) -> list[Part]:
    assert_type(split_text(book.text, 100), list[Piece])
    return [Part(piece.place, piece.text) for piece in split_text(book.text, 100)]


def join(parts: list[Part]) -> Part:
    return Part("all", "\n".join(part.text for part in parts))


@step("plan")
def plan(book: Book) -> Ask[list[Part]]:
    return Ask(book.text)


@rule("plan")
def outline(book: Book) -> list[Part]:
    return [Part("one")]


@step("text")
def work(part: Part) -> Ask[str]:
    return Ask(part.text)


@step("text")
def write(book: Book) -> Ask[str]:
    return Ask(book.text)


@step("complete")
def complete(book: Book) -> Ask[bool]:
    return Ask(book.text)


def brief(book: Book, part: Part) -> Part:
    return Part(f"{part.title} of {book.text}")


assert_type(fan_out(cut, work, into="parts"), Workflow[Book])
assert_type(fan_out(plan, chain(work, work), into="parts"), Workflow[Book])
assert_type(map_reduce(cut, work, join=join, into="digest", tokens=100), Workflow[Book])
assert_type(map_reduce(plan, work, join=join, reduce=work, into="digest", tokens=100), Workflow[Book])
assert_type(orchestrate(plan, work, write, into="parts"), Workflow[Book])
assert_type(orchestrate(outline, work, write, into="parts", more=cut, brief=brief), Workflow[Book])
assert_type(
    orchestrate(plan, work, write, into="parts", more=plan, check=complete, passes=lambda done: done),
    Workflow[Book],
)


def about(part: Part) -> str:
    return part.title


strict = PlanRules(subject=about, similarity=0.7, overlapping="drop")
assert_type(orchestrate(plan, work, write, into="parts", rules=strict), Workflow[Book])
assert_type(orchestrate(plan, work, write, into="parts", rules=PlanRules(tries=2)), Workflow[Book])
assert_type(fan_out(outline, work, into="parts"), Workflow[Book])
assert_type(map_reduce(outline, work, join=join, into="digest", tokens=100), Workflow[Book])


def covers(book: Book) -> bool | str:
    return bool(book.plan) or "nothing is planned."


assert_type(orchestrate(plan, work, write, into="parts", check=covers), Workflow[Book])

"""What each pattern shows of a run whose budget ended in it: what can be used already, what cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import (
    Ask,
    Budget,
    RunResult,
    ScriptedModel,
    Session,
    attempt,
    chain,
    fan_out,
    guard,
    map_reduce,
    refine,
    rule,
    run,
    section,
    step,
    using,
    vote,
    within,
)


@dataclass
class Post:
    draft: str = ""
    more: str = ""
    grade: int = 0
    number: int = 0
    parts: list[Post] = field(default_factory=list)
    whole: Post | None = None


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write {post.number}")


@step("more")
def extend(post: Post) -> Ask[str]:
    return Ask("Extend")


@step("grade")
def judge(post: Post) -> Ask[int]:
    return Ask("Grade")


def cut(post: Post) -> list[Post]:
    return [Post(number=number) for number in range(4)]


def join(posts: list[Post]) -> Post:
    return Post()


@rule("grade")
def rated(post: Post) -> int:
    return 5


def keep(post: Post) -> dict[str, str]:
    return {}


def shown(result: RunResult[Any]) -> tuple[Any, ...]:
    """Return which fields have a value, and the nodes of whose answers the state has nothing."""
    values = {name: value for name, value in result.values.items() if value != vars(Post()).get(name)}
    if "parts" in values:
        values["parts"] = sorted(post.draft for post in values["parts"])
    return values, {node.rstrip("_23") for node in result.unmerged}  # which of the draws, nobody can say


reduced = {"join": join, "into": "whole", "tokens": 99}
two = ["1", "2"]

# How many calls are paid for, and what there is of them then.
STOPPED: dict[str, tuple[Callable[[], Any], int, dict[str, Any], set[str]]] = {
    "fan-out": (lambda: fan_out(cut, write, into="parts"), 2, {"parts": two}, set()),
    "map-reduce": (lambda: map_reduce(cut, write, parts="parts", **reduced), 2, {"parts": two}, set()),
    "map-reduce that keeps no pieces": (lambda: map_reduce(cut, write, **reduced), 2, {}, {"write"}),
    "map-reduce in its second part": (
        lambda: map_reduce(cut, write, parts="parts", reduce=chain(write, extend), **reduced),
        5,
        {"parts": ["1", "2", "3", "4"]},
        {"chain_write"},
    ),
    "refine": (
        lambda: refine(write, judge, until=lambda grade: False, rounds=3),
        2,
        {"draft": "1", "grade": 2},
        set(),
    ),
    "refine before a second verdict": (
        lambda: refine(write, judge, until=lambda grade: False, rounds=3),
        3,
        {"draft": "1", "grade": 2},
        {"write"},
    ),
    "refine by a pattern": (
        lambda: refine(write, chain(judge, extend), until=lambda grade: False, rounds=3),
        2,
        {"draft": "1", "grade": 2},
        set(),
    ),
    "loop of a chain": (
        lambda: refine(chain(write, extend), judge, until=lambda grade: False, rounds=3),
        1,
        {"draft": "1"},
        set(),
    ),
    "vote": (lambda: vote(write, 3, uncertain="?", needed=3), 2, {}, {"write"}),
    "guard": (lambda: guard(chain(write, extend), rated, bool), 1, {"draft": "1", "grade": 5}, set()),
    "guard that has not passed": (lambda: guard(write, chain(judge, extend), bool), 2, {}, {"chain_judge"}),
    "section": (lambda: section({"a": chain(write, extend), "b": keep}), 1, {"draft": "1"}, set()),
    "attempt": (lambda: attempt(chain(write, extend), otherwise={}), 1, {"draft": "1"}, set()),
    "within": (lambda: within(chain(write, extend), Budget(calls=1)), 1, {"draft": "1"}, set()),
}


@pytest.mark.parametrize("name", STOPPED)
def test_it_shows_what_it_has(name: str, session: Session) -> None:
    build, calls, values, unmerged = STOPPED[name]
    said = iter(range(1, 99))
    with using(ScriptedModel(lambda request, context: next(said))):
        result = run(build().compile(), Post(), session, "t", budget=Budget(calls=calls))
    assert (result.status, result.spent.calls) == ("partial", calls)
    assert shown(result) == (values, unmerged)

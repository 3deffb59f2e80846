from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from stepgraph import rule
from stepgraph.nodes.rules import decider_of
from stepgraph.state.errors import DefinitionError


@dataclass
class Post:
    draft: str = ""
    problems: list[str] = field(default_factory=list)


@rule("problems")
def check(post: Post) -> list[str]:
    """Find what is wrong."""
    return [] if post.draft else ["empty"]


async def test_a_rule_is_a_function_and_a_node() -> None:
    assert check(Post()) == ["empty"]
    assert await check.answer(Post("x")) == []
    assert check.invoke(Post()) == await check.ainvoke(Post()) == {"problems": ["empty"]}
    assert (check.name, check.writes, check.state, check.__doc__) == (
        "check",
        "problems",
        Post,
        "Find what is wrong.",
    )


def test_a_plain_function_becomes_a_rule_that_writes_nothing() -> None:
    def is_long(post: Post) -> bool:
        return len(post.draft) > 3

    made = decider_of(is_long, "route")
    assert made.answer_type is bool
    assert made.invoke(Post("long")) == {}
    with pytest.raises(DefinitionError, match="route: 3 is no step, no rule and no function"):
        decider_of(3, "route")


def test_a_rule_that_cannot_work_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Did you mean 'problems'\?"):

        @rule("problem")
        def misspelt(post: Post) -> list[str]:
            return []

    with pytest.raises(DefinitionError, match=r"answers with int, but Post\.draft"):

        @rule("draft")
        def misfit(post: Post) -> int:
            return 1

    with pytest.raises(DefinitionError, match=r"not @rule\."):
        rule(lambda post: [])  # type: ignore[arg-type]


def test_an_async_rule_serves_both_kinds_of_callers() -> None:
    @rule("draft")
    async def fetch(post: Post) -> str:
        await asyncio.sleep(0)
        return f"{post.draft}!"

    assert fetch(Post("a")) == "a!"
    assert fetch.invoke(Post("a")) == {"draft": "a!"}
    assert asyncio.run(fetch.ainvoke(Post("a"))) == {"draft": "a!"}
    assert asyncio.run(fetch.answer(Post("a"))) == "a!"

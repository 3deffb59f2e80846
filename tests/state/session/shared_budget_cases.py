"""Databases, a clock and two steps for the tests of shared budgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, step, using
from stepgraph.providers.model import Request
from stepgraph.providers.prices import Price

NOON = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)


PRICE = Price(input=1_000_000, output=1_000_000)  # a dollar a token, which is a word


@dataclass
class Post:
    topic: str = "tea"
    plan: str = ""
    draft: str = ""


@step("plan")
def plan(post: Post) -> Ask[str]:
    return Ask("plan", max_tokens=1)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("write", max_tokens=1)


GRAPH = chain(plan, write, name="blog")


APP = GRAPH.compile()


class Exact(ScriptedModel):
    """A model that knows how many tokens it counts: the words."""

    async def count_tokens(self, request: Request) -> int | None:
        return sum(len(str(message["content"]).split()) for message in request.messages)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("cluster"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        str(tmp_path / "runs.sqlite")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_url")
    )


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def opened(database: str, clock: Clock | None = None) -> Iterator[Session]:
    with using(Exact(lambda *_: "ok", price=PRICE)), Session(database, clock=clock) as session:
        yield session


def ada(**limits: Any) -> Budget:
    return Budget(**{"scope": "user:ada", "per": "day", **limits})

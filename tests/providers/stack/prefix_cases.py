"""What the tests of shared prefixes have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import Ask, chain, fan_out, section, step, vote

from ...caching_server import CachingServer

DOCUMENT = "".join(f"Clause {number}: nobody owes anybody anything. " for number in range(2000))[:80_000]


@dataclass
class Clause:
    number: int
    note: str = ""


@dataclass
class Contract:
    count: int = 32
    clauses: list[Clause] = field(default_factory=list)
    first: str = ""
    second: str = ""


def split(contract: Contract) -> list[Clause]:
    return [Clause(number) for number in range(contract.count)]


@step("note")
def read(clause: Clause) -> Ask[str]:
    return Ask(f"What does clause {clause.number} say?", prefix=DOCUMENT)


@step("first")
def one(contract: Contract) -> Ask[str]:
    return Ask("Who signs?", prefix=DOCUMENT)


@step("second")
def other(contract: Contract) -> Ask[str]:
    return Ask("Until when?", system="Answer with a date.", prefix=DOCUMENT)


SHAPES: dict[str, Any] = {
    "fan_out": fan_out(split, read, into="clauses"),
    "section": section({"one": one, "other": other}),
    "nested": chain(fan_out(split, chain(read), into="clauses"), section({"one": one, "other": other})),
    "vote": chain(vote(one, 5, uncertain=""), other),
}


@pytest.fixture
def caching() -> Iterator[CachingServer]:
    with CachingServer() as server:
        yield server

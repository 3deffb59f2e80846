"""A fan-out whose items workers share, seen from the graph: what it gives them, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from stepgraph import Session, fan_out, map_reduce
from stepgraph.graphs.engine.sharing import PartOutcome, SharedPart
from stepgraph.state.names import SPREAD_KEY


@dataclass
class Page:
    text: str
    score: int = 0


@dataclass
class Book:
    text: str = "one two three four five"
    pages: list[Page] = field(default_factory=list)
    whole: Page | None = None
    missing: dict[str, str] = field(default_factory=dict)


def split(book: Book) -> list[Page]:
    return [Page(word) for word in book.text.split()]


def grade(page: Page) -> dict[str, int]:
    if page.text == "two":
        raise ValueError("cannot read")
    return {"score": len(page.text)}


def add_up(pages: list[Page]) -> Page:
    return Page("".join(page.text for page in pages if page.text != "two"))


class Workers:
    """Workers that run each part's graph in this process when they are told to."""

    def __init__(self) -> None:
        self.plan: SharedPart | None = None
        self.items: list[Any] = []
        self.parts: dict[str, list[PartOutcome]] = {}
        self.begun: list[str] = []

    async def find(self, task: str) -> Sequence[PartOutcome]:
        return self.parts.get(task, ())

    async def begin(self, task: str, plan: SharedPart, items: Sequence[Any]) -> bool:
        self.plan, self.items = plan, list(items)
        self.begun.append(task)
        self.parts[task] = [PartOutcome(f"part {n}", "queued") for n in range(plan.parts)]
        return True

    async def go_on(self, parts: Sequence[PartOutcome]) -> None:
        raise AssertionError("no part has stopped")

    def work(self, number: int) -> None:
        """Run one part: every so manieth item, with the numbers that they have among all."""
        assert self.plan is not None
        parts = self.parts[self.begun[-1]]
        numbers = range(number, len(self.items), len(parts))
        done = self.plan.graph.invoke({"items": [self.items[n] for n in numbers]})["results"]
        results = [replace(result, index=n) for n, result in zip(numbers, done, strict=True)]
        parts[number] = PartOutcome(f"part {number}", "done", results=results)


shared = fan_out(split, grade, into="pages", failed="skip", missing="missing", spread=2)
reduced = map_reduce(
    split,
    grade,
    join=add_up,
    into="whole",
    parts="pages",
    tokens=99,
    failed="skip",
    missing="missing",
    spread=2,
)
SCORES = {"one": 3, "three": 5, "four": 4, "five": 4, "six": 3, "eleven": 6}


def is_worked_out(result: dict[str, Any]) -> bool:
    words = result["text"].split()
    return bool(
        [(page.text, page.score) for page in result["pages"]]
        == [(w, SCORES[w]) for w in words if w in SCORES]
        and result["missing"]
        == {str(n): "ValueError: cannot read" for n, w in enumerate(words) if w == "two"}
    )


@pytest.mark.parametrize("pattern", ["fan-out", "map-reduce"])
def test_the_results_of_workers_are_as_if_it_ran_here(session: Session, pattern: str) -> None:
    app = (shared if pattern == "fan-out" else reduced).compile()
    workers = Workers()
    config = session.config("t")
    config["configurable"][SPREAD_KEY] = workers
    given: Any = Book()
    for turn in range(2):  # the second does not take the results of the first
        app.invoke(given, config)
        assert len(workers.begun) == turn + 1
        assert app.get_state(config).next == ("share",)
        workers.work(1)
        app.invoke(None, config)
        assert app.get_state(config).next == ("share",), "it waits for all parts"
        workers.work(0)
        result = app.invoke(None, config)
        assert is_worked_out(result)
        if pattern == "map-reduce":
            assert result["whole"] == Page(
                result["text"].replace("two", "").replace(" ", ""), len(result["whole"].text)
            )
        given = {"text": "six two eleven"}
    assert len(workers.begun) == 2

"""The table in docs/patterns/README.md, made of what the matrix tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import test_matrix as matrix, test_on_engines as on_engines
from .cases import CASES

PROPERTIES: dict[str, Callable[..., Any]] = {
    "sync": matrix.test_sync,
    "async": matrix.test_async,
    "stream": matrix.test_stream,
    "resume after `kill -9`": matrix.test_resume_after_kill,
    "interrupt inside": matrix.test_interrupt_inside,
    "nested in every pattern": matrix.test_nested,
    "as a decider": matrix.test_as_a_decider,
    "fork": matrix.test_fork,
    "budget end inside": matrix.test_budget_end_inside,
    "failing model call inside": matrix.test_a_failing_model_call_inside,
}
ENGINES = {f"on {engine}": engine for engine in ("Temporal", "DBOS")}
COLUMNS = (*PROPERTIES, *ENGINES)
PAGES = {
    "gate with repair": "gate",
    "attempt that failed": "attempt",
    "fan_out": "fan-out",
    "map_reduce": "map-reduce",
    "cascade": "model-routing",
    "review with deadline": "review",
    "end": "gate",
}
TICK = "✓"


def covered(test: Callable[..., Any]) -> dict[str, set[str]]:
    """Return the values that a test runs with, by parameter."""
    marks: Iterable[Any] = getattr(test, "pytestmark", ())
    return {mark.args[0]: set(mark.args[1]) for mark in marks if mark.name == "parametrize"}


def cell(pattern: str, heading: str) -> str:
    """Return the tick of a pattern's property, empty where no test has the pattern among its values."""
    if heading in ENGINES:
        return TICK if all(_is_on(test, pattern, ENGINES[heading]) for test in on_engines.TESTS) else ""
    values = covered(PROPERTIES[heading])
    if heading == "nested in every pattern":
        count = len(values["outer"]) if pattern in values["inner"] else 0
        return f"{TICK} {count} of {len(CASES)}" if count else ""
    if pattern not in values["name"]:
        return ""
    if heading == "failing model call inside":
        return f"{TICK} {'goes on' if CASES[pattern].absorbs else 'stops'}"
    return TICK


def _is_on(test: Callable[..., Any], pattern: str, engine: str) -> bool:
    values = covered(test)
    return pattern in values["name"] and engine in values["played"]


def table() -> str:
    """Return the table as Markdown."""
    rows = [["pattern", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for name in CASES:
        page = PAGES.get(name, name)
        rows.append([f"[{name}]({page}.md)", *(cell(name, heading) for heading in COLUMNS)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)

"""Two runs side by side: the first step at which they part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.names import without_private
from .spans import Span


@dataclass(frozen=True)
class Pair:
    """One node execution of each of two runs; `a` or `b` is None where only the other run made it.

    `what` says in what they differ: status, decision, output; or input alone, if what came of it is the
    same. It is empty if they do not.
    """

    number: int
    path: str
    what: tuple[str, ...]
    a: Span | None
    b: Span | None


def paired(a: Sequence[Span], b: Sequence[Span]) -> Iterator[Pair]:
    """Yield the steps of two runs side by side, in the order of the first, then what only the other has.

    Executions of one path are paired in their order, so that branches side by side may end in any.
    """
    mine, theirs = _steps(a), _steps(b)
    for number, (key, span) in enumerate(mine.items()):
        other = theirs.get(key)
        yield Pair(number, span.path, ("only in a",) if other is None else _what(span, other), span, other)
    for number, (key, span) in enumerate(theirs.items()):
        if key not in mine:
            yield Pair(number, span.path, ("only in b",), None, span)


def first_difference(a: Sequence[Span], b: Sequence[Span]) -> Pair | None:
    """Return where two runs begin to differ, None if they never do."""
    return next((pair for pair in paired(a, b) if pair.what), None)


def _steps(spans: Sequence[Span]) -> dict[tuple[str, int], Span]:
    """Return the executions of nodes that hold no others, by path and occurrence; the last try counts."""
    nodes = [span for span in spans if span.kind == "node"]
    outer = {span.parent_id for span in nodes}
    latest = {span.task: span for span in nodes if span.id not in outer}
    seen: Counter[str] = Counter()
    found = {}
    for span in latest.values():
        found[span.path, seen[span.path]] = span
        seen[span.path] += 1
    return found


def _what(a: Span, b: Span) -> tuple[str, ...]:
    compared = {
        "status": a.status != b.status,
        "decision": _choice(a) != _choice(b),
        "output": public(a.row.get("output")) != public(b.row.get("output")),
        "input": public(a.row.get("input")) != public(b.row.get("input")),
    }
    return tuple(name for name, differs in compared.items() if differs)


def _choice(span: Span) -> Any:
    return span.decision and span.decision["choice"]


def public(text: str | None) -> Any:
    """Return what a JSON text says, without the patterns' own bookkeeping."""
    value = json.loads(text) if text else None
    return without_private(value) if isinstance(value, dict) else value

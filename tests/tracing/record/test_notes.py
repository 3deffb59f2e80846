"""The remarks that stand beside a span, in the terminal and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from stepgraph.tracing.record.notes import notes
from stepgraph.tracing.record.run import Run
from stepgraph.tracing.record.spans import Span, Trace
from stepgraph.tracing.record.threads import Thread

TRACE = Trace("trace", "t", 1, "app")
NODE = Span(TRACE, "node", "n", "r", "draft", "draft", "draft:1", "done", 0.0, 1.0, {})
CALL = replace(NODE, kind="call", id="c", row={"attempt": 1, "problem": None, "finish_reason": "stop"})


def told(span: Span, call: Span | None = None, *others: Span, **scores: Any) -> list[str]:
    thread = cast("Thread", None)  # no remark looks at it
    return list(notes(Run(thread, "done", False, [*others, span], **scores), span, call))


def row(**values: Any) -> dict[str, Any]:
    return {name: value if name == "problem" else json.dumps(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (NODE, []),
        (replace(NODE, decision={"choice": "billing", "confidence": 0.9}), ["→ billing, 0.90 sure"]),
        (replace(NODE, decision={"choice": "a\nb", "confidence": None}), ["→ a b"]),
        (replace(NODE, error="it\nfailed"), ["it failed"]),
        (replace(NODE, error="x" * 121), ["x" * 119 + "…"]),
        (replace(NODE, row=row(interrupts=["Fine?", "Sure?"])), ["asks Fine?"]),
        (replace(NODE, row=row(interrupts="Fine?")), ["asks Fine?"]),
        (replace(NODE, row=row(interrupts=[])), ["asks []"]),
        (
            replace(NODE, row=row(input={"a": 1, "b": 2}, output={"a": 1, "b": 3, "c": "x" * 41})),
            ["wrote b = 3, c = " + "x" * 40 + "…"],
        ),
        (replace(NODE, row=row(input={"a": 1}, output={"a": 1})), []),
        (replace(NODE, kind="run", row=row(input={"a": 1}, output={"a": 2})), []),
        (
            replace(NODE, row=row(output={"a": 2}), decision={"choice": "b", "confidence": None}),
            ["→ b"],
        ),
    ],
    ids=lambda value: None if isinstance(value, Span) else str(value)[:30],
)
def test_what_a_node_did(span: Span, expected: list[str]) -> None:
    assert told(span) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (CALL, []),
        (replace(CALL, source="cache"), ["from the cache"]),
        (replace(CALL, source="replayed"), ["replayed at no cost"]),
        (replace(CALL, source="coalesced"), ["coalesced with an equal call"]),
        (replace(CALL, source="override"), ["override"]),
        (replace(CALL, row={**CALL.row, "attempt": 2, "problem": "no\nJSON"}), ["attempt 2", "no JSON"]),
    ],
)
def test_where_an_answer_came_from(call: Span, expected: list[str]) -> None:
    assert told(NODE, call) == expected
    assert told(replace(NODE, error="node failed"), call)[-1] == "node failed"


def test_scores_are_told_by_number_or_label() -> None:
    scores = [
        {"name": "tone", "value": 0.50, "label": None},
        {"name": "kind", "value": None, "label": "rude"},
        {"name": "zero", "value": 0.0, "label": "none"},
    ]
    assert told(NODE, scores={"n": scores, "other": scores}) == ["tone: 0.5", "kind: rude", "zero: 0"]


def test_a_pause_before_an_invocation_is_told() -> None:
    first = replace(NODE, kind="run", id="1", status="interrupted", ended_at=2.0)
    later = replace(NODE, kind="run", id="2", started_at=62.0, ended_at=63.0)
    assert told(later, None, first) == ["after a pause of 60.0 s"]
    assert told(first, None, later) == []

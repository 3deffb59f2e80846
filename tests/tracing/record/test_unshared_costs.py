"""What calls would cost had no answer been shared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.cost import Cost
from stepgraph.state.journal.records import Call
from stepgraph.tracing.record.reads import unshared_costs

PAID = Call(
    id="paid",
    thread_id="first",
    task="node:1",
    path="node",
    step="draft",
    role="default",
    request_hash="hash",
    occurrence=0,
    attempt=1,
    status="answered",
    model_asked="m",
    messages="[]",
    params="{}",
    latency_s=1.0,
    started_at=1.0,
    input_tokens=10,
    output_tokens=5,
    cost_usd=0.25,
)


def taken(origin: str, source: Any, id: str = "a", thread_id: str = "t") -> Call:
    call = replace(PAID, id=id, thread_id=thread_id, source=source, origin=origin)
    return replace(call, input_tokens=None, output_tokens=None, cost_usd=None)


@pytest.mark.parametrize(
    ("calls", "cost"),
    [
        ([replace(PAID, thread_id="t")], Cost(1, 10, 5, 0.25)),
        ([PAID, taken("paid", "cache")], Cost(1, 10, 5, 0.25)),
        ([PAID, taken("paid", "coalesced")], Cost(1, 10, 5, 0.25)),
        (
            [PAID, taken("paid", "cache", id="a", thread_id="second"), taken("a", "cache", id="b")],
            Cost(1, 10, 5, 0.25),
        ),
        ([taken("gone", "cache")], Cost(1, unknown=1)),
        ([replace(PAID, cost_usd=None), taken("paid", "cache")], Cost(1, 10, 5, 0.0, 1)),
        ([replace(PAID, thread_id="t", cost_usd=None, status="failed")], Cost(1, 10, 5)),
    ],
    ids=["paid", "cached", "coalesced", "cached twice", "forgotten", "unknown price", "failed"],
)
async def test_a_shared_answer_costs_what_its_call_cost(
    session: Session, calls: list[Call], cost: Cost
) -> None:
    for call in calls:
        await session.journal.commit_call(call)
    assert unshared_costs(session.journal, "t") == [("draft", "default", cost)]

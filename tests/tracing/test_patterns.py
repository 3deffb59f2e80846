"""Every pattern, traced: each span once, under its parent, and the costs are those of the server's counts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepgraph import (
    Ask,
    Budget,
    Session,
    chain,
    ensemble,
    fan_out,
    gate,
    guard,
    refine,
    route,
    section,
    step,
    using,
    vote,
    within,
)
from stepgraph.tracing.live import Tracing
from stepgraph.tracing.spans import read_spans
from stepgraph.tracing.waterfall import bars_of

from ..servers import ChatServer
from .receivers import Receiver, attributes, cost_of


@dataclass
class Item:
    number: int = 0
    text: str = ""


@dataclass
class Doc:
    topic: str = "tea"
    one: str = ""
    two: str = ""
    ok: bool = False
    items: list[Item] = field(default_factory=list)


@step("one")
def first(doc: Doc) -> Ask[str]:
    return Ask(f"First on {doc.topic}")


@step("two")
def second(doc: Doc) -> Ask[str]:
    return Ask(f"Second on {doc.topic} after {doc.one}")


@step("ok")
def judge(doc: Doc) -> Ask[bool]:
    return Ask(f"Is it good? {doc.one} {doc.two}")


@step("text")
def work(item: Item) -> Ask[str]:
    return Ask(f"Work on {item.number}")


def split(doc: Doc) -> list[Item]:
    return [Item(number) for number in range(4)]


def topic(doc: Doc) -> str:
    return doc.topic


def fine(doc: Doc) -> bool:
    return True


PATTERNS: dict[str, Callable[[], Any]] = {
    "chain": lambda: chain(first, second),
    "gate": lambda: chain(first, gate(fine), second),
    "route": lambda: route(topic, {"tea": first, "coffee": second}),
    "refine": lambda: refine(first, judge, until=bool, rounds=3),
    "section": lambda: section({"left": first, "right": second}, merge=judge),
    "vote": lambda: vote(first, 3, uncertain="nobody knows"),
    "guard": lambda: guard(first, fine),
    "fan_out": lambda: fan_out(split, work, into="items"),
    "ensemble": lambda: ensemble([first, first], score=lambda doc: 1.0),
    "within": lambda: within(chain(first, second), Budget(calls=5)),
    "nested": lambda: chain(route(topic, {"tea": section({"a": chain(first), "b": second})}), judge),
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern(name: str, server: ChatServer, receiver: Receiver, tmp_path: Path) -> None:
    app = PATTERNS[name]().compile()
    with (
        using(server.spec(price={"input": 3, "output": 15})),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        app.invoke(Doc(), session.config("t"))
        calls = session.journal.query("SELECT * FROM calls")
        everything = read_spans(session.journal.query, "t")

    spans = {span.span_id.hex(): span for span in receiver.spans}
    assert len(spans) == len(receiver.spans)
    assert {key: span.parent_span_id.hex() or None for key, span in spans.items()} == {
        span.id: span.parent_id for span in everything
    }
    told = [attributes(span) for span in spans.values()]
    assert [a for a in told if a["langfuse.observation.metadata.status"] == "unfinished"] == []
    generations = [a for a in told if a["langfuse.observation.type"] == "generation"]
    assert len(generations) == len(calls)
    answered = sum(call["status"] == "answered" and call["source"] == "model" for call in calls)
    assert answered > 0

    each = (100 * 3 + 20 * 15) / 1e6
    total = math.fsum(map(cost_of, spans.values()))
    assert total == math.fsum(call["cost_usd"] or 0 for call in calls) == pytest.approx(answered * each)
    assert all(json.loads(a["langfuse.observation.cost_details"])["total"] in (0, each) for a in generations)
    (bar,) = bars_of(everything)
    assert bar.calls == len(calls)
    assert bar.cost_usd == pytest.approx(total)

    nodes = {span.id: span for span in everything if span.kind == "node"}
    for span in everything:
        if span.kind == "call":
            assert span.parent_id in nodes, "every call belongs to the node that made it"
            assert nodes[span.parent_id].task == span.task
        if span.kind == "node" and span.parent_id in nodes:
            assert span.path.startswith(nodes[span.parent_id].path + "/")
            assert nodes[span.parent_id].started_at <= span.started_at
            assert span.ended_at <= nodes[span.parent_id].ended_at

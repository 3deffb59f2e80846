"""Every pattern, traced: each span once, under its parent; costs are, to the cent, what the server counted.

A token costs a whole number of dollars, so that sums are exact whatever their order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire

from stepgraph import Session, ToolCall, chain, using, vote
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.roots import with_whole_roots
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.spans import Span
from stepgraph.tracing.record.tree import SpanNode, tree_of

from ..patterns.cases import CASES, Script, Task, note, write
from ..patterns.test_matrix import to_the_end
from ..servers import Answer, ChatServer, Fault
from .receivers import Receiver, attributes, cost_of

PRICE = {"input": 2_000_000, "cached": 1_000_000, "output": 5_000_000}
NESTED = {
    "nested": lambda: CASES["section"].build(CASES["route"].build(CASES["refine"].build(write))),
    "twice": lambda: chain(CASES["vote"].build(write), CASES["agent"].build(write)),
}
ALL = {**{name: lambda case=case: case.build(chain(write, note)) for name, case in CASES.items()}, **NESTED}
META = "langfuse.observation.metadata."


class Provider:
    """A model server that answers as the script does, each time at another length, and counts its charges."""

    def __init__(self, server: ChatServer) -> None:
        self.server = server
        self.charged = 0
        self.hanging = 0  # so many of the next calls get no answer
        self.script = Script()
        server.decide = self.decide

    def decide(self) -> Answer | Fault:
        if self.hanging:
            self.hanging -= 1
            return Answer("never", delay_s=60)
        body = self.server.bodies[-1]
        told = any(message["role"] == "tool" for message in body["messages"])
        prompt = next(str(m["content"]) for m in body["messages"] if m["role"] == "user")
        said = self.script.answer(prompt, told=told)
        if isinstance(said, ToolCall):
            return self.charge(Answer(tool_calls=((said.name, json.dumps(said.arguments)),)))
        return self.charge(Answer(json.dumps({"answer": said}) if "response_format" in body else str(said)))

    def charge(self, answer: Answer) -> Answer:
        number = self.server.calls
        counted = replace(answer, input_tokens=100 + number, output_tokens=7 * number, cached=number)
        self.charged += 100 * 2 + number * 1 + 7 * number * 5
        return counted


@pytest.fixture
def provider(server: ChatServer) -> Provider:
    return Provider(server)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def check(session: Session, thread: str, sent: list[Wire]) -> tuple[list[Span], float]:
    """Check a thread's spans as they arrived against the file, and return them with what they cost."""
    calls = session.journal.query("SELECT * FROM calls WHERE thread_id = ?", (thread,))
    hits = session.journal.query("SELECT * FROM replays WHERE thread_id = ?", (thread,))
    spans = with_whole_roots(read_spans(session.journal.query, thread))
    arrived = {span.span_id.hex(): span for span in sent}
    assert len(arrived) == len(sent), "each span once"
    assert {key: span.parent_span_id.hex() or None for key, span in arrived.items()} == {
        span.id: span.parent_id for span in spans
    }
    assert len({span.trace_id for span in sent}) == 1
    (root,) = (span for span in spans if span.parent_id is None)
    told = {span.id: attributes(arrived[span.id]) for span in spans}
    nodes = {span.id: span for span in spans if span.kind == "node"}
    costs: Counter[str] = Counter()
    for span in spans:
        facts = told[span.id]
        assert facts["session.id"] == thread
        assert facts["langfuse.trace.name"] == root.name
        assert facts[f"{META}status"] == span.status
        if span.kind == "call":
            assert span.parent_id in nodes, "every call belongs to the node that made it"
            assert nodes[span.parent_id].task == span.task
            assert arrived[span.id].name == span.row["step"], "short, to group by"
            assert facts["langfuse.observation.type"] == "generation"
            assert json.loads(facts["langfuse.observation.input"])
            details = json.loads(facts["langfuse.observation.cost_details"])
            assert details["total"] == sum(cost for kind, cost in details.items() if kind != "total") or (
                set(details) == {"total"} and details["total"] == 0
            )
            usage = json.loads(facts["langfuse.observation.usage_details"])
            assert usage.pop("total") == sum(usage.values())
            costs[span.task] += details["total"]
        else:
            assert "langfuse.observation.cost_details" not in facts
        if span.parent_id in nodes and span.kind == "node":
            outer = nodes[span.parent_id]
            assert span.path.startswith(f"{outer.path}/")
            assert outer.started_at <= span.started_at
            assert span.ended_at <= outer.ended_at
    assert sum(span.kind == "call" for span in spans) == len(calls) + len(hits)
    journaled: Counter[str] = Counter()
    for call in calls:
        journaled[call["task"]] += call["cost_usd"] or 0
    assert +costs == +journaled, "node by node"
    bars = tree_of(spans)
    assert sum(bar.cost.known_usd for bar in bars) == sum(costs.values()) == sum(map(cost_of, sent))
    assert all(bar.cost.known_usd == own_and_inner(bar) for outer in bars for bar in outer.walk())
    return spans, sum(costs.values())


def own_and_inner(bar: SpanNode) -> float:
    if bar.span.kind == "call":
        return bar.span.cost_usd or 0.0
    return sum(inner.cost.known_usd for inner in bar.children)


@pytest.mark.parametrize("name", ALL)
def test_a_pattern(name: str, provider: Provider, receiver: Receiver, tmp_path: Path) -> None:
    with (
        using(provider.server.spec(price=PRICE)),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        result, _ = to_the_end(ALL[name]().compile(), Task(), session.config("t"))
    assert result["draft"].startswith("draft ")
    with Session(tmp_path / "runs.sqlite") as session:
        spans, cost = check(session, "t", receiver.spans)
    assert cost == provider.charged > 0
    assert not [span for span in spans if span.status == "unfinished"]
    calls = [attributes(s) for s in receiver.spans if s.kind == Wire.SPAN_KIND_CLIENT]
    assert all(call["langfuse.observation.model.name"] == "served-2026" for call in calls)
    if name == "agent":
        (asked,) = [o for c in calls if "tool_calls" in (o := c["langfuse.observation.output"])]
        assert json.loads(asked)["tool_calls"][0]["function"]["name"] == "consult"


@pytest.mark.parametrize("name", CASES)
def test_a_pattern_with_a_failure_a_retry_and_a_fallback(
    name: str, provider: Provider, receiver: Receiver, tmp_path: Path
) -> None:
    """The first call meets a server that is busy twice, then a second model answers everything."""
    with ChatServer() as busy:
        busy.always = Fault(status=503, headers={"Retry-After": "0"})
        models = [busy.spec(price=PRICE, retries=1), provider.server.spec(price=PRICE)]
        with (
            using(models),
            Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
        ):
            to_the_end(CASES[name].build(write).compile(), Task(), session.config("t"))
        refused = busy.calls
    with Session(tmp_path / "runs.sqlite") as session:
        _, cost = check(session, "t", receiver.spans)
    assert cost == provider.charged > 0
    failed = [a for s in receiver.spans if (a := attributes(s)).get(f"{META}attempt") and s.status.code == 2]
    assert len(failed) == refused >= 2
    assert all(a["langfuse.observation.cost_details"] == '{"total": 0.0}' for a in failed)
    assert {a[f"{META}attempt"] for a in failed} == {"1", "2"}


@pytest.mark.parametrize("name", CASES)
def test_a_pattern_from_the_cache(name: str, provider: Provider, receiver: Receiver, tmp_path: Path) -> None:
    """A second thread that asks the same gets its answers from the first one's, at no cost."""
    with using(provider.server.spec(price=PRICE)), Session(tmp_path / "runs.sqlite") as session:
        app = CASES[name].build(write).compile()
        to_the_end(app, Task(), session.config("a", cache_s=3600))
    paid, asked = provider.charged, provider.server.calls
    with (
        using(provider.server.spec(price=PRICE)),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        to_the_end(app, Task(), session.config("b", cache_s=3600))
    with Session(tmp_path / "runs.sqlite") as session:
        spans, cost = check(session, "b", receiver.spans)
    assert cost == provider.charged - paid
    cached = [span for span in spans if span.kind == "call" and span.source == "cache"]
    made = [span for span in spans if span.kind == "call" and span.source == "model"]
    assert cached
    assert len(made) == provider.server.calls - asked


def test_draws_that_are_called_off_cost_nothing(
    provider: Provider, receiver: Receiver, tmp_path: Path
) -> None:
    """Of five draws three agree; the two that hang are there as what they are."""
    provider.hanging = 2
    with (
        using(provider.server.spec(price=PRICE)),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        app = vote(write, 5, uncertain="?", key=lambda draft: draft.split()[0]).compile()
        app.invoke(Task(), session.config("t"))
    with Session(tmp_path / "runs.sqlite") as session:
        _, cost = check(session, "t", receiver.spans)
    assert cost == provider.charged > 0
    called_off = [s for s in receiver.spans if s.kind == Wire.SPAN_KIND_CLIENT and s.status.code == 2]
    assert len(called_off) == 2
    assert {cost_of(span) for span in called_off} == {0.0}


def test_a_doubled_call_is_two_calls(provider: Provider, receiver: Receiver, tmp_path: Path) -> None:
    provider.hanging = 1
    with (
        using(provider.server.spec(price=PRICE, hedge_after_s=0.1)),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        chain(write).compile().invoke(Task(), session.config("t"))
    with Session(tmp_path / "runs.sqlite") as session:
        spans, cost = check(session, "t", receiver.spans)
    assert cost == provider.charged > 0
    assert sorted(span.status for span in spans if span.kind == "call") == ["done", "failed"]

"""What arrives at an OTLP endpoint: attributes, parents and costs, for real calls over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from stepgraph import Ask, Budget, Session, chain, gate, refine, route, run, step, using
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.record.read_spans import read_spans

from ..servers import Answer, ChatServer, Fault
from .receivers import Receiver, attributes, by_name, cost_of

PRICE = {"input": 3, "output": 15, "cached": 0.3}


class Grade(BaseModel):
    score: int


@dataclass
class Post:
    topic: str = "tea"
    kind: str = ""
    draft: str = ""
    grade: Grade | None = None
    approved: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write on {post.topic}")


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask(f"Grade {post.draft}")


def approve(post: Post) -> dict[str, str]:
    return {"approved": interrupt(f"Publish {post.draft}?")}


def is_long(post: Post) -> bool:
    return len(post.draft) > 2


polish = refine(write, judge, until=lambda grade: grade.score > 3, rounds=3)


def kind_of(post: Post) -> Literal["howto", "opinion"]:
    return "howto" if post.topic == "tea" else "opinion"


workflow = chain(
    route(kind_of, {"howto": chain(polish, gate(is_long), name="make"), "opinion": write}), approve
)

GOOD, BAD = '{"score": 5}', '{"score": 1}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "runs.sqlite"


def charged(server: ChatServer, answers: list[Answer]) -> float:
    """Return what a provider charges that counts as the server did."""
    return math.fsum(
        (
            (a.input_tokens - (a.cached or 0)) * PRICE["input"]
            + (a.cached or 0) * PRICE["cached"]
            + a.output_tokens * PRICE["output"]
        )
        / 1e6
        for a in answers
    )


def journaled(session: Session) -> float:
    rows = session.journal.query("SELECT cost_usd FROM calls WHERE cost_usd IS NOT NULL")
    return math.fsum(row["cost_usd"] for row in rows)


def test_a_run_of_nested_patterns_arrives_whole_and_its_costs_add_up(
    server: ChatServer, receiver: Receiver, file: Path
) -> None:
    answers = [
        Answer("one", input_tokens=100, output_tokens=31, cached=40),
        Answer(BAD, input_tokens=77, output_tokens=9),
        Answer("two two", input_tokens=123, output_tokens=35),
        Answer("no JSON", input_tokens=80, output_tokens=7),
        Answer(GOOD, input_tokens=91, output_tokens=9, reasoning="well"),
    ]
    server.will(*answers)
    app = workflow.compile()
    with (
        using(server.spec(price=PRICE, retries=0)),
        Session(
            file, tracing=Tracing(receiver.settings(labels={"environment": "test", "version": "7"}))
        ) as session,
    ):
        app.invoke(Post(), session.config("t", user="ada", tags=["beta"]))
        app.invoke(Command(resume="yes"), session.config("t"))
        total = journaled(session)

    assert server.calls == 5
    spans = receiver.spans
    assert len({span.span_id for span in spans}) == len(spans)
    assert len({span.trace_id for span in spans}) == 1
    assert math.fsum(map(cost_of, spans)) == total == charged(server, answers)

    ids = {span.span_id: span for span in spans}
    roots = [span for span in spans if not span.parent_span_id]
    assert [root.name for root in roots] == [workflow.name]
    assert all(span.parent_span_id in ids for span in spans if span.parent_span_id)

    named = by_name(spans)
    (loop,) = named["refine_write"]
    path = []
    at = loop
    while at.parent_span_id:
        path.append(at.name)
        at = ids[at.parent_span_id]
    assert path[-1] != "refine_write"
    calls = [span for span in spans if attributes(span)["langfuse.observation.type"] == "generation"]
    assert [call.name.rsplit("/", 1)[-1] for call in sorted(calls, key=lambda c: c.start_time_unix_nano)] == [
        "write",
        "judge",
        "write",
        "judge",
        "judge",
    ]
    assert all(ids[call.parent_span_id].name == call.name.rsplit("/", 1)[-1] for call in calls)

    first = attributes(min(calls, key=lambda call: call.start_time_unix_nano))
    assert first["session.id"] == "t"
    assert first["user.id"] == "ada"
    assert first["langfuse.trace.tags"] == ["beta"]
    assert first["langfuse.environment"] == "test"
    assert first["langfuse.version"] == first["langfuse.release"] == "7"
    assert first["langfuse.observation.model.name"] == "served-2026"
    assert first["langfuse.observation.metadata.model_asked"] == "served"
    assert json.loads(first["langfuse.observation.usage_details"]) == {
        "input": 60,
        "input_cached_tokens": 40,
        "output": 31,
        "total": 131,
    }
    assert json.loads(first["langfuse.observation.cost_details"]) == {
        "input": 60 * 3 / 1e6,
        "input_cached_tokens": 40 * 0.3 / 1e6,
        "output": 31 * 15 / 1e6,
        "total": charged(server, answers[:1]),
    }
    assert first["langfuse.observation.output"] == "one"
    assert json.loads(first["langfuse.observation.input"]) == [{"role": "user", "content": "Write on tea"}]

    rejected = [call for call in calls if attributes(call)["langfuse.observation.level"] == "WARNING"]
    assert [
        "not valid JSON" in attributes(call)["langfuse.observation.status_message"] for call in rejected
    ] == [True]
    thought = json.loads(
        attributes(max(calls, key=lambda c: c.start_time_unix_nano))["langfuse.observation.output"]
    )
    assert thought["reasoning_content"] == "well"

    judged = [
        attributes(span)
        for span in named["judge"]
        if "langfuse.observation.metadata.decision.kind" in attributes(span)
    ]
    assert [a["langfuse.observation.metadata.decision.choice"] for a in judged] == ["again", "approved"]
    assert {a["langfuse.observation.type"] for a in judged} == {"evaluator"}
    written = attributes(named["write"][0])
    assert json.loads(written["langfuse.observation.input"])["topic"] == "tea"
    assert json.loads(written["langfuse.observation.output"]) == {"draft": "one"}
    assert json.loads(written["langfuse.observation.metadata.changed"]) == ["draft"]
    assert written["langfuse.observation.metadata.checkpoint_id"]

    asked, answered = (attributes(span) for span in named["approve"])
    assert json.loads(asked["langfuse.observation.output"]) == ["Publish two two?"]
    assert (asked["langfuse.observation.level"], answered["langfuse.observation.level"]) == (
        "WARNING",
        "DEFAULT",
    )
    (resumed,) = named[f"{workflow.name} (resumed)"]
    assert json.loads(attributes(resumed)["langfuse.observation.input"]) == "yes"


def test_retries_failures_and_unknown_prices_are_told_and_cost_what_they_cost(
    server: ChatServer, receiver: Receiver, file: Path
) -> None:
    server.will(Fault(status=503, headers={"Retry-After": "0"}), Answer("fine"))
    with (
        using(server.spec(retries=1)),
        Session(file, tracing=Tracing(receiver.settings())) as session,
    ):
        chain(write).compile().invoke(Post(), session.config("t"))
    failed, good = sorted(
        (
            s
            for s in receiver.spans
            if s.name == "write" and "langfuse.observation.usage_details" in attributes(s)
        ),
        key=lambda s: s.start_time_unix_nano,
    )
    assert attributes(failed)["langfuse.observation.level"] == "ERROR"
    assert attributes(failed)["langfuse.observation.cost_details"] == '{"total": 0.0}'
    told = attributes(good)
    assert told["langfuse.observation.metadata.attempt"] == "2"
    assert "langfuse.observation.cost_details" not in told
    assert told["langfuse.observation.model.name"] == "served-2026 (no price)"
    assert "not known" in told["langfuse.observation.status_message"]
    assert json.loads(told["langfuse.observation.usage_details"])["total"] == 120


def test_a_budget_is_told_with_what_was_spent_and_left(
    server: ChatServer, receiver: Receiver, file: Path
) -> None:
    with (
        using(server.spec(price=PRICE, retries=0)),
        Session(file, tracing=Tracing(receiver.settings())) as session,
    ):
        run(chain(write, judge).compile(), Post(), session, "t", budget=Budget(calls=1, usd=1.0))
    told = {span.name: attributes(span) for span in receiver.spans}
    (name,) = [n for n, a in told.items() if a["langfuse.observation.type"] == "chain"]
    root = told[name]
    assert root["langfuse.observation.level"] == "WARNING"
    assert json.loads(root["langfuse.observation.metadata.budget_spent"])["calls"] == 1
    left = json.loads(root["langfuse.observation.metadata.budget_left"])
    assert (left["calls"], left["usd"]) == (0, 1.0 - (100 * 3 + 20 * 15) / 1e6)
    call = next(a for a in told.values() if a["langfuse.observation.type"] == "generation")
    assert json.loads(call["langfuse.observation.metadata.reserved"])["tokens"] > 120
    assert "budget" in told["judge"]["langfuse.observation.output"]


def test_cache_hits_and_replays_are_there_and_cost_nothing(
    server: ChatServer, receiver: Receiver, file: Path
) -> None:
    crash = True

    def fragile(post: Post) -> dict[str, str]:
        if crash:
            raise RuntimeError("the process dies here")
        return {"approved": "yes"}

    async def asks_then_breaks(post: Post) -> dict[str, str]:
        draft = await write.answer(post)
        return {"draft": draft, **fragile(post)}

    app = chain(judge, asks_then_breaks).compile()
    with (
        using(server.spec(price=PRICE)),
        Session(file, tracing=Tracing(receiver.settings())) as session,
    ):
        with pytest.raises(RuntimeError):
            app.invoke(Post(), session.config("a"))
        crash = False
        app.invoke(None, session.config("a"))
        app.invoke(Post(), session.config("b", cache_s=60))
        total = journaled(session)
    assert server.calls == 2
    sources = sorted(
        attributes(span).get("langfuse.observation.metadata.source", "") for span in receiver.spans
    )
    assert [source for source in sources if source] == ["cache", "cache", "model", "model", "replayed"]
    assert math.fsum(map(cost_of, receiver.spans)) == total == charged(server, [Answer(), Answer()])
    traces = {attributes(span)["session.id"]: span.trace_id for span in receiver.spans}
    assert len({span.trace_id for span in receiver.spans}) == len(traces) == 2


def test_spans_are_pushed_later_once(server: ChatServer, receiver: Receiver, file: Path) -> None:
    with using(server.spec(price=PRICE)), Session(file) as session:
        workflow.compile().invoke(Post("news"), session.config("t"))
        assert receiver.spans == []
        (first,) = push(session, [receiver.langfuse()])
        (second,) = push(session, [receiver.langfuse()])
        count = len(receiver.spans)
        workflow.compile().invoke(Command(resume="yes"), session.config("t"))
        (third,) = push(session, [receiver.langfuse()])
        everything = read_spans(session.journal.query, "t")
    # The trace went on: its root is told again, with what came of the whole.
    assert (first.arrived, second.arrived, third.arrived) == (count, 0, len(everything) - count + 1)
    assert count > 0
    assert {s.span_id.hex() for s in receiver.spans} == {s.id for s in everything}
    before, after = (attributes(s) for s in receiver.spans if not s.parent_span_id)
    level, output = "langfuse.observation.level", "langfuse.observation.output"
    assert (before[level], after[level]) == ("WARNING", "DEFAULT")
    assert json.loads(after[output])["approved"] == "yes"
    assert len(receiver.spans) == len(everything) + 1


def test_any_otlp_endpoint_gets_the_conventions_for_generative_ai(
    server: ChatServer, receiver: Receiver, file: Path
) -> None:
    from stepgraph.tracing.export.otlp import Destination

    anywhere = Destination("otlp", f"{receiver.url}/v1/traces", {"x-key": "k"})
    with using(server.spec(price=PRICE)), Session(file) as session:
        chain(write).compile().invoke(Post(), session.config("t"))
        push(session, [anywhere])
    (path, headers, _), *_ = receiver.requests
    assert path == "/v1/traces"
    assert headers["x-key"] == "k"
    call = next(a for s in receiver.spans if (a := attributes(s)).get("gen_ai.operation.name") == "chat")
    assert call["gen_ai.conversation.id"] == "t"
    assert (call["gen_ai.request.model"], call["gen_ai.response.model"]) == ("served", "served-2026")
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (100, 20)
    assert call["stepgraph.cost_usd"] == (100 * 3 + 20 * 15) / 1e6
    assert json.loads(call["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Write on tea"}]}
    ]
    assert json.loads(call["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "ok"}]
    run = next(
        a for s in receiver.spans if (a := attributes(s)).get("gen_ai.operation.name") == "invoke_workflow"
    )
    assert json.loads(run["output.value"])["draft"] == "ok"


def names_in(module: Any) -> set[str]:
    return {value for name, value in vars(module).items() if name.isupper()}


def test_langfuses_own_words_are_used_and_its_trace_ids() -> None:
    from langfuse import Langfuse
    from langfuse._client.attributes import LangfuseOtelSpanAttributes

    from stepgraph.tracing.export import langfuse as ours
    from stepgraph.tracing.record.spans import trace_id

    known = names_in(LangfuseOtelSpanAttributes)
    used = {
        "session.id",
        "user.id",
        "langfuse.trace.name",
        "langfuse.trace.tags",
        "langfuse.environment",
        "langfuse.release",
        "langfuse.version",
        "langfuse.internal.is_app_root",
        *(f"{ours._OBSERVATION}{n}" for n in ("type", "input", "output", "level", "status_message")),
        *(f"{ours._OBSERVATION}{n}" for n in ("model.name", "model.parameters", "usage_details")),
        *(f"{ours._OBSERVATION}{n}" for n in ("cost_details", "completion_start_time", "metadata")),
    }
    assert used <= known
    assert trace_id("t", 12.5, 0) == Langfuse.create_trace_id(seed="t 12.5 0")

"""Beside the real Langfuse SDK: its words, its headers, its callback handler; and it is left to its owner."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from langfuse._client.span_processor import LangfuseSpanProcessor
from langfuse.langchain import CallbackHandler
from langgraph.graph import END, START, StateGraph
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import TracerProvider

from stepgraph import Session, chain, using
from stepgraph.tracing.export.http_session import HttpSession
from stepgraph.tracing.export.live import Tracing
from stepgraph.tracing.export.otlp import Destination, Sender
from stepgraph.tracing.export.outbox import push
from stepgraph.tracing.record.read_spans import read_spans

from ..patterns.cases import Task, publish, write
from ..servers import ChatServer, unused_url
from .receivers import Receiver, attributes, cost_of

PRICE = {"input": 1_000_000, "output": 1_000_000}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def theirs() -> Iterator[Receiver]:
    """Where the user's own Langfuse client sends to."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client(theirs: Receiver) -> Iterator[Langfuse]:
    client = Langfuse(
        public_key="pk-lf-user", secret_key="sk", base_url=theirs.url, tracer_provider=TracerProvider()
    )
    yield client
    client.shutdown()
    LangfuseResourceManager._instances.pop("pk-lf-user", None)


def generations(receiver: Receiver) -> list[dict[str, Any]]:
    told = map(attributes, receiver.spans)
    return [facts for facts in told if facts.get("langfuse.observation.type") == "generation"]


def test_requests_are_those_of_the_sdks_own_exporter(
    receiver: Receiver, session: Session, server: ChatServer
) -> None:
    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("t"))
    push(session, [receiver.langfuse()])
    provider = TracerProvider()
    provider.add_span_processor(
        LangfuseSpanProcessor(
            public_key="pk-lf-test",
            secret_key="sk-lf-test",
            base_url=receiver.url,
            should_export_span=lambda span: True,
        )
    )
    with provider.get_tracer("x").start_as_current_span("theirs"):
        pass
    provider.force_flush()
    provider.shutdown()
    (our_path, ours, _), (path, their_headers, _) = receiver.requests
    differ = {"content-length", "user-agent"}
    assert our_path == path
    ours, their_headers = (
        {name.lower(): value for name, value in headers.items() if name.lower() not in differ}
        for headers in (ours, their_headers)
    )
    assert ours == their_headers


def test_spans_say_that_they_come_from_the_sdk(
    receiver: Receiver, theirs: Receiver, client: Langfuse, session: Session, server: ChatServer
) -> None:
    """Else Langfuse keeps each attribute once more, as metadata."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with client.start_as_current_observation(name="x"):
        pass
    client.flush()
    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("t"))
    push(session, [receiver.langfuse()])

    def scope(got: Receiver) -> Any:
        request = ExportTraceServiceRequest.FromString(got.requests[0][2])
        return request.resource_spans[0].scope_spans[0].scope

    ours, expected = scope(receiver), scope(theirs)
    assert (ours.name, ours.version) == (expected.name, expected.version)
    assert [pair.key for pair in ours.attributes] == [pair.key for pair in expected.attributes]
    assert ours.attributes[0].value.string_value == "pk-lf-test"


def test_neither_the_tracer_provider_nor_the_users_client_is_touched(
    receiver: Receiver, tmp_path: Path, server: ChatServer
) -> None:
    before, clients = trace.get_tracer_provider(), dict(LangfuseResourceManager._instances)
    with (
        using(server.spec()),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        chain(write).compile().invoke(Task(), session.config("t"))
    assert receiver.spans
    assert trace.get_tracer_provider() is before
    assert LangfuseResourceManager._instances == clients


def test_beside_langfuses_handler_a_call_counts_once(
    receiver: Receiver, theirs: Receiver, client: Langfuse, tmp_path: Path, server: ChatServer
) -> None:
    with (
        using(server.spec(price=PRICE)),
        Session(tmp_path / "runs.sqlite", tracing=Tracing(receiver.settings())) as session,
    ):
        config = session.config("t")
        config["callbacks"] = [*config["callbacks"], CallbackHandler(public_key="pk-lf-user")]  # type: ignore[misc]
        chain(write, publish).compile().invoke(Task(), config)
    client.flush()
    assert "write" in {span.name for span in theirs.spans}
    assert generations(theirs) == []
    assert sum(map(cost_of, receiver.spans)) == 2 * 120


def test_what_langfuses_handler_has_told_is_not_counted_by_a_later_push(
    receiver: Receiver, theirs: Receiver, client: Langfuse, session: Session, server: ChatServer
) -> None:
    """In a hand-written graph, too: with a LangChain chat model, which both handlers hear."""
    model = ChatOpenAI(model="served", base_url=server.url, api_key="x", max_retries=0)  # type: ignore[arg-type]

    def talk(state: Task) -> dict[str, str]:
        return {"note": str(model.invoke("Say it").content)}

    graph = StateGraph(Task)
    graph.add_node("talk", talk)
    graph.add_node("write", chain(write).compile())
    graph.add_edge(START, "talk")
    graph.add_edge("talk", "write")
    graph.add_edge("write", END)
    config = session.config("t")
    config["callbacks"] = [*config["callbacks"], CallbackHandler(public_key="pk-lf-user")]  # type: ignore[misc]
    with using(server.spec(price=PRICE)):
        graph.compile().invoke(Task(), config)
    client.flush()
    push(session, [receiver.langfuse()])
    assert len(generations(theirs)) == len(generations(receiver)) == server.calls == 2
    assert {g["langfuse.observation.usage_details"] for g in generations(receiver)} == {'{"total": 0}'}
    assert sum(map(cost_of, receiver.spans)) == 0
    assert [s.cost_usd for s in read_spans(session.journal.query, "t") if s.kind == "call"] == [None, 120.0]


def test_a_key_for_one_service_goes_to_no_other(
    receiver: Receiver, session: Session, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "dd-api-key=secret")
    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("t"))
    push(session, [receiver.langfuse(), Destination("other", f"{receiver.url}/v1/traces", {"x-key": "mine"})])
    headers = [{name.lower(): value for name, value in got.items()} for _, got, _ in receiver.requests]
    assert len(headers) == 2
    assert not [got for got in headers if "dd-api-key" in got]
    assert headers[1]["x-key"] == "mine"


def test_failures_are_told_once_and_log_nothing(
    session: Session, server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("t"))
    spans = read_spans(session.journal.query, "t")
    sender = Sender(Destination("nobody", unused_url()))
    with caplog.at_level(logging.DEBUG, logger="opentelemetry"):
        delivery = sender.send(spans)
    sender.close()
    assert delivery.blocked
    assert "cannot be reached: ConnectionError" in str(delivery.problem)
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_a_users_own_exporter_may_still_complain(
    caplog: pytest.LogCaptureFixture, server: ChatServer
) -> None:
    assert HttpSession({}).session.verify  # ours, which silences its own exports
    exporter = OTLPMetricExporter(endpoint=f"{server.url}/nowhere", timeout=5)
    with caplog.at_level(logging.ERROR, logger="opentelemetry"):
        assert exporter.export(MetricsData([])) is MetricExportResult.FAILURE
    assert any("404" in record.getMessage() for record in caplog.records)


def test_costs_are_told_as_langfuse_reads_them(
    receiver: Receiver, session: Session, server: ChatServer
) -> None:
    """Any cost that is given switches off Langfuse's own; only with a total is there a sum."""
    with using(server.spec(price=PRICE)):
        chain(write).compile().invoke(Task(), session.config("a"))
    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("b"))
    push(session, [receiver.langfuse()])
    priced, unpriced = sorted(generations(receiver), key=lambda facts: facts["session.id"])
    assert json.loads(priced["langfuse.observation.cost_details"])["total"] == 120
    assert "langfuse.observation.cost_details" not in unpriced
    named = {
        name for name in unpriced if "model" in name and not name.startswith("langfuse.observation.meta")
    }
    assert named <= {"langfuse.observation.model.name", "langfuse.observation.model.parameters"}


def test_sending_is_not_traced_itself(session: Session, server: ChatServer, receiver: Receiver) -> None:
    """By whatever instruments the HTTP client for the user."""
    from opentelemetry import context
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

    with using(server.spec()):
        chain(write).compile().invoke(Task(), session.config("t"))
    sender = Sender(receiver.langfuse())
    seen: list[object] = []
    sender._post.session.hooks["response"].append(
        lambda *_, **__: seen.append(context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
    )
    sender.send(read_spans(session.journal.query, "t"))
    sender.close()
    assert seen == [True]
    assert context.get_value(_SUPPRESS_INSTRUMENTATION_KEY) is None

"""Spans as messages: OpenTelemetry's own encoder would make the same, and no text keeps one back."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from stepgraph.state.masking import EVERYTHING, Masker
from stepgraph.tracing.export.otlp_spans import Dialect, request_of
from stepgraph.tracing.record.spans import Span, Trace

TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "t", 1, "app")
SCOPE = ("langfuse-sdk", "5", {"public_key": "pk"})
VALUES = st.one_of(
    st.text(max_size=5), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1]),
    st.floats(allow_nan=False), st.lists(st.text(max_size=5), max_size=3),
)  # fmt: skip
ATTRIBUTES = st.dictionaries(st.sampled_from("abc"), VALUES)


def span(attributes: dict[str, Any], number: int = 1, **values: Any) -> Span:
    facts = {"kind": "node", "parent_id": None, "status": "done", "error": None, **values}
    return Span(
        TRACE, id=f"{number:016x}", name="draft", path="draft", task="draft:1", started_at=1e9,
        ended_at=1e9 + number / 4, row=attributes, **facts,
    )  # fmt: skip


SAID = Dialect(lambda span: span.row, lambda span: span.name)
SPANS = st.lists(
    st.builds(
        span, ATTRIBUTES, st.integers(1, 9), kind=st.sampled_from(["node", "call", "run"]),
        parent_id=st.sampled_from([None, "00f067aa0ba902b7"]),
        status=st.sampled_from(["done", "failed", "unfinished"]), error=st.sampled_from([None, "no"]),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def by_opentelemetry(spans: list[Span]) -> Any:
    """Return what its encoder makes of its own objects."""

    def context(id_: str) -> SpanContext:
        return SpanContext(int(TRACE.id, 16), int(id_, 16), False, TraceFlags(TraceFlags.SAMPLED))

    resource, scope = (
        Resource({"service.name": "s"}),
        InstrumentationScope(SCOPE[0], SCOPE[1], None, SCOPE[2]),
    )
    return encode_spans(
        [
            ReadableSpan(
                each.name, context(each.id), context(each.parent_id) if each.parent_id else None, resource,
                each.row, kind=SpanKind.CLIENT if each.kind == "call" else SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR, each.error or each.status)
                if each.status in ("failed", "unfinished")
                else Status(StatusCode.UNSET),
                start_time=round(each.started_at * 1e9), end_time=round(each.ended_at * 1e9),
                instrumentation_scope=scope,
            )
            for each in spans
        ]
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_the_messages_are_those_of_opentelemetrys_encoder(spans: list[Span]) -> None:
    assert request_of(spans, SAID, Masker(()), {"service.name": "s"}, SCOPE) == by_opentelemetry(spans)


def values_of(spans: list[Span], most: int | None = None) -> list[dict[str, Any]]:
    (whole,) = request_of(spans, SAID, EVERYTHING, {}, None, most).resource_spans
    return [
        {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in each.attributes}
        for each in whole.scope_spans[0].spans
    ]


def test_what_utf8_and_64_bits_cannot_say_goes_out_in_a_form_that_they_can() -> None:
    half = "half \ud83d of a pair"
    failed = span({"text": half, "many": 2**70}, status="failed", error=half)
    (whole,) = request_of(
        [failed], Dialect(lambda span: span.row, lambda _: half), EVERYTHING, {}
    ).resource_spans
    (sent,) = whole.scope_spans[0].spans
    assert sent.name == sent.status.message == half.replace("\ud83d", "?")
    assert values_of([failed]) == [{"text": sent.name, "many": str(2**70)}]


def test_a_text_of_many_spans_is_masked_and_cut_in_each() -> None:
    secret = {"a": "write to ada@example.org", "b": '{"to": "ada@example.org"}', "c": ["ada@example.org"]}
    sent = values_of([span(secret, number) for number in (1, 2, 3)])
    assert "ada@" not in str(sent)
    assert (
        values_of([span({"a": "x" * 50}, number) for number in (1, 2)], 10)
        == [{"a": "x" * 10 + "… (50 characters)"}] * 2
    )

"""Spans as OpenTelemetry's SDK has them, ready for its exporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ...state.masking import Masker
from ..record.attributes import Attributes
from ..record.spans import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

Dialect = Callable[[Span], Attributes]

FAILED = ("failed", "unfinished")
_STRUCTURED = ("{", "[", '"')


def readable(
    spans: Sequence[Span],
    dialect: Dialect,
    mask: Masker,
    resource: Mapping[str, str],
    scope: tuple[str, str, Mapping[str, str]] | None = None,
    most: int | None = None,
) -> list[ReadableSpan]:
    """Return finished spans under their own ids; texts of more than `most` characters are cut.

    `scope` is the name, version and attributes of what made them: stepgraph, unless told otherwise.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    made_by = InstrumentationScope("stepgraph", version("stepgraph"))
    if scope is not None:
        made_by = InstrumentationScope(scope[0], scope[1], attributes=dict(scope[2]))
    all_from, sampled = Resource(dict(resource)), TraceFlags(TraceFlags.SAMPLED)
    fine = Status(StatusCode.UNSET)

    def context(trace_id: str, span_id: str) -> Any:
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled)

    found = []
    for span in spans:
        told = masked(dialect(span), mask)
        if most is not None:
            told = {name: _cut(value, most) for name, value in told.items()}
        failed = span.status in FAILED
        found.append(
            ReadableSpan(
                name=span.name,
                context=context(span.trace.id, span.id),
                parent=context(span.trace.id, span.parent_id) if span.parent_id else None,
                kind=SpanKind.CLIENT if span.kind == "call" else SpanKind.INTERNAL,
                start_time=_nanos(span.started_at),
                end_time=_nanos(max(span.ended_at, span.started_at)),
                attributes=told,
                status=Status(StatusCode.ERROR, mask.text(span.error or span.status)[:2000])
                if failed
                else fine,
                resource=all_from,
                instrumentation_scope=made_by,
            )
        )
    return found


def masked(attributes: Attributes, mask: Masker) -> Attributes:
    """Return attributes without keys and personal data."""
    found: Attributes = {}
    for name, value in attributes.items():
        if isinstance(value, str):
            found[name] = mask.json(value) if value.startswith(_STRUCTURED) else mask.text(value)
        elif isinstance(value, list):
            found[name] = [mask.text(item) for item in value]
        else:
            found[name] = value
    return found


def _cut(value: Any, most: int) -> Any:
    if isinstance(value, str) and len(value) > most:
        return f"{value[:most]}… ({len(value)} characters)"
    return value


def _nanos(at: float) -> int:
    return round(at * 1e6) * 1000

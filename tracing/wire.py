"""Spans as OTLP: the protobuf message that every collector takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ..state.errors import SettingsError
from ..state.masking import Masker
from .attributes import Attributes
from .spans import Span

Dialect = Callable[[Span], Attributes]

FAILED = ("failed", "unfinished")
_STRUCTURED = ("{", "[", '"')


def encoded(
    spans: Sequence[Span],
    dialect: Dialect,
    mask: Masker,
    resource: Mapping[str, str],
    most: int | None = None,
) -> bytes:
    """Return the body of an export request; texts of more than `most` characters are cut.

    Raises SettingsError if opentelemetry-proto is missing.
    """
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
        from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
        from opentelemetry.proto.trace.v1.trace_pb2 import Status
    except ImportError:
        raise SettingsError(
            "To send traces, install the extra: pip install 'stepgraph[otel]'. They are in the local file."
        ) from None

    def any_value(value: Any) -> Any:
        if isinstance(value, str):
            cut = most is not None and len(value) > most
            return AnyValue(string_value=f"{value[:most]}… ({len(value)} characters)" if cut else value)
        if isinstance(value, bool):
            return AnyValue(bool_value=value)
        if isinstance(value, int):
            return AnyValue(int_value=value)
        if isinstance(value, float):
            return AnyValue(double_value=value)
        return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=str(item)) for item in value]))

    def pairs(attributes: Mapping[str, Any]) -> list[Any]:
        return [KeyValue(key=name, value=any_value(value)) for name, value in attributes.items()]

    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(pairs(resource))
    scope = resource_spans.scope_spans.add()
    scope.scope.name = "stepgraph"
    scope.scope.version = version("stepgraph")
    for span in spans:
        failed = span.status in FAILED
        told = mask.text(span.error or span.status)[:2000] if failed else ""
        scope.spans.append(
            Wire(
                trace_id=bytes.fromhex(span.trace.id),
                span_id=bytes.fromhex(span.id),
                parent_span_id=bytes.fromhex(span.parent_id or ""),
                name=span.name,
                kind=Wire.SPAN_KIND_CLIENT if span.kind == "call" else Wire.SPAN_KIND_INTERNAL,
                start_time_unix_nano=_nanos(span.started_at),
                end_time_unix_nano=_nanos(max(span.ended_at, span.started_at)),
                attributes=pairs(masked(dialect(span), mask)),
                status=Status(code=Status.STATUS_CODE_ERROR, message=told) if failed else None,
            )
        )
    body: bytes = request.SerializeToString()
    return body


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


def _nanos(at: float) -> int:
    return round(at * 1e6) * 1000

"""Spans as OTLP has them, ready to be sent.

They are made in one pass. OpenTelemetry's SDK has objects of its own for spans, and its encoder makes each
attribute of each span anew: together that took twice as long as all else that sending a trace needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ...state.masking import Masker
from ..record.attributes import Attributes
from ..record.spans import Span

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


@dataclass(frozen=True)
class Dialect:
    """In whose words spans are told: their attributes, and their names.

    With `merges` a span that is sent again takes the place of the one that came before under its id.
    """

    attributes: Callable[[Span], Attributes]
    name: Callable[[Span], str]
    merges: bool = False


@cache
def own_version() -> str:
    return version("stepgraph")


FAILED = ("failed", "unfinished")
_STRUCTURED = ("{", "[", '"')
_PAST_INT64 = 2**63


def request_of(
    spans: Sequence[Span],
    dialect: Dialect,
    mask: Masker,
    resource: Mapping[str, str],
    scope: tuple[str, str, Mapping[str, str]] | None = None,
    most: int | None = None,
) -> ExportTraceServiceRequest:
    """Return finished spans under their own ids; texts of more than `most` characters are cut.

    `scope` is the name, version and attributes of what made them: stepgraph, unless told otherwise.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage, SpanFlags, Status

    encoder = _AttributeEncoder(mask, most)
    fine, flags = Status(), SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
    name, version_of, about = scope or ("stepgraph", own_version(), {})
    request = ExportTraceServiceRequest()
    whole = request.resource_spans.add()
    whole.resource.attributes.extend(encoder.plain(resource))
    group = whole.scope_spans.add()
    group.scope.name, group.scope.version = name, version_of
    group.scope.attributes.extend(encoder.plain(about))
    add = group.spans.add
    for span in spans:
        status = fine
        if span.status in FAILED:
            error = mask.text(span.error or span.status)[:2000]
            status = Status(code=Status.STATUS_CODE_ERROR, message=_encodable(error))
        add(
            trace_id=bytes.fromhex(span.trace.id.zfill(32)),
            span_id=bytes.fromhex(span.id.zfill(16)),
            parent_span_id=bytes.fromhex(span.parent_id.zfill(16)) if span.parent_id else None,
            name=_encodable(mask.text(dialect.name(span))),
            kind=SpanMessage.SPAN_KIND_CLIENT if span.kind == "call" else SpanMessage.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_nanos(span.started_at),
            end_time_unix_nano=_nanos(max(span.ended_at, span.started_at)),
            attributes=encoder.masked(dialect.attributes(span)),
            status=status,
            flags=flags,
        )
    return request


class _AttributeEncoder:
    """Makes attributes into messages; a text that many spans have is masked and encoded once."""

    def __init__(self, mask: Masker, most: int | None) -> None:
        from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

        self._mask, self._most = mask, most
        self._pair, self._any, self._array = KeyValue, AnyValue, ArrayValue
        self._texts: dict[tuple[str, str], KeyValue] = {}

    def masked(self, attributes: Attributes) -> list[KeyValue]:
        """Return attributes without keys and personal data."""
        pairs, texts = [], self._texts
        for name, value in attributes.items():
            if isinstance(value, str):
                pair = texts.get((name, value))
                if pair is None:
                    text = _cut(_masked(value, self._mask), self._most)
                    pair = texts[name, value] = self._pair(key=name, value=self._value(text))
            else:
                pair = self._pair(key=name, value=self._value(_masked(value, self._mask)))
            pairs.append(pair)
        return pairs

    def plain(self, attributes: Mapping[str, str]) -> list[KeyValue]:
        return [self._pair(key=name, value=self._value(value)) for name, value in attributes.items()]

    def _value(self, value: Any) -> AnyValue:
        if isinstance(value, str):
            return self._any(string_value=_encodable(value))
        if isinstance(value, bool):
            return self._any(bool_value=value)
        if isinstance(value, int) and -_PAST_INT64 <= value < _PAST_INT64:
            return self._any(int_value=value)
        if isinstance(value, float):
            return self._any(double_value=value)
        if isinstance(value, Sequence):
            return self._any(array_value=self._array(values=[self._value(item) for item in value]))
        return self._any(string_value=str(value))


def masked(attributes: Attributes, mask: Masker) -> Attributes:
    """Return attributes without keys and personal data."""
    return {name: _masked(value, mask) for name, value in attributes.items()}


def _masked(value: Any, mask: Masker) -> Any:
    if isinstance(value, str):
        return mask.json(value) if value.startswith(_STRUCTURED) else mask.text(value)
    return [mask.text(item) for item in value] if isinstance(value, list) else value


def _cut(text: str, most: int | None) -> str:
    if most is None or len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text)} characters)"


def _encodable(text: str) -> str:
    """Return the text as UTF-8 can say it: half a pair of surrogates is a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _nanos(at: float) -> int:
    return round(at * 1e6) * 1000

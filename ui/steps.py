"""One span, ready to be shown: state in and out, calls, retrievals, decision, scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..state.json_text import text_or_json
from ..state.names import PRIVATE, WAIT
from ..tracing.forks.copies import OVERRIDE
from ..tracing.record.attributes import dials_of
from ..tracing.record.run import OutputField, Run
from ..tracing.record.spans import REPLAYED, Row, Span
from ..tracing.record.tree import SpanNode
from ..tracing.record.values import changed_fields, cut_text
from .texts import Text, read_json, text_of

LONGEST_PROMPT = 100_000  # characters that a form holds


@dataclass(frozen=True)
class Field:
    """A field of the state before and after a step; `after` is None if the step did not write it."""

    name: str
    before: Text | None
    after: Text | None
    changed: bool


@dataclass(frozen=True)
class Message:
    """One message of a prompt."""

    role: str
    text: Text


@dataclass(frozen=True)
class CallView:
    """One model call."""

    span: Span
    messages: Sequence[Message]
    answer: Text | None
    reasoning: Text | None
    media: Text | None
    tool_calls: Text | None
    usage: Sequence[tuple[str, int]]
    costs: Sequence[tuple[str, float]]
    params: str
    reserved: Row
    prompt: str = ""

    @property
    def row(self) -> Row:
        return self.span.row


@dataclass(frozen=True)
class RetrievalView:
    """One retrieval: what was asked, and the passages, each with its source."""

    span: Span
    query: Text
    passages: Sequence[tuple[str, Text]]

    @property
    def row(self) -> Row:
        return self.span.row


@dataclass(frozen=True)
class StepView:
    """All about one node execution, or one invocation."""

    run: Run
    bar: SpanNode
    fields: Sequence[Field]
    private: Sequence[Field]
    calls: Sequence[CallView]
    retrievals: Sequence[RetrievalView]
    asked: Text | None
    waits: bool

    @property
    def span(self) -> Span:
        return self.bar.span

    @property
    def answers(self) -> Sequence[CallView]:
        """The calls that gave the step its answers, each once.

        Replays of these are left out, and the call that was asked for an answer that a fork put in its place.
        """
        origins = {call.row.get("origin") for call in self.calls if call.span.source == OVERRIDE}
        own = [call for call in self.calls if call.span.source != REPLAYED and call.row["id"] not in origins]
        return own or self.calls

    @property
    def budget_left(self) -> str:
        left = read_json(self.span.row.get("budget_left")) or {}
        return ", ".join(f"{name} {text_or_json(value)}" for name, value in left.items())

    @property
    def inner(self) -> list[SpanNode]:
        return [bar for bar in self.bar.children if bar.span.place == bar.span.id]

    @property
    def scores(self) -> Sequence[Row]:
        return self.run.scores.get(self.span.id, ())

    @cached_property
    def neighbours(self) -> tuple[Span | None, Span | None]:
        """The node executions before and after, in the order of the waterfall."""
        order = [bar.span for bar in self.run.steps]
        place = next((n for n, span in enumerate(order) if span.id == self.span.id), None)
        if place is None:
            return None, order[0] if order else None
        before = order[place - 1] if place else None
        return before, order[place + 1] if place + 1 < len(order) else None

    def texts(self) -> Iterator[Text]:
        """Yield every text that is shown."""
        for item in (*self.fields, *self.private):
            yield from filter(None, (item.before, item.after))
        for call in self.calls:
            yield from (message.text for message in call.messages)
            yield from filter(None, (call.answer, call.media, call.reasoning, call.tool_calls))
        for retrieval in self.retrievals:
            yield retrieval.query
            yield from (text for _, text in retrieval.passages)
        if self.asked:
            yield self.asked


def step_view(run: Run, span_id: str) -> StepView | None:
    """Return all about a span, None if the run has none with that id; a call stands in its node."""
    bar = run.by_id.get(span_id)
    if bar is not None and bar.span.place != bar.span.id:
        bar = run.by_id.get(bar.span.parent_id or "")
    if bar is None:
        return None
    fields, interrupts = list(_fields(bar.span)), bar.span.row.get("interrupts")
    return StepView(
        run=run,
        bar=bar,
        fields=[item for item in fields if not item.name.startswith(PRIVATE)],
        private=[item for item in fields if item.name.startswith(PRIVATE)],
        calls=[call_view(inner.span) for inner in bar.children if inner.span.kind == "call"],
        retrievals=[_retrieval(inner.span) for inner in bar.children if inner.span.kind == "retrieval"],
        asked=text_of("asked", read_json(interrupts)) if interrupts else None,
        waits=interrupts is not None and f'"{WAIT}"' in interrupts,
    )


def _retrieval(span: Span) -> RetrievalView:
    passages = [
        (passage["source"], Text(f"{span.id} passage {number}", passage["text"]))
        for number, passage in enumerate(read_json(span.row["passages"]) or (), 1)
    ]
    return RetrievalView(span, Text(f"{span.id} query", span.row["query"]), passages)


def _fields(span: Span) -> Iterator[Field]:
    before, after = read_json(span.row.get("input")), read_json(span.row.get("output"))
    changed = set(changed_fields(span.row) or ())
    old_fields = before if isinstance(before, dict) and not cut_text(before) else {}
    new_fields = after if isinstance(after, dict) and not cut_text(after) else {}
    if before is not None and not old_fields and before != {}:
        yield Field("input", text_of("before input", before), None, changed=False)
    for name in dict.fromkeys((*old_fields, *new_fields)):
        wrote = name in new_fields and (name in changed or name.startswith(PRIVATE) or name not in old_fields)
        yield Field(
            name,
            text_of(f"before {name}", old_fields[name]) if name in old_fields else None,
            text_of(f"after {name}", new_fields[name]) if wrote else None,
            changed=name in changed,
        )
    if after is not None and not new_fields and after != {}:
        yield Field("output", None, text_of("after output", after), changed=True)


def outcome(run: Run) -> list[tuple[OutputField, Text]]:
    """Return what the run returned, field by field, as texts."""
    return [(item, text_of(f"out {item.name}", item.value)) for item in run.output]


def call_view(span: Span) -> CallView:
    """Return a call for a reader."""
    row = span.row
    known = read_json(row["params"]) or {}
    beside = ("schema", "dials", "settings")
    params = {n: v for n, v in {**known, **dials_of(known)}.items() if n not in beside and v is not None}
    usage = ("input", "output", "cached", "cache_write", "reasoning")
    return CallView(
        span=span,
        messages=list(_messages(span)),
        answer=text_of(f"{span.id} answer", row["answer"]) if row["answer"] else None,
        media=text_of(f"{span.id} media", read_json(row["media"])) if row.get("media") else None,
        reasoning=text_of(f"{span.id} reasoning", row["reasoning"]) if row["reasoning"] else None,
        tool_calls=text_of(f"{span.id} tools", read_json(row["tool_calls"])) if row["tool_calls"] else None,
        usage=[(n.replace("_", " "), row[f"{n}_tokens"]) for n in usage if row.get(f"{n}_tokens")],
        costs=list((read_json(row.get("cost_parts")) or {}).items()),
        params=", ".join(f"{name} {text_or_json(value)}" for name, value in params.items()),
        reserved=read_json(row.get("reserved")) or {},
        prompt="" if known.get("prefix") else _last_asked(span),
    )


def _last_asked(span: Span) -> str:
    """Return the last message of the user, nothing for one that is no text, or too long for a form."""
    messages = read_json(span.row["messages"])
    questions = [each for each in messages or () if isinstance(each, dict) and each.get("role") == "user"]
    text = questions[-1].get("content") if questions else None
    return text if isinstance(text, str) and len(text) <= LONGEST_PROMPT else ""


def _messages(span: Span) -> Iterator[Message]:
    messages = read_json(span.row["messages"])
    for number, message in enumerate(messages if isinstance(messages, list) else [messages]):
        if not isinstance(message, dict):
            message = {"content": message}
        text = _content(message.get("content"))
        if message.get("tool_calls"):
            text += "\n" + json.dumps(message["tool_calls"], ensure_ascii=False, indent=2)
        yield Message(str(message.get("role") or "?"), Text(f"{span.id} message {number}", text))


def _content(content: Any) -> str:
    """Return what a message says; of parts that are no text, what they are."""
    if isinstance(content, str) or content is None:
        return content or ""
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if parts and len(texts) == len(parts):
        return "\n".join(texts)
    return json.dumps(content, ensure_ascii=False, indent=2)

"""The tool calls that the models of a run made, in their order, with what came of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...nodes.contexts import READ
from ...providers.stack.tool_emulation import FINAL_ANSWER
from ...state.journal.records import HEDGE
from ...tracing.record.spans import REPLAYED, Row, Span, outer_task
from ...tracing.record.values import cut_text
from ..suite.model import ToolUse

OWN = (FINAL_ANSWER, READ)
"""What an agent offers the model beside the user's tools: these are no choice of a function."""


def read_tool_calls(spans: Sequence[Span]) -> tuple[ToolUse, ...]:
    """Return the tool calls in a thread's spans. A call that a resume or a hedge repeats counts once."""
    nodes = [span for span in spans if span.kind == "node"]
    by_task: dict[str, list[Row]] = defaultdict(list)  # by node execution: as the conversation has them
    results: dict[tuple[str, str], Row] = {}
    for span in nodes:
        for message in _messages(span.row.get("output")):
            by_task[span.task] += message.get("tool_calls") or []
            if message.get("type") == "tool":
                results[outer_task(span.task), str(message.get("tool_call_id"))] = message
    uses: list[ToolUse] = []
    seen: set[tuple[str, str, int]] = set()
    for span in spans:
        row = span.row
        if span.kind != "call" or span.source == REPLAYED or row["status"] in ("failed", "superseded"):
            continue
        key = row["task"], row["request_hash"].removesuffix(HEDGE), row["occurrence"]
        if key in seen:
            continue
        seen.add(key)
        unmatched = iter(by_task.get(row["task"], ()))
        for call in json.loads(row["tool_calls"] or "[]"):
            same = next((other for other in unmatched if other.get("name") == call.get("name")), {})
            name = str(call.get("name"))
            if name in OWN:
                continue
            known_as = str(call.get("id") or same.get("id") or "")
            result = results.get((outer_task(row["task"]), str(same.get("id") or known_as)))
            uses.append(_use(name, call, known_as, result, span))
    return tuple(uses)


def _use(name: str, call: Row, known_as: str, result: Row | None, span: Span) -> ToolUse:
    content = None if result is None else result.get("content")
    return ToolUse(
        name=name,
        arguments=call.get("arguments") or {},
        result=content if content is None or isinstance(content, str) else json.dumps(content),
        is_error=result is not None and result.get("status") == "error",
        problem=call.get("problem"),
        path=span.path,
        task=span.task,
        id=known_as,
    )


def _messages(output: str | None) -> Iterator[Row]:
    """Yield the messages that a node wrote, as far as the record has them whole."""
    data = json.loads(output) if output else None
    if not isinstance(data, Mapping):
        return
    values: list[Any] = list(data.values())
    for value in values:
        for message in value if isinstance(value, list) else [value]:
            if isinstance(message, Mapping) and not cut_text(message) and "type" in message:
                yield dict(message)

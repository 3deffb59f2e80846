"""Spans in OpenTelemetry's words: the conventions for generative AI, and stepgraph's own beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...state.blobs import described
from ...state.names import without_private
from .spans import Row, Span

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]


def genai_attributes(span: Span) -> Attributes:
    """Return a span's attributes for any OTLP endpoint.

    Calls follow the semantic conventions for generative AI; runs and nodes say with `input.value` and
    `output.value`, as OpenInference does, what they were given and what they made of it.
    """
    trace = span.trace
    found: dict[str, Any] = {
        "gen_ai.conversation.id": trace.thread_id,
        "session.id": trace.thread_id,
        "user.id": trace.user,
        "deployment.environment.name": trace.environment,
        "stepgraph.kind": span.kind,
        "stepgraph.path": span.path or None,
        "stepgraph.status": span.status,
        "stepgraph.tags": list(trace.tags) or None,
        **own_facts(span),
    }
    if span.kind == "call":
        found |= _call(span)
    elif span.kind == "retrieval":
        found |= _retrieval(span)
    else:
        found |= {
            "openinference.span.kind": "CHAIN",
            "input.value": span.row.get("input"),
            "input.mime_type": "application/json",
            "output.value": span.row.get("output"),
            "output.mime_type": "application/json",
        }
    if span.kind == "run":
        found |= {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": trace.name}
    return without_blobs(found)


def without_blobs(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a span; in the places of images and documents stands what they are."""
    known = {name: value for name, value in found.items() if value is not None}
    return {name: described(value) if isinstance(value, str) else value for name, value in known.items()}


def own_facts(span: Span, prefix: str = "stepgraph.") -> dict[str, Any]:
    """Return what no convention has a word for; None where the record does not say it."""
    facts: dict[str, Any] = {}
    row = span.row
    if span.kind == "run":
        facts |= {
            "thread": span.trace.thread_id,
            "trace_number": span.trace.number,
            "resumed": row["resumed"],
            "forked_from": span.trace.parent_thread,
            "budget": row["budget"],
            "budget_spent": row.get("budget_spent"),
            "budget_left": row.get("budget_left"),
            "version": span.trace.version,
        }
    elif span.kind == "node":
        facts |= {
            "checkpoint_id": span.checkpoint_id,
            "superstep": row.get("superstep"),
            "changed": changed_fields(row),
            "interrupts": row.get("interrupts"),
        }
        if span.decision:
            said = ("kind", "choice", "confidence", "reason")
            facts |= {f"decision.{name}": span.decision[name] for name in said}
    elif span.kind == "retrieval":
        facts |= {
            name: row.get(name) for name in ("step", "retriever", "kept", "found", "left_out", "problem")
        }
        facts |= {"source": row["source"], "origin": row["origin"]}
    else:
        columns = ("step", "role", "attempt", "reason", "problem", "reserved", "price_source", "price_date")
        facts |= {
            **{name: row.get(name) for name in columns},
            "source": span.source,
            "origin": row["origin"] or (row["id"] if span.source == "replayed" else None),
            "rejected": row["status"] == "rejected" or None,
            "superseded": row["status"] == "superseded" or None,
            "cost_usd": span.cost_usd,
            "cost_known": span.cost_usd is not None or span.status == "failed",
            "estimated_tokens": span.cost.estimated_tokens or None,
            "estimated_usd": span.cost.estimated_usd or None,
        }
        prompt = params_of(row).get("prompt") or {}
        facts |= {f"prompt.{name}": value for name, value in prompt.items()}
    return {f"{prefix}{name}": value for name, value in facts.items()}


def params_of(row: Row) -> Row:
    """Return the parameters that a call was made with."""
    params: Row = json.loads(row["params"])
    return params


def dials_of(params: Row) -> Row:
    """Return the parameters that the model got beside those of the question: its settings' and its own."""
    return {**(params.get("settings") or {}), **(params.get("dials") or {})}


def public(text: str | None) -> Any:
    """Return what a JSON text says, without the patterns' own bookkeeping."""
    value = json.loads(text) if text else None
    return without_private(value) if isinstance(value, dict) else value


def changed_fields(row: Row) -> list[str] | None:
    """Return the fields that a node gave another value than it was given; None if nobody knows."""
    try:
        before, after = json.loads(row.get("input") or "null"), json.loads(row.get("output") or "null")
    except ValueError:
        return None
    if not isinstance(after, dict) or cut_text(after) or cut_text(before):
        return None
    before = before if isinstance(before, dict) else {}
    return [name for name, value in without_private(after).items() if not _same(before.get(name), value)]


def cut_text(value: Any) -> tuple[str, int] | None:
    """Return the beginning and the length of what was too long for the record, None for all else."""
    if isinstance(value, dict) and value.keys() == {"cut", "start"} and isinstance(value["start"], str):
        return value["start"], int(value["cut"])
    return None


def _same(before: Any, after: Any) -> bool:
    """Tell whether a field was not changed, as far as the record of it goes."""
    cut = cut_text(before)
    if cut is None or cut_text(after):
        return bool(before == after)
    text = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
    return len(text) == cut[1] and text.startswith(cut[0])


def _call(span: Span) -> dict[str, Any]:
    row = span.row
    params = params_of(row)
    dials = dials_of(params)
    messages = json.loads(row["messages"])
    system = [m for m in messages if m.get("role") in ("system", "developer")]
    rest = [m for m in messages if m.get("role") not in ("system", "developer")]
    own = span.source == "model"
    found: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": row["model_asked"],
        "gen_ai.response.model": row["model_answered"],
        "gen_ai.request.temperature": params.get("temperature"),
        "gen_ai.request.max_tokens": params.get("max_tokens"),
        "gen_ai.request.top_p": dials.get("top_p"),
        "gen_ai.request.seed": dials.get("seed"),
        "gen_ai.request.stop_sequences": dials.get("stop"),
        "gen_ai.request.frequency_penalty": dials.get("frequency_penalty"),
        "gen_ai.request.presence_penalty": dials.get("presence_penalty"),
        "gen_ai.request.reasoning.level": dials.get("reasoning_effort"),
        "gen_ai.output.type": "json" if params.get("schema") else "text",
        "gen_ai.response.finish_reasons": [row["finish_reason"]] if row["finish_reason"] else None,
        "gen_ai.response.time_to_first_chunk": row["first_token_s"],
        "gen_ai.input.messages": json.dumps([_parted(m) for m in rest], ensure_ascii=False),
        "gen_ai.usage.input_tokens": row["input_tokens"] if own else 0,
        "gen_ai.usage.output_tokens": row["output_tokens"] if own else 0,
        "gen_ai.usage.cache_read.input_tokens": row["cached_tokens"] if own else None,
        "gen_ai.usage.cache_creation.input_tokens": row.get("cache_write_tokens") if own else None,
        "gen_ai.usage.reasoning.output_tokens": row["reasoning_tokens"] if own else None,
    }
    if system:
        parts = [part for message in system for part in _parted(message)["parts"]]
        found["gen_ai.system_instructions"] = json.dumps(parts, ensure_ascii=False)
    if span.status != "failed":
        parts = [{"type": "text", "content": row["answer"] or ""}]
        if row["reasoning"]:
            parts.insert(0, {"type": "reasoning", "content": row["reasoning"]})
        for tool_call in json.loads(row.get("tool_calls") or "[]"):
            parts.append({"type": "tool_call", **{n: tool_call.get(n) for n in ("id", "name", "arguments")}})
        parts += json.loads(row.get("media") or "[]")
        answered = {"role": "assistant", "parts": parts, "finish_reason": row["finish_reason"] or "stop"}
        found["gen_ai.output.messages"] = json.dumps([answered], ensure_ascii=False)
    return found


def _retrieval(span: Span) -> dict[str, Any]:
    row = span.row
    found: dict[str, Any] = {
        "openinference.span.kind": "RETRIEVER",
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": row["retriever"],
        "gen_ai.retrieval.query.text": row["query"],
        "input.value": row["query"],
        "input.mime_type": "text/plain",
        "output.value": row["passages"],
        "output.mime_type": "application/json",
    }
    passages = json.loads(row["passages"] or "[]")
    if passages:
        told = [{name: passage[name] for name in ("id", "score")} for passage in passages]
        found["gen_ai.retrieval.documents"] = json.dumps(told)
    for number, passage in enumerate(passages):
        document = f"retrieval.documents.{number}.document."
        found |= {
            f"{document}id": passage["id"],
            f"{document}content": passage["text"],
            f"{document}score": passage["score"],
            f"{document}metadata": json.dumps(passage["metadata"], ensure_ascii=False),
        }
    return found


def _parted(message: Row) -> Row:
    """Return one message of OpenAI's form in that of the conventions."""
    content = message.get("content")
    given = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    parts = [
        {"type": "text", "content": part["text"]} if isinstance(part, dict) and "text" in part else part
        for part in given
    ]
    return {"role": message.get("role", "user"), "parts": parts}

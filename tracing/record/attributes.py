"""Spans in OpenTelemetry's words: the conventions for generative AI, and stepgraph's own beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from ...state.blobs import MIN_CALLED, described
from .spans import Row, Span
from .tool_runs import ToolRun, tool_run_of
from .values import changed_fields

Value = str | bool | int | float | list[str]
Attributes = dict[str, Value]
OTHER = "_OTHER"  # the conventions' word for what none of their words fits

# LangChain's names and those of our table, where the conventions have another one.
_PROVIDERS = {
    "azure_openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "anthropic_bedrock": "aws.bedrock",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "google_anthropic_vertex": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
_CLASS = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")


def genai_attributes(span: Span) -> Attributes:
    """Return a span's attributes for any OTLP endpoint.

    Calls follow the semantic conventions for generative AI; runs and nodes say with `input.value` and
    `output.value`, as OpenInference does, what they were given and what they made of it.
    """
    trace = span.trace
    attributes: dict[str, Any] = {
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
        attributes |= _call(span)
    elif span.kind == "retrieval":
        attributes |= _retrieval(span)
    elif tool := tool_run_of(span):
        attributes |= _tool(tool)
    else:
        attributes |= {
            "openinference.span.kind": "AGENT" if span.is_agent else "CHAIN",
            "input.value": span.row.get("input"),
            "input.mime_type": "application/json",
            "output.value": span.row.get("output"),
            "output.mime_type": "application/json",
        }
    if span.kind == "run" or span.is_agent:
        operation = "invoke_agent" if span.is_agent else "invoke_workflow"
        attributes |= {"gen_ai.operation.name": operation, "gen_ai.agent.name": _agent_name(span)}
    attributes["error.type"] = error_type(span)
    return without_blobs(attributes)


def braintrust_attributes(span: Span) -> Attributes:
    """Return a span's attributes for Braintrust, which has fields of its own for what no call was given."""
    attributes = genai_attributes(span)
    for side in ("input", "output"):
        if (value := attributes.pop(f"{side}.value", None)) is not None:
            is_json = attributes.get(f"{side}.mime_type") == "application/json"
            attributes[f"braintrust.{side}_json"] = value if is_json else to_json(value)
    return attributes


def genai_name(span: Span) -> str:
    """Return a span's name as the conventions want it: what is done, and with what."""
    if span.kind == "call":
        return f"chat {span.row['model_asked']}"
    if span.kind == "retrieval":
        return f"retrieval {span.row['retriever']}"
    if tool := tool_run_of(span):
        return f"execute_tool {tool.name}"
    if span.is_agent:
        return f"invoke_agent {_agent_name(span)}"
    return f"invoke_workflow {span.name}" if span.kind == "run" else span.name


def _agent_name(span: Span) -> str:
    return span.trace.name if span.kind == "run" else span.name


def error_type(span: Span) -> str | None:
    """Return the class of the error that a span ended with, None where it ended well."""
    return error_class(span.error) if span.status in ("failed", "unfinished") else None


def error_class(problem: str | None) -> str:
    """Return the class of an error from its message, which begins with it."""
    match = _CLASS.match(problem or "")
    return match[0] if match else OTHER


def provider_name(name: str | None) -> str:
    """Return a provider's name as the conventions have it; they want one, also where nobody knows it."""
    return OTHER if name is None else _PROVIDERS.get(name, name)


def _tool(tool: ToolRun) -> dict[str, Any]:
    return {
        "openinference.span.kind": "TOOL",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": tool.name,
        "gen_ai.tool.call.id": tool.id or None,
        "gen_ai.tool.call.arguments": tool.arguments,
        "gen_ai.tool.call.result": tool.result,
        "input.value": tool.arguments,
        "input.mime_type": "application/json",
        "output.value": tool.result,
        "output.mime_type": "text/plain",
    }


def without_blobs(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a span; in the places of images and documents stands what they are."""
    return {
        name: described(value) if isinstance(value, str) and len(value) >= MIN_CALLED else value
        for name, value in attributes.items()
        if value is not None
    }


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
            names = ("kind", "choice", "confidence", "reason")
            facts |= {f"decision.{name}": span.decision[name] for name in names}
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
            "cost_usd": (usd := span.cost_usd),
            "cost_known": usd is not None or span.status == "failed",
        }
        if span.source == "model" and (row.get("estimated_tokens") or row.get("estimated_picos")):
            cost = span.cost
            facts |= {
                "estimated_tokens": cost.estimated_tokens or None,
                "estimated_usd": cost.estimated_usd or None,
            }
        prompt = params_of(row).get("prompt") or {}
        facts |= {f"prompt.{name}": value for name, value in prompt.items()}
    return {f"{prefix}{name}": value for name, value in facts.items()}


def params_of(row: Row) -> Row:
    """Return the parameters that a call was made with, which are not to be changed."""
    return _params_in(row["params"])


@lru_cache(maxsize=64)  # a step's calls have the same
def _params_in(text: str) -> Row:
    params: Row = json.loads(text)
    return params


def dials_of(params: Row) -> Row:
    """Return the parameters that the model got beside those of the question: its settings' and its own."""
    return {**(params.get("settings") or {}), **(params.get("dials") or {})}


def _call(span: Span) -> dict[str, Any]:
    row = span.row
    params = params_of(row)
    dials = dials_of(params)
    prompt = params.get("prompt") or {}
    messages = json.loads(row["messages"])
    system = [m for m in messages if m.get("role") in ("system", "developer")]
    rest = [m for m in messages if m.get("role") not in ("system", "developer")]
    own = span.source == "model"
    attributes: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider_name(params.get("provider")),
        "gen_ai.request.model": row["model_asked"],
        "gen_ai.request.stream": True if row["first_token_s"] is not None else None,
        "gen_ai.prompt.name": prompt.get("name"),
        "gen_ai.prompt.version": None if prompt.get("version") is None else str(prompt["version"]),
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
        "gen_ai.input.messages": to_json([_parted(m) for m in rest]),
        "gen_ai.usage.input_tokens": row["input_tokens"] if own else 0,
        "gen_ai.usage.output_tokens": row["output_tokens"] if own else 0,
        "gen_ai.usage.cache_read.input_tokens": row["cached_tokens"] if own else None,
        # The conventions' word since they have a repository of their own, and the one before.
        "gen_ai.usage.cache_write.input_tokens": row.get("cache_write_tokens") if own else None,
        "gen_ai.usage.cache_creation.input_tokens": row.get("cache_write_tokens") if own else None,
        "gen_ai.usage.reasoning.output_tokens": row["reasoning_tokens"] if own else None,
    }
    if params.get("tools"):
        offered = [{"type": "function", **tool} for tool in params["tools"]]
        attributes["gen_ai.tool.definitions"] = to_json(offered)
    if system:
        parts = [part for message in system for part in _parted(message)["parts"]]
        attributes["gen_ai.system_instructions"] = to_json(parts)
    if span.status != "failed":
        parts = [{"type": "text", "content": row["answer"] or ""}]
        if row["reasoning"]:
            parts.insert(0, {"type": "reasoning", "content": row["reasoning"]})
        for tool_call in json.loads(row.get("tool_calls") or "[]"):
            parts.append({"type": "tool_call", **{n: tool_call.get(n) for n in ("id", "name", "arguments")}})
        parts += json.loads(row.get("media") or "[]")
        answered = {"role": "assistant", "parts": parts, "finish_reason": row["finish_reason"] or "stop"}
        attributes["gen_ai.output.messages"] = to_json([answered])
    return attributes


def _retrieval(span: Span) -> dict[str, Any]:
    row = span.row
    attributes: dict[str, Any] = {
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
        documents = [{name: passage[name] for name in ("id", "score")} for passage in passages]
        attributes["gen_ai.retrieval.documents"] = json.dumps(documents)
    for number, passage in enumerate(passages):
        document = f"retrieval.documents.{number}.document."
        attributes |= {
            f"{document}id": passage["id"],
            f"{document}content": passage["text"],
            f"{document}score": passage["score"],
            f"{document}metadata": to_json(passage["metadata"]),
        }
    return attributes


def _parted(message: Row) -> Row:
    """Return one message of OpenAI's form in that of the conventions."""
    content = message.get("content")
    if message.get("role") == "tool":
        answer = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}
        return {"role": "tool", "parts": [answer]}
    contents = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    parts = [
        {"type": "text", "content": part["text"]} if isinstance(part, dict) and "text" in part else part
        for part in contents
    ]
    calls = message.get("tool_calls") or []
    if calls and not content:
        parts = []
    return {"role": message.get("role", "user"), "parts": [*parts, *map(_tool_call, calls)]}


def _tool_call(call: Row) -> Row:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    with suppress(ValueError):  # else a model's own words, as they came
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": arguments}

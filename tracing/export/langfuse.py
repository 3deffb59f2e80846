"""Spans in Langfuse's words, and its address and headers: those that its own SDK writes and sends.

Every cost is sent with a total, so that Langfuse never computes one from its own price list.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...state.names import BUDGET_ENDED, WAIT
from ...state.session.foreign_calls import COUNTED
from ...state.statuses import CUT
from ..record.attributes import Attributes, dials_of, own_facts, params_of, to_json, without_blobs
from ..record.notes import CUT_NOTE
from ..record.spans import Row, Span
from ..record.tool_runs import tool_calls_as_sent, tool_run_of

PATH = "/api/public/otel/v1/traces"
SCOPE = "langfuse-sdk"
CLOUD = "https://cloud.langfuse.com"
UNPRICED = "(no price)"

_OBSERVATION = "langfuse.observation."
_METADATA = f"{_OBSERVATION}metadata."
_SAID = {
    f"{_METADATA}{name}" for name in ("thread", "version", "cost_usd", "cost_known")
}  # Langfuse has words of its own for these
_TYPES = dict.fromkeys(("gate", "guard"), "guardrail")
_TYPES |= dict.fromkeys(("refine", "vote", "ensemble", "verify", "review"), "evaluator")
_PLAIN_PARAMETERS = ("temperature", "max_tokens", "max_completion_tokens", "top_p", "sample", "tool_choice")


def headers(public_key: str, secret_key: str) -> dict[str, str]:
    """Return the headers that Langfuse's SDK sends spans with."""
    pair = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode("ascii")
    return {
        "Authorization": f"Basic {pair}",
        "x-langfuse-sdk-name": "python",
        "x-langfuse-sdk-version": sdk_version(),
        "x-langfuse-public-key": public_key,
        "x-langfuse-ingestion-version": "4",
    }


def sdk_version() -> str:
    """Return the version of Langfuse's SDK, without importing it."""
    try:
        return version("langfuse")
    except PackageNotFoundError:
        return "5"


def langfuse_attributes(span: Span) -> Attributes:
    """Return a span's attributes for Langfuse: the thread is the session."""
    trace = span.trace
    attributes: dict[str, Any] = {
        "session.id": trace.thread_id,
        "user.id": trace.user,
        "langfuse.trace.name": trace.name,
        "langfuse.trace.tags": list(trace.tags) or None,
        "langfuse.environment": trace.environment,
        "langfuse.release": trace.version,
        "langfuse.version": trace.version,
    }
    if span.kind == "call":
        attributes |= _generation(span)
    elif span.kind == "retrieval":
        attributes |= {
            f"{_OBSERVATION}type": "retriever",
            f"{_OBSERVATION}input": span.row["query"],
            f"{_OBSERVATION}output": span.row["passages"],
        }
    elif tool := tool_run_of(span):
        attributes |= {
            f"{_OBSERVATION}type": "tool",
            f"{_OBSERVATION}input": tool.arguments,
            f"{_OBSERVATION}output": span.row.get("interrupts") if tool.result is None else tool.result,
            f"{_METADATA}tool_call_id": tool.id,
        }
    else:
        decided = _TYPES.get(span.decision["kind"]) if span.decision else None
        attributes |= {
            f"{_OBSERVATION}type": "agent"
            if span.is_agent
            else decided or ("chain" if span.kind == "run" else "span"),
            f"{_OBSERVATION}input": span.row.get("input"),
            f"{_OBSERVATION}output": span.row.get("output") or span.row.get("interrupts"),
        }
        if span.kind == "run":
            attributes |= {f"langfuse.trace.metadata.{n}": _text(v) for n, v in trace.metadata.items()}
            attributes |= {"langfuse.internal.is_app_root": True if span.parent_id is None else None}
    attributes[f"{_OBSERVATION}level"], attributes[f"{_OBSERVATION}status_message"] = _level(span)
    attributes[f"{_METADATA}path"], attributes[f"{_METADATA}status"] = span.path or None, span.status
    for name, value in own_facts(span, _METADATA).items():
        if value is not None and name not in _SAID:
            attributes[name] = _text(value)
    return without_blobs(attributes)


def langfuse_name(span: Span) -> str:
    """Return what an observation is called: short, so that a list of them groups by what they do."""
    if tool := tool_run_of(span):
        return tool.name
    if span.kind == "call":
        return str(span.row["step"] or span.path.rpartition("/")[2] or span.name)
    return span.name


def _generation(span: Span) -> dict[str, Any]:
    row = span.row
    params = params_of(row)
    shown = {n: params[n] for n in _PLAIN_PARAMETERS if n in params}
    dials = dials_of(params).items()
    shown |= {n: v if isinstance(v, (int, float, str)) else json.dumps(v) for n, v in dials}
    if "schema" in params:
        shown["schema"] = json.dumps(params["schema"])
    usage, cost = usage_details(span), cost_details(span)
    prompt = params.get("prompt") or {}
    linked = prompt if prompt.get("version") is not None else {}
    begun = None
    if row["first_token_s"] is not None:
        at = datetime.fromtimestamp(span.started_at + row["first_token_s"], UTC)
        begun = json.dumps(at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    return {
        f"{_OBSERVATION}type": "generation",
        # Langfuse would price what it takes for a model that it knows, so an unpriced one says so.
        f"{_OBSERVATION}model.name": span.model if cost else f"{span.model} {UNPRICED}",
        f"{_OBSERVATION}model.parameters": json.dumps(shown) if shown else None,
        f"{_OBSERVATION}input": _prompt(row, params),
        f"{_OBSERVATION}output": _output(row) if span.status != "failed" else None,
        f"{_OBSERVATION}usage_details": json.dumps(usage) if usage else None,
        f"{_OBSERVATION}cost_details": json.dumps(cost) if cost else None,
        f"{_OBSERVATION}completion_start_time": begun,
        f"{_OBSERVATION}prompt.name": linked.get("name"),
        f"{_OBSERVATION}prompt.version": linked.get("version"),
        f"{_OBSERVATION}metadata.model_asked": row["model_asked"],
    }


def usage_details(span: Span) -> dict[str, int]:
    """Return the tokens by kind, which add up to the total; nothing for what was not paid for."""
    row = span.row
    if span.source != "model" or span.status == "failed" or _is_counted(span):
        return {"total": 0}
    input_tokens, answered = row["input_tokens"], row["output_tokens"]
    if input_tokens is None and answered is None:
        return {}
    cached, written = row["cached_tokens"] or 0, row.get("cache_write_tokens") or 0
    thought = row["reasoning_tokens"] or 0
    kinds = {
        "input": (input_tokens or 0) - cached - written,
        "input_cached_tokens": cached,
        "input_cache_creation": written,
        "output": (answered or 0) - thought,
        "output_reasoning_tokens": thought,
    }
    counted = {name: count for name, count in kinds.items() if count or name in ("input", "output")}
    return {**counted, "total": (input_tokens or 0) + (answered or 0)}


def cost_details(span: Span) -> dict[str, float]:
    """Return the cost in US dollars, by kind where it is known, always with the total; empty if unknown."""
    if _is_counted(span):
        return {"total": 0.0}
    if span.cost_usd is None:
        return {}
    own = span.source == "model" and span.status != "failed"
    parts = json.loads(span.row.get("cost_parts") or "{}") if own else {}
    return {**parts, "total": span.cost_usd}


def _is_counted(span: Span) -> bool:
    """Tell whether Langfuse has the call already, from its own callback handler."""
    return COUNTED in (span.row["reason"] or "")


def _prompt(row: Row, params: Row) -> str:
    """Return the messages; with the tools that the model could call, where there were any."""
    tools = params.get("tools")
    if not tools:
        return str(row["messages"])
    offered = [{"type": "function", "function": tool} for tool in tools]
    return to_json({"messages": json.loads(row["messages"]), "tools": offered})


def _output(row: Row) -> str:
    thought, tools, media = row["reasoning"], row.get("tool_calls"), row.get("media")
    if not thought and not tools and not media:
        return str(row["answer"] or "")
    message = {"role": "assistant", "content": row["answer"]}
    if thought:
        message["reasoning_content"] = thought
    if tools:
        message["tool_calls"] = tool_calls_as_sent(json.loads(tools))
    if media:
        message["media"] = json.loads(media)
    return to_json(message)


def _level(span: Span) -> tuple[str, str | None]:
    if span.status == "failed":
        return "ERROR", span.error
    if span.status == "unfinished":
        return "ERROR", "its process ended before it did"
    if span.status == "partial":
        return "WARNING", "a budget ended"
    if span.status == "interrupted":
        return "WARNING", _halted(span)
    if (tool := tool_run_of(span)) and tool.is_error:
        return "WARNING", "the tool reported an error"
    if span.kind != "call":
        return "DEFAULT", None
    if span.row["problem"]:
        return "WARNING", span.row["problem"]
    if span.row["finish_reason"] == CUT:
        return "WARNING", CUT_NOTE
    if span.source != "model":
        return "DEFAULT", f"{span.source}: no model was asked, it cost nothing"
    if _is_counted(span):
        return "DEFAULT", COUNTED
    if span.cost_usd is None:
        counted = span.row["input_tokens"] is not None and span.row["output_tokens"] is not None
        why = "no price is set for the model" if counted else "the server did not count the tokens"
        return "WARNING", f"its cost is not known: {why}"
    prompt = params_of(span.row).get("prompt") or {}
    if prompt.get("fallback"):
        return "WARNING", f"the prompt {prompt['name']!r} is the fallback in the code: {prompt['fallback']}"
    return "DEFAULT", None


def _halted(span: Span) -> str:
    """Return what an interrupted run or node stands for: a person, a time, or a budget that has ended."""
    interrupts = json.loads(span.row.get("interrupts") or "[]")
    kinds = {each.get("kind") if isinstance(each, dict) else None for each in interrupts}
    if interrupts and kinds == {BUDGET_ENDED}:
        return "a budget ended"
    return "waits for a time" if kinds == {WAIT} else "waits for an answer"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else to_json(value)

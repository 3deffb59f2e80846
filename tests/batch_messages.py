"""What the imitated batch APIs take and answer: messages, errors, and the settings that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

Fate = Literal["ok", "expire", "cancel", "error", "refuse", "missing"]

LIVE = "live: "


@dataclass
class ServedBatch:
    """One batch at the provider."""

    id: str
    requests: dict[str, dict[str, Any]]
    made_at: float
    row: dict[str, Any] = field(default_factory=dict)
    polls: int = 0
    ended: bool = False


def said(body: Mapping[str, Any]) -> str:
    """Return the last text of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[-1].get("text") or content[-1])


def answer_to(prompt: str) -> str:
    return prompt.rpartition("Say ")[2] if "Say " in prompt else f"re: {prompt}"


def check_message(body: Mapping[str, Any]) -> None:
    """Raise AssertionError for what the Messages API would refuse."""
    assert {"model", "max_tokens", "messages"} <= body.keys()
    known = {"model", "max_tokens", "messages", "system", "temperature", "top_p", "service_tier"}
    known |= {"stop_sequences", "tools", "tool_choice", "output_config", "thinking", "metadata", "top_k"}
    assert body.keys() <= known, body.keys() - known
    open_calls: set[str] = set()
    roles = [turn["role"] for turn in body["messages"]]
    assert roles[0] == "user"
    assert set(roles) <= {"user", "assistant"}
    for turn in body["messages"]:
        blocks = turn["content"]
        results = {b["tool_use_id"] for b in blocks if b["type"] == "tool_result"}
        assert results == open_calls, "each tool_use needs its tool_result in the next turn"
        open_calls = {b["id"] for b in blocks if b["type"] == "tool_use"}
        assert all(b["text"] for b in blocks if b["type"] == "text"), "text content blocks must be non-empty"


def error(
    status: int, message: str, headers: Mapping[str, str] | None = None, *, kind: str = "error"
) -> web.Response:
    fault = {"type": "error", "error": {"type": kind, "message": message, "code": None}}
    return web.json_response(fault, status=status, headers=headers)


def spec(address: str, api: str, **settings: Any) -> dict[str, Any]:
    """Return the model settings that lead to an address, with times for tests."""
    times = {"quiet_s": 0.02, "poll_s": 0.01, "settle_s": 0.1}
    return {
        "model": "served",
        "base_url": f"{address}/v1",
        "price": {"input": 2.0, "output": 8.0},
        **settings,
        "batch": {"api": api, **times, **settings.get("batch", {})},
    }


def doubled(prompts: Mapping[str, int]) -> dict[str, int]:
    """Return what was paid for more than once."""
    return {prompt: n for prompt, n in prompts.items() if n > 1}


def failed_line(name: str, fate: Fate) -> dict[str, Any]:
    """Return the line of OpenAI's file of errors for a request that has no answer."""
    row: dict[str, Any] = {"id": f"batch_req_{name}", "custom_id": name, "response": None}
    if fate == "expire":
        told = "This request could not be executed before the completion window expired."
        return {**row, "error": {"code": "batch_expired", "message": told}}
    if fate == "cancel":
        return {**row, "error": {"code": "batch_cancelled", "message": "The batch was cancelled."}}
    status = 400 if fate == "refuse" else 500
    fault = {"error": {"message": "not like this", "type": "invalid_request_error", "code": None}}
    return {**row, "response": {"status_code": status, "body": fault}, "error": None}

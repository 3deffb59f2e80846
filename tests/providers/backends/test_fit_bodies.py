"""Odd answers on the wires of Anthropic and of the Responses API: the right answer, or a telling error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from stepgraph.providers.backends.fit_bodies import BodyFitter
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.stack import member_of
from stepgraph.state.errors import ContextTooLong, MalformedResponse, ModelError, ModelUnavailable

from ...imitator import KEY
from ...imitators_of_classes import Anthropic, Responses
from ...servers import Fault
from .test_clients_agree import HELLO, Ear

MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Yes"}], "usage": {"input_tokens": 5, "output_tokens": 2},
}  # fmt: skip
SAID = {"type": "message", "id": "m1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Yes", "annotations": []}]}  # fmt: skip
RESPONSE = {
    "id": "r", "object": "response", "created_at": 1, "model": "gpt", "status": "completed", "error": None,
    "output": [SAID], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7,
              "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}  # fmt: skip
COUNTED, ARGUMENTS = (5, 2), [("f", {"a": 1})]


def message(**more: Any) -> Fault:
    return Fault(body=json.dumps({**MESSAGE, **more}))


def used(given: Any) -> Fault:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": given}
    return message(stop_reason="tool_use", content=[call])


def response(**more: Any) -> Fault:
    return Fault(body=json.dumps({**RESPONSE, **more}))


def called(arguments: Any) -> Fault:
    call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "status": "completed"}
    return response(output=[{**call, "arguments": arguments}])


def events(*parts: Mapping[str, Any]) -> Fault:
    lines = (f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts)
    return Fault(body="".join(lines), content_type="text/event-stream")


def claude(*last: Mapping[str, Any], **usage: Any) -> Fault:
    start = {**MESSAGE, "content": [], "stop_reason": None, "usage": usage or {"input_tokens": 5}}
    text = {"type": "text_delta", "text": "Yes"}
    return events(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        *last,
    )


def ended(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": usage}


def openai(*last: Mapping[str, Any]) -> Fault:
    place = {"sequence_number": 1, "output_index": 0}
    begun = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    part = {"type": "output_text", "text": "", "annotations": []}
    return events(
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.output_item.added", **place, "item": {**SAID, "content": []}},
        {"type": "response.content_part.added", **place, "content_index": 0, "item_id": "m1", "part": part},
        {"type": "response.output_text.delta", **place, "content_index": 0, "item_id": "m1", "delta": "Yes",
         "logprobs": []},
        *last,
    )  # fmt: skip


def done(**more: Any) -> dict[str, Any]:
    kind = f"response.{more.get('status', 'completed')}"
    return {"type": kind, "sequence_number": 9, "response": {**RESPONSE, **more}}


STOP = {"type": "message_stop"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
RATE = {"code": "rate_limit_exceeded", "message": "x"}
CASES: dict[str, tuple[str, bool, Fault, Any]] = {
    "error in a 200": ("anthropic", False, Fault(body=json.dumps(OVERLOADED)), (ModelUnavailable, 529)),
    "a gateway's error": (
        "anthropic", False, Fault(body='{"error": {"message": "x", "code": 502}}'), (ModelUnavailable, 502),
    ),
    "no call": ("anthropic", False, message(stop_reason="tool_use"), (MalformedResponse, None)),
    "arguments null": ("anthropic", False, used(None), [("f", {})]),
    "arguments as text": ("anthropic", False, used('{"a": 1}'), ARGUMENTS),
    "arguments as a list": ("anthropic", False, used([1]), (MalformedResponse, None)),
    "counts as text": (
        "anthropic", False, message(usage={"input_tokens": "5", "output_tokens": "2"}), COUNTED,
    ),
    "no counts": ("anthropic", False, message(usage=None), (None, None)),
    "counts at the start": ("anthropic", True, claude(ended(output_tokens=2), STOP), COUNTED),
    "counts at the end": (
        "anthropic", True, claude(ended(input_tokens=5, output_tokens=2), STOP, output_tokens=1), COUNTED,
    ),
    "counts that grow": (
        "anthropic", True, claude(ended(output_tokens=1), ended(output_tokens=2), STOP), COUNTED,
    ),
    "error in a stream": ("anthropic", True, claude(OVERLOADED), (ModelUnavailable, 529)),
    "error at the end of a stream": (
        "anthropic", True, claude(ended(output_tokens=2), OVERLOADED), (ModelUnavailable, 529),
    ),
    "error for a stream": ("anthropic", True, Fault(body=json.dumps(OVERLOADED)), (ModelUnavailable, 529)),
    "cut": ("anthropic", True, claude(), (MalformedResponse, None)),
    "no reason": ("anthropic", True, claude(ended(None), STOP), (MalformedResponse, None)),
    "no call in a stream": ("anthropic", True, claude(ended("tool_use"), STOP), (MalformedResponse, None)),
    "failed": ("openai", False, response(status="failed", error=RATE), (ModelUnavailable, 429)),
    "error beside": ("openai", False, response(error=RATE), (ModelUnavailable, 429)),
    "null called": ("openai", False, called("null"), [("f", {})]),
    "fenced call": ("openai", False, called('```json\n{"a": 1}\n```'), ARGUMENTS),
    "broken call": ("openai", False, called('{"a": '), [("f", None)]),
    "text for counts": (
        "openai", False, response(usage={"input_tokens": "5", "output_tokens": "2", "total_tokens": "7"}),
        COUNTED,
    ),
    "failed in a stream": (
        "openai", True, openai(done(status="failed", error=RATE)), (ModelUnavailable, 429),
    ),
    "error event": ("openai", True, openai({"type": "error", **RATE}), (ModelUnavailable, 429)),
    "too long": (
        "openai", True, openai({"type": "error", "code": "context_length_exceeded", "message": "x"}),
        (ContextTooLong, 400),
    ),
    "cut response": ("openai", True, openai(), (MalformedResponse, None)),
    "whole response": ("openai", True, openai(done()), COUNTED),
}  # fmt: skip


def made_of(reply: Reply, expected: Any) -> Any:
    if isinstance(expected, list):
        return [(call.name, None if call.problem else dict(call.arguments)) for call in reply.tool_calls]
    return reply.usage.input, reply.usage.output


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of Anthropic's package
async def test_odd_answers_on_other_wires(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC", "OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    wrong = {}
    with Anthropic() as anthropic, Responses() as responses:
        for name, (provider, streamed, answer, expected) in CASES.items():
            server = anthropic if provider == "anthropic" else responses
            server.will(answer)
            params = {} if provider == "anthropic" else {"params": {"use_responses_api": True}}
            member = member_of(
                parse_spec({**server.spec(client="langchain", timeout_s=30), **params}, "here")
            )
            context = CallContext("here", sink=Ear() if streamed else None)
            try:
                made = made_of(await member.backend.complete(Request(HELLO), context), expected)
            except ModelError as error:
                made = (type(error), error.status)
            if made != expected:
                wrong[name] = made
    assert wrong == {}


def test_what_is_no_json_is_left_to_the_class() -> None:
    assert BodyFitter().fit(b"<html>") == b"<html>"
    with pytest.raises(Exception, match="a JSON list"):
        BodyFitter().fit(b"[]")

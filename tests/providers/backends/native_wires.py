"""Answers on the wires of Anthropic, Gemini and OpenAI's Responses API, whole and streamed, some of them odd.

As odd_wires.py has them for chat completions: what is expected is the text, the tool calls as (name,
arguments), the finish reason, or an error.
"""

from __future__ import annotations

import json
from typing import Any

from stepgraph.state.errors import MalformedResponse, ModelUnavailable

from ...servers import Fault

Case = tuple[Fault | None, Fault | None, Any]
CITY = {"city": "Paris"}
CALLED = [("get_weather", CITY)]
BROKEN = [("get_weather", None)]


def whole(answer: Any) -> Fault:
    return Fault(body=json.dumps(answer))


def stream(*events: dict[str, Any]) -> Fault:
    lines = (
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n"
        for event in events
    )
    return Fault(body="".join(lines), content_type="text/event-stream")


# Anthropic

COUNTS = {"input_tokens": 10, "output_tokens": 5}
TEXT = {"type": "text", "text": "Yes"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": CITY}


def message(*content: Any, stop: str | None = "end_turn") -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [*content],
            "stop_reason": stop, "stop_sequence": None, "usage": COUNTS}  # fmt: skip


def block(index: int, start: dict[str, Any], kind: str, *pieces: str) -> list[dict[str, Any]]:
    name = {"text_delta": "text", "input_json_delta": "partial_json"}[kind]
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: p}} for p in pieces),
        {"type": "content_block_stop", "index": index},
    ]


def words(*pieces: str) -> list[dict[str, Any]]:
    return block(0, {"type": "text", "text": ""}, "text_delta", *pieces)


def use(*pieces: str) -> list[dict[str, Any]]:
    return block(1, {**USE, "input": {}}, "input_json_delta", *pieces)


START = {"type": "message_start", "message": message(stop=None)}
FAULT = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def ended(stop: str | None = "end_turn") -> list[dict[str, Any]]:
    told = {"stop_reason": stop, "stop_sequence": None}
    return [{"type": "message_delta", "delta": told, "usage": COUNTS}, {"type": "message_stop"}]


def both(stop: str | None) -> tuple[Fault, Fault]:
    return whole(message(TEXT, stop=stop)), stream(START, *words("Ye", "s"), *ended(stop))


ANTHROPIC: dict[str, Case] = {
    "an answer": (*both("end_turn"), {"text": "Yes", "finish": "stop"}),
    "cut": (*both("max_tokens"), {"finish": "length"}),
    "cut at the window": (*both("model_context_window_exceeded"), {"finish": "length"}),
    "refused": (*both("refusal"), {"finish": "refusal"}),
    "paused for ever": (*both("pause_turn"), {"finish": "length"}),
    "no reason": (*both(None), MalformedResponse),
    "calls that are not there": (*both("tool_use"), MalformedResponse),
    "only the beginning": (None, stream(START, *words("Ye")), MalformedResponse),
    "an error in it": (None, stream(START, *words("Ye"), FAULT), ModelUnavailable),
    "a call": (whole(message(USE, stop="tool_use")),
               stream(START, *use('{"city":', ' "Paris"}'), *ended("tool_use")), CALLED),
    "a call without arguments": (whole(message({**USE, "input": {}}, stop="tool_use")),
                                 stream(START, *use(), *ended("tool_use")), [("get_weather", {})]),
    "a call cut before its arguments": (whole(message({**USE, "input": {}}, stop="max_tokens")),
                                        stream(START, *use(), *ended("max_tokens")), BROKEN),
    "a call cut in its arguments": (whole(message(USE, stop="max_tokens")),
                                    stream(START, *use('{"city": "Par'), *ended("max_tokens")), BROKEN),
    "a call that is no JSON": (None, stream(START, *use('{"city": Paris}'), *ended("tool_use")), BROKEN),
}  # fmt: skip

# Gemini

YES = {"text": "Yes"}
FUNCTION = {"functionCall": {"name": "get_weather", "args": CITY}}


def candidate(*parts: Any, finish: str | None = "STOP") -> dict[str, Any]:
    content = {"content": {"role": "model", "parts": [*parts]}} if parts else {}
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    reason = {"finishReason": finish} if finish else {}
    return {"candidates": [{"index": 0, **content, **reason}], "usageMetadata": counts, "modelVersion": "g"}


def geminis(finish: str | None) -> tuple[Fault, Fault]:
    last = candidate({"text": "s"}, finish=finish)
    return whole(candidate(YES, finish=finish)), stream(candidate({"text": "Ye"}, finish=None), last)


GEMINI: dict[str, Case] = {
    "an answer": (*geminis("STOP"), {"text": "Yes", "finish": "stop"}),
    "a reason in each chunk": (None, stream(candidate({"text": "Ye"}), candidate({"text": "s"})),
                               {"text": "Yes", "finish": "stop"}),
    "cut": (*geminis("MAX_TOKENS"), {"finish": "length"}),
    **{name: (*geminis(name), {"finish": "content_filter"}) for name in
       ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION")},
    **{name: (*geminis(name), MalformedResponse) for name in
       ("OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "SOMETHING_NEW",
        "FINISH_REASON_UNSPECIFIED")},
    "no reason": (*geminis(None), MalformedResponse),
    "no candidates": (whole({"candidates": []}), stream({"candidates": []}), MalformedResponse),
    "a prompt that is blocked": (whole({"promptFeedback": {"blockReason": "SAFETY"}}),
                                 stream({"promptFeedback": {"blockReason": "OTHER"}}),
                                 {"text": "", "finish": "content_filter"}),
    "filtered, and nothing else": (whole(candidate(finish="SAFETY")), stream(candidate(finish="SAFETY")),
                                   {"text": "", "finish": "content_filter"}),
    "a call": (whole(candidate(FUNCTION)), stream(candidate(FUNCTION)), CALLED),
    "a call without arguments": (
        whole(candidate({"functionCall": {"name": "f"}})),
        stream(candidate({"functionCall": {"name": "f"}}, finish=None), candidate({"text": ""})),
        [("f", {})],
    ),
    "an error in it": (None, stream(candidate({"text": "Ye"}, finish=None),
                                    {"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}),
                       ModelUnavailable),
}  # fmt: skip

# OpenAI's Responses API

SAID = {"type": "message", "id": "m_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Yes", "annotations": []}]}  # fmt: skip
NO = {**SAID, "content": [{"type": "refusal", "refusal": "No"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed",
        "name": "get_weather", "arguments": json.dumps(CITY)}  # fmt: skip
HALF = {**CALL, "arguments": '{"city": "Par'}


def response(*output: Any, status: str | None = "completed", reason: str | None = None) -> dict[str, Any]:
    counts = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
              "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 15}  # fmt: skip
    told = {"id": "r", "object": "response", "created_at": 1, "model": "gpt-5", "status": status}
    told |= {"incomplete_details": {"reason": reason} if reason else None, "error": None, "metadata": {}}
    told |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": None}
    return {**told, "output": [*output], "usage": counts}


def events(item: dict[str, Any], status: str | None = "completed", reason: str | None = None) -> Fault:
    begun = {**item, **({"content": []} if "content" in item else {"arguments": ""})}
    told = [("created", {"response": response(status="in_progress")}),
            ("output_item.added", {"output_index": 0, "item": begun})]  # fmt: skip
    where = {"output_index": 0, "item_id": item["id"]}
    if "arguments" in item:
        told.append(("function_call_arguments.delta", {**where, "delta": item["arguments"]}))
    else:
        (part,) = item["content"]
        kind, name = ("refusal", "refusal") if "refusal" in part else ("output_text", "text")
        more = {} if kind == "refusal" else {"logprobs": []}
        told.append((f"{kind}.delta", {**where, "content_index": 0, "delta": part[name], **more}))
        told.append((f"{kind}.done", {**where, "content_index": 0, name: part[name], **more}))
    told.append(("output_item.done", {"output_index": 0, "item": item}))
    if status is not None:
        told.append((status, {"response": response(item, status=status, reason=reason)}))
    return stream(*({"type": f"response.{k}", "sequence_number": n, **e} for n, (k, e) in enumerate(told)))


def replied(
    item: dict[str, Any], status: str = "completed", reason: str | None = None
) -> tuple[Fault, Fault]:
    return whole(response(item, status=status, reason=reason)), events(item, status, reason)


RESPONSES: dict[str, Case] = {
    "an answer": (*replied(SAID), {"text": "Yes", "finish": "stop"}),
    "cut": (*replied(SAID, "incomplete", "max_output_tokens"), {"finish": "length"}),
    "filtered": (*replied(SAID, "incomplete", "content_filter"), {"finish": "content_filter"}),
    "not whole": (*replied(SAID, "incomplete"), MalformedResponse),
    "refused": (*replied(NO), {"text": "No", "finish": "refusal"}),
    "given up": (whole(response(SAID, status="cancelled")), None, ModelUnavailable),
    "not yet": (whole(response(SAID, status="in_progress")), None, MalformedResponse),
    "only the beginning": (None, events(SAID, None), MalformedResponse),
    "a call": (*replied(CALL), CALLED),
    "a call without arguments": (*replied({**CALL, "arguments": ""}), [("get_weather", {})]),
    "a call that is no JSON": (*replied(HALF), BROKEN),
    "a call cut in its arguments": (*replied(HALF, "incomplete", "max_output_tokens"), BROKEN),
    "a call cut before its arguments": (
        *replied({**CALL, "arguments": ""}, "incomplete", "max_output_tokens"), BROKEN,
    ),
}  # fmt: skip

WIRES = {"anthropic": ANTHROPIC, "google_genai": GEMINI, "responses": RESPONSES}

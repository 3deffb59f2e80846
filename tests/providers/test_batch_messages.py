"""A request in the form of Anthropic's Messages API, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepgraph.errors import ModelRefused
from stepgraph.providers.backends.http import MalformedBody
from stepgraph.providers.backends.refused_params import ParameterLeftOut
from stepgraph.providers.batches.messages import message_body, message_reply
from stepgraph.providers.model import Request, ToolCall, Usage
from stepgraph.providers.settings import ModelSettings

from ..batch_messages import check_message

SETTINGS = ModelSettings(provider="anthropic", model="claude", max_tokens=50)
PNG = "data:image/png;base64,iVBORw0KGgo="


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = message_body(Request(messages, **more), SETTINGS)
    check_message(made)
    return made


def test_a_tool_loop_keeps_calls_results_and_thoughts_together() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "look.up", "arguments": '{"a": 1}'}}
        for n in range(2)
    ]
    made = body(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": calls, "thinking_blocks": [thought]},
        {"role": "tool", "tool_call_id": "c0", "content": "one"},
        {"role": "tool", "tool_call_id": "c1", "content": "two"},
        {"role": "user", "content": "And?"},
        tools=({"name": "look.up", "description": "Looks.", "parameters": {"type": "object"}},),
        tool_choice="none",
    )
    assert made["system"] == [{"type": "text", "text": "Be brief."}]
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in made["messages"][1]["content"]] == ["thinking", "tool_use", "tool_use"]
    assert [block["type"] for block in made["messages"][2]["content"]] == ["tool_result"] * 2 + ["text"]
    (tool,) = made["tools"]
    assert made["messages"][1]["content"][1]["name"] == tool["name"] != "look.up"  # fit for the wire
    assert tool["input_schema"] == {"type": "object"}
    assert made["tool_choice"] == {"type": "none"}


def test_dials_limits_and_parts_have_their_places() -> None:
    made = body(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "cache_control", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "image", "url": "https://example.com/a.png"},
            ],
        },
        max_tokens=7,
        temperature=0.5,
        dials={
            "stop": ["x"],
            "reasoning_effort": "low",
            "top_p": 0.5,
            "extra_body": {"top_k": 3},
        },
        schema={"title": "A", "type": "object"},
    )
    parts = made["messages"][0]["content"]
    assert parts[0]["cache_control"] == {"type": "ephemeral"}
    assert parts[1]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert [part["type"] for part in parts] == ["text", "image", "document", "image"]
    assert (made["max_tokens"], made["temperature"], made["top_p"], made["top_k"]) == (7, 0.5, 0.5, 3)
    assert (made["stop_sequences"], made["output_config"]) == (["x"], {"effort": "low"})
    assert json.dumps({"title": "A", "type": "object"}) in made["system"][0]["text"]


def test_what_it_cannot_take_is_refused_in_words() -> None:
    with pytest.raises(ModelRefused, match="'input_audio'"):
        body({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]})


def test_a_reply_has_text_calls_thoughts_and_counts() -> None:
    answer = {
        "model": "claude-1",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 90,
            "cache_creation_input_tokens": 5,
            "output_tokens": 7,
        },
    }
    reply = message_reply(Request(({"role": "user", "content": "x"},)), answer, "claude")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Let me see.", "hm", "tool_calls")
    assert reply.tool_calls == (ToolCall("look", {"a": 1}, "t"),)
    assert reply.usage == Usage(100, 7, 90, cache_write=5)
    assert reply.state == {"thinking_blocks": answer["content"][:1]}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"content": "x", "stop_reason": "end_turn"},
        {"content": [], "stop_reason": None},
        {"content": [], "stop_reason": "pause_turn"},
    ],
    ids=str,
)
def test_what_is_no_whole_answer_is_none(answer: Any) -> None:
    with pytest.raises(MalformedBody):
        message_reply(Request(({"role": "user", "content": "x"},)), answer, "claude")


def test_a_dial_that_the_api_does_not_have_is_left_out_with_a_warning() -> None:
    with pytest.warns(ParameterLeftOut, match="no seed: claude is asked without"):
        assert "seed" not in body({"role": "user", "content": "Go"}, dials={"seed": 1, "top_p": 0.5})

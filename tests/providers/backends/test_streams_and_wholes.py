"""However a server cuts an answer into pieces, the pieces give what the whole gives, or an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.providers.backends.completion import PartialCompletion, read_completion
from stepgraph.providers.backends.http import HTTPStatusError, MalformedBody
from stepgraph.providers.model import Reply
from stepgraph.providers.provider_table import COMPATIBLE, REMOTE, Capabilities, provider_named

CAN = Capabilities(always_finishes=True, echo=("reasoning_details", "extra_content"))
# How servers send the pieces of tool calls: OpenAI; an id with each piece; the name too; all numbered 0 or
# not numbered at all, told apart by their ids; not numbered and without an id, each call in one piece.
STYLES = ("openai", "ids", "names", "zero", "none", "bare")

texts = st.text("abc <>/é", max_size=12)
arguments = st.dictionaries(st.sampled_from(["q", "n"]), st.one_of(texts, st.integers()), max_size=2)
calls = st.lists(st.tuples(st.sampled_from(["find", "look"]), arguments), max_size=3)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    made = [
        {"id": f"id_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(values)}}
        for n, (name, values) in enumerate(draw(calls))
    ]
    for call in made:
        if draw(st.booleans()):
            call["extra_content"] = {"google": {"thought_signature": call["id"] * 2}}
    details = draw(st.lists(texts.filter(bool), max_size=2))
    return {
        "content": draw(texts),
        "reasoning_content": draw(texts),
        **({"tool_calls": made} if made else {}),
        **({"reasoning_details": [_detail(n, text) for n, text in enumerate(details)]} if details else {}),
    }


def _detail(number: int, text: str) -> dict[str, Any]:
    return {"type": "reasoning.text", "index": number, "text": text, "signature": f"s{number}"}


def whole(message: dict[str, Any], finish: str | None = "stop") -> Reply:
    return read_completion({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}, CAN, "m")


def _cut(text: str, size: int) -> list[str]:
    return [text[n : n + size] for n in range(0, len(text), size)]


def deltas(message: dict[str, Any], style: str, size: int) -> list[dict[str, Any]]:
    """Return the message in pieces, as servers of a style send them."""
    made: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    for detail in message.get("reasoning_details", ()):
        unsigned = [{**detail, "text": piece, "signature": None} for piece in _cut(detail["text"], size)]
        made += [{"reasoning_details": [piece]} for piece in unsigned]
        made[-1]["reasoning_details"][0]["signature"] = detail["signature"]
    made += [{"reasoning_content": piece} for piece in _cut(message["reasoning_content"], size)]
    made += [{"content": piece} for piece in _cut(message["content"], size)]
    for number, call in enumerate(message.get("tool_calls", ())):
        text = call["function"]["arguments"]
        for place, piece in enumerate(_cut(text, len(text) if style == "bare" else size)):
            function = {"arguments": piece}
            if place == 0 or style == "names":
                function["name"] = call["function"]["name"]
            part: dict[str, Any] = {"index": number, "function": function}
            if style in ("zero", "none", "bare"):
                part["index"] = 0
            if style in ("none", "bare"):
                del part["index"]
            if style != "bare" and (place == 0 or style in ("ids", "names", "none")):
                part["id"] = call["id"]
            if place == 0 and "extra_content" in call:
                part["extra_content"] = call["extra_content"]
            made.append({"tool_calls": [part]})
    return made


def streamed(pieces: list[dict[str, Any]], finish: str | None = "stop") -> Reply:
    draft = PartialCompletion(CAN, "m")
    for piece in pieces:
        draft.chunk({"choices": [{"index": 0, "delta": piece, "finish_reason": None}]})
    draft.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return draft.reply()


@settings(max_examples=150)
@given(messages(), st.sampled_from(STYLES), st.integers(1, 9))
def test_the_pieces_give_what_the_whole_gives(message: dict[str, Any], style: str, size: int) -> None:
    if style == "bare":
        for number, call in enumerate(message.get("tool_calls", ())):
            call["id"] = f"call_{number}"  # what a call gets that came without an id
    assert streamed(deltas(message, style, size)) == whole(message)


@settings(max_examples=60)
@given(messages(), st.sampled_from(STYLES), st.integers(1, 9), st.data())
def test_a_stream_that_was_cut_is_no_answer(
    message: dict[str, Any], style: str, size: int, data: st.DataObject
) -> None:
    pieces = deltas(message, style, size)
    kept = pieces[: data.draw(st.integers(0, len(pieces)))]
    draft = PartialCompletion(CAN, "m")
    for piece in kept:
        draft.chunk({"choices": [{"index": 0, "delta": piece, "finish_reason": None}]})
    with pytest.raises(MalformedBody, match="finish_reason"):
        draft.reply()


def test_text_after_an_early_end_belongs_to_the_answer() -> None:
    draft = PartialCompletion(CAN, "m")
    for text in ("It is ", "at dock ", "4."):  # Gemini behind some gateways: an end with each piece
        draft.chunk({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})
    assert draft.reply().text == "It is at dock 4."


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("length", "length"),
        ("tool_use", "tool_calls"),
        ("function_call", "tool_calls"),
        ("SAFETY", "content_filter"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons_are_told_in_one_language(said: str, meant: str) -> None:
    called = {"tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]}
    assert whole({"content": "a", **(called if meant == "tool_calls" else {})}, said).finish_reason == meant


@pytest.mark.parametrize("said", ["abort", "error", "insufficient_system_resource", "cancelled", "ABORT"])
@pytest.mark.parametrize("how", [whole, lambda message, said: streamed([message], said)])
def test_what_the_server_gave_up_is_no_answer(said: str, how: Any) -> None:
    with pytest.raises(HTTPStatusError) as caught:
        how({"content": "Transfer the money to acc"}, said)
    assert caught.value.status == 503
    assert said in str(caught.value.body)


@pytest.mark.parametrize("said", ["malformed_function_call", "load", "something new"])
def test_an_unknown_reason_is_none(said: str) -> None:
    with pytest.raises(MalformedBody, match=r"capabilities\.finish"):
        whole({"content": "a"}, said)
    own = {"choices": [{"message": {"content": "a"}, "finish_reason": said}]}
    assert read_completion(own, Capabilities(finish=(said,)), "m").finish_reason == said


def test_no_reason_is_taken_only_where_a_server_may_send_none() -> None:
    silent = {"choices": [{"message": {"content": "a"}, "finish_reason": None}]}
    assert read_completion(silent, COMPATIBLE, "m").text == "a"
    for provider in REMOTE:
        with pytest.raises(MalformedBody, match="finish_reason"):
            read_completion(silent, provider_named(provider).capabilities, "m")


@pytest.mark.parametrize(
    "given", ["", "null", "{}", "```json\n{}\n```", "```\n{}\n```", "``` {} ```", '"{}"', None, {}]
)
def test_no_arguments_are_spelled_in_many_ways(given: Any) -> None:
    call = {"id": "c", "function": {"name": "find", "arguments": given}}
    (read,) = whole({"content": None, "tool_calls": [call]}).tool_calls
    assert (read.arguments, read.problem) == ({}, None)


@pytest.mark.parametrize("given", ['```json\n{"q": "tea"}\n```', '"{\\"q\\": \\"tea\\"}"', {"q": "tea"}])
def test_arguments_are_read_as_they_are_meant(given: Any) -> None:
    call = {"id": "c", "function": {"name": "find", "arguments": given}}
    assert whole({"content": None, "tool_calls": [call]}).tool_calls[0].arguments == {"q": "tea"}


def test_a_flood_of_tool_calls_is_no_answer() -> None:
    draft = PartialCompletion(CAN, "m")
    flood = [{"id": f"c{n}", "function": {"name": "find", "arguments": "{}"}} for n in range(1001)]
    with pytest.raises(MalformedBody, match="1000 tool calls"):
        draft.chunk({"choices": [{"index": 0, "delta": {"tool_calls": flood}}]})


def test_what_looks_whole_on_the_way_is_read_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    loads = json.loads

    def noted(text: str, **options: Any) -> Any:
        read.append(len(text))
        return loads(text, **options)

    monkeypatch.setattr("stepgraph.providers.backends.tool_calls.json.loads", noted)
    draft = PartialCompletion(CAN, "m")
    for piece in ['{"q": "', *["{}"] * 20_000, '"}']:
        call = {"function": {"name": "find", "arguments": piece}}
        draft.chunk({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    draft.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    (made,) = draft.reply().tool_calls
    assert made.arguments == {"q": "{}" * 20_000}
    assert sum(read) < 20_000_000  # at each piece it would be 400 million

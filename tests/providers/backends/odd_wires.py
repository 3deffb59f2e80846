"""Answers of chat completions that are odd in one way each, and what is to be made of them.

Each stands for a kind that some server or proxy is known to send. What is expected is the text, the tool
calls as (name, arguments), the finish reason or the counts, whichever the case is about; or an error, with
its status.
"""

from __future__ import annotations

import json
from typing import Any

from stepgraph.state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    MalformedResponse,
    ModelFiltered,
    ModelRefused,
    ModelUnavailable,
)

from ...imitator import error
from ...servers import Fault

START = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
Case = tuple[Fault, Any]


def body(**more: Any) -> Fault:
    return Fault(body=json.dumps({**START, **more}))


def choice(finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}


def said(finish: Any = "stop", **message: Any) -> Fault:
    return body(choices=[choice(finish, **message)])


def called(arguments: Any, **more: Any) -> Fault:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}
    return said("tool_calls", content=None, tool_calls=[call])


def told(**fault: Any) -> Fault:
    return body(error=fault)


def delta(finish: Any = None, **content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


def line(part: dict[str, Any]) -> str:
    return "data: " + json.dumps({**START, "object": "chat.completion.chunk", **part})


def raw(text: str | bytes, kind: str = "text/event-stream") -> Fault:
    return Fault(body=text, content_type=kind)


def stream(*parts: dict[str, Any]) -> Fault:
    return raw("".join(f"{line(part)}\n\n" for part in parts) + "data: [DONE]\n\n")


def piece(index: Any, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        **({} if index is None else {"index": index}),
        **({} if call_id is None else {"id": call_id}),
        "function": {key: value for key, value in function.items() if value is not None},
    }


def calls(*pieces: Any) -> Fault:
    return stream(*(delta(tool_calls=[part]) for part in pieces), delta("tool_calls"))


YES = choice(content="Yes")
ONE, TWO = [("f", {"a": 1})], [("f", {"a": 1}), ("g", {"b": 2})]
HELLO, END, DONE = line(delta(content="Yes")), line(delta("stop")), "data: [DONE]"
COUNTS = {"prompt_tokens": 5, "completion_tokens": 2}
FLAT = {"object": "error", "message": "boom", "type": "BadRequestError", "param": None, "code": 400}

WHOLE: dict[str, Case] = {
    # the bytes
    "a mark before": (Fault(body=b"\xef\xbb\xbf" + json.dumps({**START, "choices": [YES]}).encode()), "Yes"),
    "not UTF-8": (Fault(body=b'{"choices": [{"message": {"content": "\xe4"}}]}'), MalformedResponse),
    "another type": (raw(json.dumps({**START, "choices": [YES]}), "application/octet-stream"), "Yes"),
    "no object": (Fault(body="[]"), MalformedResponse),
    "nothing": (Fault(status=204, body=""), MalformedResponse),
    # errors in a 200
    "error null": (body(error=None, choices=[YES]), "Yes"),
    "error text": (body(error="boom"), (ModelUnavailable, 502)),
    "error list": (body(error=["boom"]), (ModelUnavailable, 502)),
    "error beside an answer": (body(error={"code": 500}, choices=[YES]), (ModelUnavailable, 500)),
    "error code as text": (told(code="429"), (ModelUnavailable, 429)),
    "error named by type": (told(type="rate_limit_error"), (ModelUnavailable, 429)),
    "error named by code": (told(code="rate_limit_exceeded"), (ModelUnavailable, 429)),
    "overloaded": (told(type="overloaded_error"), (ModelUnavailable, 529)),
    "wrong key": (told(type="authentication_error"), (AuthenticationFailed, 401)),
    "too long": (told(code="context_length_exceeded"), (ContextTooLong, 400)),
    "no money": (told(code="insufficient_quota"), (ModelUnavailable, 429)),
    "filtered": (told(code="content_filter"), (ModelFiltered, 400)),
    "flat error": (Fault(body=json.dumps(FLAT)), (ModelRefused, 400)),
    "error in a choice": (body(choices=[{**YES, "error": {"code": 502}}]), (ModelUnavailable, 502)),
    "error in a message": (said(content="Yes", error={"code": 503}), (ModelUnavailable, 503)),
    "only a detail": (Fault(body='{"detail": "Not Found"}'), MalformedResponse),
    # other statuses
    "a page": (raw("<html>Too Large</html>", "text/html"), MalformedResponse),
    "413": (error(413, {"error": {"message": "no"}}), (ContextTooLong, 413)),
    "498": (error(498, {"error": {"message": "full"}}), (ModelUnavailable, 498)),
    "moved": (Fault(status=307, body="", headers={"Location": "/v1"}), (ModelRefused, 307)),
    # the message
    "no message": (body(choices=[{"index": 0, "finish_reason": "stop"}]), MalformedResponse),
    "a text for a message": (
        body(choices=[{"index": 0, "message": "Yes", "finish_reason": "stop"}]),
        MalformedResponse,
    ),
    "a number for a content": (said(content=5), MalformedResponse),
    "an object for a content": (said(content={"text": "Yes"}), MalformedResponse),
    "parts": (said(content=[{"type": "text", "text": "Ye"}, "s"]), "Yes"),
    "no role": (body(choices=[{"message": {"content": "Yes"}, "finish_reason": "stop"}]), "Yes"),
    "another role": (said(content="Yes", role="model"), "Yes"),
    "choices in another order": (body(choices=[{**choice(content="No"), "index": 1}, YES]), "Yes"),
    "a number for a model": (body(model=7, choices=[YES]), "Yes"),
    "a list for a refusal": (said(content=None, refusal=["No"]), "No"),
    # why it ended
    "no reason": (said("", content="Yes"), MalformedResponse),
    "a number for a reason": (said(5, content="Yes"), MalformedResponse),
    "an unknown reason": (said("repetition", content="Yes"), MalformedResponse),
    "calls that are not there": (said("tool_calls", content="Let me look."), MalformedResponse),
    # tool calls
    "an object for calls": (said(content="Yes", tool_calls={"a": 1}), MalformedResponse),
    "a text for a call": (said("tool_calls", content=None, tool_calls=["f"]), MalformedResponse),
    "the older call": (said("function_call", function_call={"name": "f", "arguments": '{"a": 1}'}), ONE),
    "a number for an id": (called('{"a": 1}', id=7), ONE),
    "arguments as an object": (called({"a": 1}), ONE),
    "arguments quoted": (called(json.dumps('{"a": 1}')), ONE),
    "arguments in a fence": (called('```json\n{"a": 1}\n```'), ONE),
    "arguments in a fence of one line": (called('```json {"a": 1} ```'), ONE),
    "arguments in another fence": (called('~~~\n{"a": 1}\n~~~'), ONE),
    "arguments behind a mark": (called('\ufeff{"a": 1}'), ONE),
    "arguments with a line's end": (called('{"a": "x\ny"}'), [("f", {"a": "x\ny"})]),
    **{f"no arguments: {text!r}": (called(text), [("f", {})])
       for text in ("", " \n", "null", "None", "undefined", "{}", "[]", '""', "```json\n```", None)},
    **{f"bad arguments: {text!r}": (called(text), [("f", None)])
       for text in ("[1]", "5", "{'a': 1}", '{"a": 1,}', '{"a": 1} ok', '{"a": ', [1], 5, False)},
    "a bad call before a good one": (
        said("tool_calls", tool_calls=[piece(None, "c1", "f", '{"a": '), piece(None, "c2", "g", '{"b": 2}')]),
        [("f", None), ("g", {"b": 2})],
    ),
    # characters
    "a half of a character": (said(content="\ud83d\ude00"), "\U0001f600"),
}  # fmt: skip

STREAMED: dict[str, Case] = {
    # the bytes
    "a mark before": (raw("\ufeff" + f"{HELLO}\n\n{END}\n\n{DONE}\n\n"), "Yes"),
    "comments": (raw(f": hi\n\n{HELLO}\n\n: more\n\n{END}\n\n{DONE}\n\n"), "Yes"),
    "\\r\\n": (raw(f"{HELLO}\r\n\r\n{END}\r\n\r\n{DONE}\r\n\r\n"), "Yes"),
    "\\r": (raw(f"{HELLO}\r\r{END}\r\r{DONE}\r\r"), "Yes"),
    "no space": (raw(f"{HELLO}\n\n{END}\n\n{DONE}\n\n".replace("data: ", "data:")), "Yes"),
    "more space": (raw(f"{HELLO}\n\n{END}\n\ndata:  [DONE] \n\n"), "Yes"),
    "no last empty line": (raw(f"{HELLO}\n\n{END}"), "Yes"),
    "empty data": (raw(f"data:\n\n{HELLO}\n\ndata: \n\n{END}\n\n{DONE}\n\n"), "Yes"),
    "an event in two lines": (
        raw(f'data: {{"choices":\ndata: {json.dumps(delta("stop", content="Yes")["choices"])}}}\n\n'),
        "Yes",
    ),
    "no stream": (body(choices=[YES]), "Yes"),
    "no stream, an error": (told(code=502), (ModelUnavailable, 502)),
    "a page": (raw("<html>login</html>", "text/html"), MalformedResponse),
    "whole in one event": (raw(f"{line({'choices': [YES]})}\n\n{DONE}\n\n"), "Yes"),
    "another type": (raw(f"{HELLO}\n\n{END}\n\n{DONE}\n\n", "text/plain"), "Yes"),
    "no JSON": (raw(f"{HELLO}\n\ndata: {{oops\n\n{END}\n\n{DONE}\n\n"), MalformedResponse),
    "no end": (raw(f"{HELLO}\n\n"), MalformedResponse),
    "an end without a reason": (raw(f"{HELLO}\n\n{DONE}\n\n"), MalformedResponse),
    # errors
    "error text": (stream(delta(content="ha"), {"error": "gone"}), (ModelUnavailable, 502)),
    "error empty": (stream(delta(content="Yes"), {"error": {}}, delta("stop")), "Yes"),
    "error after the stop": (stream(delta("stop", content="Yes"), {"error": {"code": 500}}),
                             (ModelUnavailable, 500)),
    "error named": (stream({"error": {"type": "overloaded_error"}}), (ModelUnavailable, 529)),
    "flat error": (stream(delta(content="ha"), {**FLAT, "code": 500}), (ModelUnavailable, 500)),
    "error in a choice": (
        stream(delta(content="ha"), {"choices": [{"index": 0, "delta": {}, "error": {"code": 502}}]}),
        (ModelUnavailable, 502),
    ),
    # the pieces
    "no delta": (stream(delta(content="Yes"), {"choices": [{"index": 0, "finish_reason": "stop"}]}), "Yes"),
    "a message for a delta": (stream({"choices": [YES]}), "Yes"),
    "a text for a delta": (stream({"choices": [{"index": 0, "delta": "Yes"}]}, delta("stop")),
                           MalformedResponse),
    "the older form": (stream({"choices": [{"index": 0, "text": "Yes", "finish_reason": "stop"}]}),
                       MalformedResponse),
    "a number for a content": (stream(delta(content=5), delta("stop")), MalformedResponse),
    "another role": (stream(delta(role="user", content="Yes"), delta("stop")), "Yes"),
    "a text for a number": (
        stream({"choices": [{"index": "0", "delta": {"content": "Yes"}}]}, delta("stop")),
        "Yes",
    ),
    "another choice": (
        stream(
            {"choices": [{"index": 1, "delta": {"content": "No"}}, *delta(content="Yes")["choices"]]},
            {"choices": [{"index": 1, "delta": {"content": "No"}, "finish_reason": "stop"}]},
            delta("stop"),
        ),
        "Yes",
    ),
    "only another choice ends": (
        stream(delta(content="Yes"), {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}),
        MalformedResponse,
    ),
    "halves of a character": (
        stream(delta(content="a\ud83d"), delta(content="\ude00b"), delta("stop")),
        "a\U0001f600b",
    ),
    "blanks behind a thought": (
        stream(delta(content="<think>Hm.</think>"), delta(content="\n\n"), delta("stop", content="Yes")),
        "Yes",
    ),
    # why it ended
    "cut, then a stop": (stream(delta(content="Yes"), delta("length"), delta("stop")), {"finish": "length"}),
    "filtered, then a stop": (stream(delta("content_filter", content="Yes"), delta("stop")),
                              {"finish": "content_filter"}),
    "a stop, then a cut": (stream(delta("stop", content="Yes"), delta("length")), {"finish": "length"}),
    "a stop, then given up": (stream(delta("stop", content="Yes"), delta("abort")), (ModelUnavailable, 503)),
    "given up, then a stop": (stream(delta("error", content="Yes"), delta("stop")), (ModelUnavailable, 503)),
    "calls that are not there": (stream(delta(content="Let me look."), delta("tool_calls")),
                                 MalformedResponse),
    # counts
    "counts that grow": (
        stream({**delta(content="Yes"), "usage": {**COUNTS, "completion_tokens": 1}},
               {**delta("stop"), "usage": COUNTS}, {"choices": [], "usage": COUNTS}),
        {"usage": (5, 2)},
    ),
    "counts in parts": (
        stream({**delta(content="Yes"), "usage": {"prompt_tokens": 5}},
               {**delta("stop"), "usage": {"prompt_tokens": None, "completion_tokens": 2}}),
        {"usage": (5, 2)},
    ),
    "counts, then none": (stream({**delta(content="Yes"), "usage": COUNTS}, {**delta("stop"), "usage": {}}),
                          {"usage": (5, 2)}),
    "counts in the choice": (
        stream(delta(content="Yes"), {"choices": [{**delta("stop")["choices"][0], "usage": COUNTS}]}),
        {"usage": (5, 2)},
    ),
    # tool calls
    "the older call": (
        stream(delta(function_call={"name": "f", "arguments": ""}),
               delta("function_call", function_call={"arguments": '{"a": 1}'})),
        ONE,
    ),
    "an object for calls": (stream(delta(tool_calls={"index": 0}), delta("tool_calls")), MalformedResponse),
    "arguments as an object": (calls(piece(0, "c1", "f", {"a": 1})), ONE),
    "a place held by {}": (calls(piece(0, "c1", "f", "{}"), piece(0, None, None, '{"a": 1}')), ONE),
    "whole again at the end": (
        calls(piece(0, "c1", "f", '{"a"'), piece(0, None, None, ": 1}"), piece(0, "c1", "f", '{"a": 1}')),
        ONE,
    ),
    "function missing at first": (calls({"index": 0, "id": "c1"}, piece(0, None, "f", '{"a": 1}')), ONE),
    "one number, by id": (
        calls(piece(0, "c1", "f", '{"a"'), piece(0, "c2", "g", '{"b"'),
              piece(0, "c1", None, ": 1}"), piece(0, "c2", None, ": 2}")),
        TWO,
    ),
    "no numbers": (
        calls(piece(None, "c1", "f", '{"a"'), piece(None, None, None, ": 1}"),
              piece(None, "c2", "g", '{"b": 2}')),
        TWO,
    ),
    "numbers turned": (calls(piece(1, "c2", "g", '{"b": 2}'), piece(0, "c1", "f", '{"a": 1}')), TWO),
    "numbers with a gap": (calls(piece(3, "c1", "f", '{"a": 1}'), piece(7, "c2", "g", '{"b": 2}')), TWO),
    "a number that shifts": (calls(piece(0, "c1", "f", '{"a"'), piece(1, "c1", None, ": 1}")), ONE),
    "no ids": (calls(piece(0, None, "f", '{"a": 1}'), piece(0, None, "g", '{"b": 2}')), TWO),
}  # fmt: skip

"""What each check of an endpoint says of the answers that it may get: fine, not supported, or wrong."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph.providers.backends.http import HTTPStatusError, MalformedBody
from stepgraph.providers.model import Reply, ToolCall, Usage
from stepgraph.providers.settings import Overrides
from stepgraph.providers.testing.checks import CHECKS
from stepgraph.providers.testing.probe import CheckFailed, Unsupported
from stepgraph.state.errors import AuthenticationFailed, ModelNotFound, ModelRefused, ModelUnavailable

REFUSED = HTTPStatusError(400, {"error": {"message": "unknown field"}}, {})
COLOUR = json.dumps({"colour": "red", "warmth": 3})


class Told:
    """Stands for an endpoint: it gives the answers that it was told, or raises them."""

    calls_at_once = 3

    def __init__(self, *answers: Any, max_tokens: str = "max_tokens", tools: str | None = None) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.suggested: dict[str, Any] = {}
        self.settings = SimpleNamespace(model="m", timeout_s=5.0)
        can = SimpleNamespace(max_tokens=max_tokens, stream_usage=True, structured="json_schema")
        self.endpoint = SimpleNamespace(can=can, tools=tools, complete=self._next)
        self.wire = SimpleNamespace(stream=self._stream)

    async def _next(self, *given: Any, **more: Any) -> Any:
        self.asked.append(more)
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    ask = complete = try_as = _next

    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[Any]:
        self.asked.append(body)
        while self._answers and isinstance(self._answers[0], dict):
            yield self._answers.pop(0)

    @property
    def suited(self) -> Overrides:
        return Overrides()

    def limit(self, tokens: int = 1) -> dict[str, int]:
        return {"max_tokens": tokens}


def answer(content: Any = "Hello", *, usage: Any = None, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"message": message, **choice}], **({"usage": usage} if usage else {})}


def called(name: Any = "get_weather", arguments: Any = '{"city": "Paris"}') -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"choices": [{"message": {"content": None, "tool_calls": [{"function": function}]}}]}


def chunk(content: str | None = None, finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content}, "finish_reason": finish}], "usage": usage}


def reply(text: str = "Hello", **more: Any) -> Reply:
    return Reply(text, "m", **more)


RUN = ToolCall("get_weather", {"city": "Paris"}, "1")
USED, MUCH = {"completion_tokens": 9}, {"completion_tokens": 10}
END = chunk(finish="stop", usage={"total_tokens": 3})


@pytest.mark.parametrize(
    ("name", "answers", "told"),
    [
        ("plain answer", [reply()], "m answered in"),
        ("plain answer", [reply(" ", finish_reason="length")], CheckFailed("the answer is empty.*'length'")),
        ("usage", [reply(usage=Usage(3, 4))], "3 . 4 tokens"),
        ("usage", [reply(usage=Usage(3, None))], CheckFailed("does not say how many tokens")),
        ("usage", [reply(usage=Usage(None, 4))], CheckFailed("does not say how many tokens")),
        ("limit of tokens", [answer(usage=USED), answer(usage=USED)], "^max_tokens, max_completion_tokens$"),
        ("limit of tokens", [answer(usage=USED), answer(usage=MUCH)], "^max_tokens$"),
        (
            "limit of tokens",
            [answer(usage=MUCH), answer(usage=MUCH, finish_reason="length")],
            "^max_completion_t",
        ),
        ("limit of tokens", [answer(usage=MUCH), answer()], CheckFailed("no limit is kept")),
        (
            "limit of tokens",
            [REFUSED, REFUSED],
            CheckFailed("no limit is kept.*max_tokens: HTTP 400: unknown field"),
        ),
        ("limit of tokens", [{"choices": []}], CheckFailed("no choices")),
        ("JSON schema", [answer(COLOUR)], "enforced"),
        ("JSON schema", [answer("red")], Unsupported("taken, but not enforced: 'red'")),
        ("JSON schema", [answer('{"colour": "red"}')], Unsupported("not enforced")),
        ("JSON schema", [answer('{"colour": "red", "warmth": 4}')], Unsupported("not enforced")),
        ("JSON schema", [answer('{"colour": "pink", "warmth": 3}')], Unsupported("not enforced")),
        ("JSON schema", [answer("[]")], Unsupported("not enforced")),
        ("JSON schema", [REFUSED], Unsupported("HTTP 400: unknown field; the schema goes into the prompt")),
        ("JSON mode", [answer("{}")], "is JSON"),
        ("JSON mode", [answer("red")], Unsupported("not JSON: 'red'")),
        ("JSON mode", [REFUSED], Unsupported("HTTP 400")),
        ("structured answer as a workflow asks", [reply(COLOUR)], "by json_schema"),
        ("structured answer as a workflow asks", [reply(f"```json\n{COLOUR}\n```")], "by json_schema"),
        ("structured answer as a workflow asks", [reply("red")], Unsupported("does not fit: 'red'")),
        ("tools", [called()], r"it called get_weather\({'city': 'Paris'}\)"),
        ("tools", [answer()], Unsupported("taken, but none was called")),
        ("tools", [REFUSED], Unsupported("HTTP 400.*tools are put as a JSON schema")),
        ("tools", [called(arguments="Paris")], CheckFailed("the arguments are not JSON: 'Paris'")),
        ("tools", [called(arguments=None)], CheckFailed("the arguments are not JSON")),
        ("tools", [called(name="weather")], CheckFailed("it called .*'weather'")),
        ("tools", [called(arguments="[]")], CheckFailed("it called")),
        (
            "tools as a workflow asks",
            [reply("", tool_calls=(RUN,)), reply()],
            "^a call, its result, an answer$",
        ),
        ("tools as a workflow asks", [reply()], Unsupported("no call that can be run: 'Hello'")),
        (
            "tools as a workflow asks",
            [reply("", tool_calls=(ToolCall("get_weather", {}, problem="no JSON"),))],
            Unsupported("no call that can be run.*no JSON"),
        ),
        (
            "tools as a workflow asks",
            [reply("", tool_calls=(RUN,)), reply("")],
            CheckFailed("did not answer once it had the tool's result"),
        ),
        ("streaming", [chunk("a"), chunk("b"), END], "2 pieces, finish_reason stop, with usage"),
        ("streaming", [chunk("a"), END], Unsupported("in 1 piece")),
        ("streaming", [chunk("a"), chunk("b"), chunk(usage={"a": 1})], CheckFailed("never says why it ends")),
        ("streaming", [chunk("a"), chunk("b", "stop")], CheckFailed("ends without usage")),
        ("reasoning text", [reply(reasoning="Hm.")], "3 characters"),
        ("reasoning text", [reply()], Unsupported("none came")),
        ("cached tokens", [reply(), reply(usage=Usage(9, 1, 5))], "5 of 9 tokens"),
        (
            "cached tokens",
            [reply(usage=Usage(9, 1, 5)), reply(usage=Usage(9, 1, 0))],
            Unsupported("not reported"),
        ),
        ("own cost", [reply(cost_usd=0.0)], r"\$0.000000 for one call"),
        ("own cost", [reply()], Unsupported("it sends none")),
        ("log-probabilities", [answer(logprobs={"content": [{}]})], "one for each token"),
        ("log-probabilities", [answer(logprobs={"content": []})], Unsupported("none came")),
        ("log-probabilities", [answer(logprobs=None)], Unsupported("none came")),
        ("log-probabilities", [REFUSED], Unsupported("HTTP 400")),
        ("error: wrong key", [AuthenticationFailed("x", status=403)], "HTTP 403"),
        (
            "error: wrong key",
            [ModelRefused("x", status=400)],
            CheckFailed("does not say that the key is wrong"),
        ),
        ("error: wrong key", [reply()], Unsupported("any key will do")),
        ("error: unknown model", [ModelNotFound("x", status=404)], "HTTP 404"),
        ("error: unknown model", [ModelRefused("x", status=400)], "HTTP 400"),
        (
            "error: unknown model",
            [AuthenticationFailed("x", status=401)],
            Unsupported("key is wrong .HTTP 401"),
        ),
        ("error: unknown model", [ModelUnavailable("x")], CheckFailed("names no unknown model")),
        ("error: unknown model", [reply()], Unsupported("a typo goes unseen")),
        ("error: bad request", [REFUSED], "HTTP 400"),
        ("error: bad request", [HTTPStatusError(499, {}, {})], "HTTP 499"),
        (
            "error: bad request",
            [HTTPStatusError(429, "busy", {})],
            CheckFailed("passing fault: HTTP 429: busy"),
        ),
        ("error: bad request", [HTTPStatusError(500, {}, {})], CheckFailed("passing fault: HTTP 500")),
        ("error: bad request", [HTTPStatusError(399, {}, {})], CheckFailed("passing fault")),
        ("error: bad request", [MalformedBody("a page")], CheckFailed("the refusal cannot be read: a page")),
        ("error: bad request", [answer()], Unsupported("messages that are no list")),
        ("calls at once", [reply()] * 3, "3 answered in"),
        (
            "calls at once",
            [reply(), ModelUnavailable("busy"), ModelUnavailable("x")],
            CheckFailed("2 of 3 failed.*busy"),
        ),
        ("cancellation", [chunk("a"), reply()], "the next call was answered"),
    ],
)
async def test_what_a_check_says(name: str, answers: list[Any], told: Any) -> None:
    probe: Any = Told(*answers)
    if isinstance(told, str):
        assert re.search(told, await CHECKS[name](probe))
    else:
        with pytest.raises(type(told), match=str(told)):
            await CHECKS[name](probe)


@pytest.mark.parametrize(
    ("name", "probe", "suggested"),
    [
        ("limit of tokens", Told(REFUSED, answer(usage=USED)), {"max_tokens": "max_completion_tokens"}),
        (
            "limit of tokens",
            Told(answer(usage=USED), REFUSED, max_tokens="max_completion_tokens"),
            {"max_tokens": "max_tokens"},
        ),
        ("limit of tokens", Told(answer(usage=USED), REFUSED), {}),
        ("limit of tokens", Told(answer(usage=USED), answer(usage=USED), max_tokens="both"), {}),
        ("JSON schema", Told(REFUSED), {"structured": "json_object"}),
        ("JSON schema", Told(answer("red")), {"schema_in_prompt": True}),
        ("JSON schema", Told(answer(COLOUR)), {}),
        ("JSON mode", Told(REFUSED), {}),
        ("tools", Told(REFUSED), {"tools": "emulated"}),
        ("tools", Told(answer()), {"tools": "emulated"}),
        ("tools", Told(called()), {}),
    ],
)
async def test_which_settings_a_check_suggests(name: str, probe: Any, suggested: dict[str, Any]) -> None:
    with suppress(Unsupported):
        await CHECKS[name](probe)
    assert probe.suggested == suggested


async def test_without_a_schema_and_without_json_the_prompt_is_left() -> None:
    probe: Any = Told(REFUSED, REFUSED)
    for name in ("JSON schema", "JSON mode"):
        with pytest.raises(Unsupported):
            await CHECKS[name](probe)
    assert probe.suggested == {"structured": "prompt"}


async def test_a_stream_is_asked_for_usage_where_it_is_not_sent_anyway() -> None:
    for wanted in (True, False):
        probe: Any = Told(chunk("a"), chunk("b"), END)
        probe.endpoint.can.stream_usage = wanted
        await CHECKS["streaming"](probe)
        assert ("stream_options" in probe.asked[0]) is wanted

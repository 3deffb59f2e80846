"""Both clients, our own and LangChain's, at the same servers: equal replies, counts, costs, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field, replace
from typing import Any

import pytest
from pydantic import SecretStr

from stepgraph.providers.backends.ondevice import shipped_weights, start_server
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.settings import ModelSettings, parse_spec
from stepgraph.providers.stack.pricing import PricingLayer, tariff_for
from stepgraph.providers.stack.stack import member_of
from stepgraph.state.errors import ModelError

from ...imitator import KEY, MODEL, WINDOW, Imitator, error
from ...imitators import IMITATORS, OpenAI
from ...servers import CUT, EMPTY_CHOICES, ERROR_BODY, HALF_JSON, HTML, Answer, ChatServer, Fault

HELLO = ({"role": "user", "content": "Say hello."},)
LONG = ({"role": "user", "content": "The same words again. " * 100},)
COUNT = ({"role": "user", "content": "Count from 1 to 100."},)
TOOL = {
    "name": "get.weather",
    "description": "Return the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris"]}},
        "required": ["city"],
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "get.weather", "arguments": '{"city": "Paris"}'}}
AFTER = (
    {"role": "system", "content": "Be brief."},
    *HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "18 degrees"},
)
SCHEMA = {
    "title": "Colour",
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
    "additionalProperties": False,
}
REQUESTS = {
    "text": Request(HELLO),
    "schema": Request(HELLO, schema=SCHEMA),
    "tool": Request(HELLO, tools=(TOOL,)),
    "after a tool": Request(AFTER, tools=(TOOL,)),
    "tools, but none": Request(HELLO, tools=(TOOL,), tool_choice="none"),
    "limit": Request(COUNT, max_tokens=5),
    "dials": Request(HELLO, temperature=0.5, dials={"seed": 3, "top_p": 0.5, "stop": ["END"]}),
    "other dials": Request(HELLO, dials={"reasoning_effort": "low", "extra_body": {"x": 1}}),
    "long": Request(LONG),
    "too long": Request(({"role": "user", "content": "word " * (WINDOW + 9)},)),
}


@dataclass
class Ear:
    listened = True
    text: str = ""
    reasoning: str = ""
    pieces: int = 0

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        self.text += text
        self.reasoning += reasoning
        self.pieces += bool(text)


@dataclass
class Seen:
    """What a client made of one call."""

    reply: Reply | None = None
    problem: tuple[Any, ...] | None = None
    said: str = ""
    requests: int = 0
    body: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "DEEPSEEK", "TOGETHER", "OPENROUTER"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)


async def seen_by(
    client: str, server: ChatServer, request: Request, *, streamed: bool, **settings: Any
) -> Seen:
    member = member_of(parse_spec({**server.spec(timeout_s=60), "client": client, **settings}, "here"))
    model = PricingLayer(member.backend, tariff_for(member.settings, "gpt-4o-mini", member.backend.address))
    ear = Ear() if streamed else None
    seen, before = Seen(), server.calls
    try:
        reply = await model.complete(request, CallContext("here", sink=ear))
        seen.reply = replace(reply, latency_s=0.0)
    except ModelError as caught:
        seen.problem = (
            type(caught),
            caught.status,
            caught.lasting,
            getattr(caught, "retry_after", None),
            KEY in str(caught),
        )
    seen.said = ear.text if ear is not None and seen.reply is not None else ""
    seen.requests = server.calls - before
    seen.body = {name: value for name, value in server.bodies[-1].items() if name != "messages"}
    return seen


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body without what means the same either way."""
    return {name: value for name, value in body.items() if value not in (False, None)}


@pytest.fixture(scope="module")
def openai() -> Iterator[Imitator]:
    with OpenAI() as server:
        yield server


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_openai_gets_the_same_and_gives_the_same(openai: Imitator, name: str, streamed: bool) -> None:
    openai._seen.clear()
    ours = await seen_by("http", openai, REQUESTS[name], streamed=streamed)
    openai._seen.clear()
    theirs = await seen_by("langchain", openai, REQUESTS[name], streamed=streamed)
    assert theirs.reply == ours.reply
    assert (theirs.problem, theirs.said, theirs.requests) == (ours.problem, ours.said, 1)
    assert normal(theirs.body) == normal(ours.body)
    assert ours.reply is None or ours.reply.cost_usd


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", ["denied", "missing", "busy", "broke"])
async def test_openais_errors_are_the_same(openai: Imitator, fault: str, streamed: bool) -> None:
    told = {"denied": openai.denied("wrong"), "missing": openai.missing(MODEL), "busy": openai.busy()}
    answer = told.get(fault) or openai.broke()
    assert answer is not None
    openai.will(answer, answer)
    ours = await seen_by("http", openai, REQUESTS["text"], streamed=streamed)
    theirs = await seen_by("langchain", openai, REQUESTS["text"], streamed=streamed)
    assert theirs.problem == ours.problem is not None
    assert theirs.requests == 1


def chunks(*parts: dict[str, Any], done: bool = True) -> Fault:
    start = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [f"data: {json.dumps({**start, **part})}\n\n" for part in parts]
    return Fault(body="".join(lines) + "data: [DONE]\n\n" * done, content_type="text/event-stream")


def delta(finish: str | None = None, **content: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}]}


def completion(finish: str | None = "stop", **message: Any) -> Fault:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Fault(body=json.dumps(body))


def call(arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


FAULTS = {
    "500": Fault(500),
    "529 with a date": error(529, {"error": {"message": "busy"}}, **{"retry-after": "7"}),
    "429 in ms": error(429, {"error": {"message": "busy"}}, **{"retry-after-ms": "70"}),
    "429 without json": Fault(429, "slow down", content_type="text/plain"),
    "422": error(422, {"error": {"message": "no"}}),
    "filtered": error(400, {"error": {"message": "m", "code": "content_filter"}}),
    "moved": Fault(301, "", headers={"Location": "https://elsewhere.example/v1"}),
    "reset": Fault(reset=True),
    "cut": CUT,
    "half json": HALF_JSON,
    "html": HTML,
    "no choices": EMPTY_CHOICES,
    "error in a 200": ERROR_BODY,
    "no finish": completion(None, content="half"),
    "unknown finish": completion("banana", content="half"),
    "given up": completion("error", content="half"),
    "filtered answer": completion("content_filter", content=""),
    "refusal": completion(content=None, refusal="I will not."),
    "null arguments": completion("tool_calls", content=None, tool_calls=[call("null")]),
    "fenced arguments": completion("tool_calls", content=None, tool_calls=[call('```json\n{"a": 1}\n```')]),
    "no arguments": completion("tool_calls", content=None, tool_calls=[call("")]),
    "broken arguments": completion("tool_calls", content=None, tool_calls=[call('{"a": ')]),
    "a thought before": completion(content="<think>Hm.</think>Yes."),
}
STREAMS = {
    "error in a chunk": chunks(delta(content="ha"), {"error": {"message": "gone", "code": 502}}),
    "overloaded in a chunk": chunks(delta(content="ha"), {"error": {"message": "busy", "code": 429}}),
    "no finish": chunks(delta(content="half")),
    "cut": chunks(delta(content="half"), done=False),
    "unknown finish": chunks(delta(content="half"), delta("banana")),
    "nothing": chunks(),
    "refusal": chunks(delta(refusal="I will "), delta(refusal="not."), delta("stop")),
    "a thought before": chunks(
        delta(content="<thi"), delta(content="nk>Hm.</think>Ye"), delta("stop", content="s.")
    ),
    "two calls in one number": chunks(
        delta(tool_calls=[call('{"a": 1}', index=0)]),
        delta("tool_calls", tool_calls=[call('{"a": 2}', index=0, id="c2")]),
    ),
    "calls without numbers": chunks(
        delta(tool_calls=[call('{"a"')]),
        delta("tool_calls", tool_calls=[{"function": {"arguments": ": 1}"}}]),
    ),
    "arguments in pieces": chunks(
        delta(tool_calls=[call("", index=0)]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": '{"a": '}}]),
        delta("tool_calls", tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
    ),
    "a sound in pieces": chunks(
        delta(audio={"id": "a1", "transcript": "Hel"}),
        delta(audio={"id": "a1", "data": base64.b64encode(b"ID3" + bytes(range(90))).decode()}),
        delta(audio={"transcript": "lo.", "data": base64.b64encode(bytes(range(60))).decode()}),
        delta(audio={"expires_at": 1_800_000_000}),
        delta("stop"),
    ),
    "a sound without its words": chunks(
        delta(audio={"id": "a1", "data": base64.b64encode(b"ID3" + bytes(range(90))).decode()}),
        delta("stop", content="Here it is."),
    ),
    "text after the stop": chunks(delta("stop", content="Yes"), delta(content=", I do.")),
}


USAGES: dict[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6},
    "one negative": {"prompt_tokens": 5, "completion_tokens": -1, "total_tokens": 4},
    "text": {"prompt_tokens": "12", "completion_tokens": "3", "total_tokens": "15"},
    "words": {"prompt_tokens": "many", "completion_tokens": 3, "total_tokens": 3},
    "fractions": {"prompt_tokens": 5.5, "completion_tokens": 3.0, "total_tokens": 8.5},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 3, "total_tokens": 10**30},
    "past what a record holds": {"prompt_tokens": 2**63, "completion_tokens": 2**53 + 1, "total_tokens": 1},
    "missing answer": {"prompt_tokens": 12},
    "missing prompt": {"completion_tokens": 3, "total_tokens": 15},
    "only a total": {"total_tokens": 15},
    "null": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
    "truth": {"prompt_tokens": True, "completion_tokens": False, "total_tokens": 1},
    "list": [1, 2, 3],
    "word": "unknown",
    "number": 7,
    "nothing": None,
    "empty": {},
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "details of another form": {
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": [1],
        "completion_tokens_details": "none",
    },
    "details that cannot be": {
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": -4},
        "completion_tokens_details": {"reasoning_tokens": "2"},
    },
    "details past the whole": {
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 90}, "completion_tokens_details": {"reasoning_tokens": 40},
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of OpenAI's package
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", USAGES)
async def test_a_malformed_usage_is_counted_the_same(name: str, server: ChatServer, streamed: bool) -> None:
    """What is no count is unknown; the answer stands."""
    usage = USAGES[name]
    if streamed:
        server.always = chunks(delta(content="Yes."), delta("stop"), {"choices": [], "usage": usage})
    else:
        whole = completion(content="Yes.")
        server.always = Fault(body=json.dumps({**json.loads(whole.body), "usage": usage}))
    settings = {"provider": "openai"}
    ours = await seen_by("http", server, REQUESTS["text"], streamed=streamed, **settings)
    theirs = await seen_by("langchain", server, REQUESTS["text"], streamed=streamed, **settings)
    assert (theirs.problem, theirs.reply, theirs.said) == (ours.problem, ours.reply, ours.said)
    assert ours.reply is not None
    assert ours.reply.text == "Yes."
    counts = [n for n in astuple(ours.reply.usage) if n is not None]
    assert all(type(n) is int and 0 <= n <= 2**53 for n in counts)


@pytest.mark.parametrize("name", FAULTS)
async def test_what_goes_wrong_is_the_same(name: str, server: ChatServer) -> None:
    server.always = FAULTS[name]
    settings = {"provider": "openai"}
    ours = await seen_by("http", server, REQUESTS["text"], streamed=False, **settings)
    theirs = await seen_by("langchain", server, REQUESTS["text"], streamed=False, **settings)
    assert (theirs.problem, theirs.reply) == (ours.problem, ours.reply)
    assert theirs.requests == 1


@pytest.mark.parametrize("name", STREAMS)
async def test_what_goes_wrong_in_a_stream_is_the_same(name: str, server: ChatServer) -> None:
    server.always = STREAMS[name]
    settings = {"provider": "openai"}
    ours = await seen_by("http", server, REQUESTS["text"], streamed=True, **settings)
    theirs = await seen_by("langchain", server, REQUESTS["text"], streamed=True, **settings)
    assert (theirs.problem, theirs.reply, theirs.said) == (ours.problem, ours.reply, ours.said)
    assert theirs.requests == 1


@pytest.mark.parametrize(
    "kind", [kind for kind in IMITATORS if kind is not OpenAI], ids=lambda kind: kind.provider
)
async def test_a_compatible_endpoint_is_read_the_same(kind: type[Imitator]) -> None:
    """Reasoning and cost too, which ChatOpenAI itself drops; it is the reader of our own client."""
    settings = {"provider": None, "api_key_env": "OPENAI_API_KEY", "structured": "json_object"}
    for request in (REQUESTS["text"], REQUESTS["tool"], REQUESTS["limit"]):
        for streamed in (False, True):
            with kind() as server:
                ours = await seen_by("http", server, request, streamed=streamed, **settings)
            with kind() as server:
                theirs = await seen_by("langchain", server, request, streamed=streamed, **settings)
            assert ours.reply is not None
            assert theirs.reply is not None
            assert theirs.reply == ours.reply
            assert theirs.said == ours.said


@pytest.mark.parametrize("echo", [(), ("reasoning_content",), ("reasoning_details", "extra_content")])
async def test_what_an_endpoint_wants_back_is_sent_by_both(server: ChatServer, echo: tuple[str, ...]) -> None:
    call = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    said = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm.",
            "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "index": 0}]}  # fmt: skip
    request = Request((*HELLO, said, AFTER[-1]), tools=(TOOL,))
    sent = []
    for client in ("http", "langchain"):
        settings = {"api_key_env": "OPENAI_API_KEY", "capabilities": {"echo": echo}}
        await seen_by(client, server, request, streamed=False, **settings)
        sent.append([normal(message) for message in server.bodies[-1]["messages"]])
    assert sent[0] == sent[1]
    assert {"reasoning_content", "reasoning_details"} & sent[0][1].keys() == set(echo) - {"extra_content"}
    assert ("extra_content" in sent[0][1]["tool_calls"][0]) is ("extra_content" in echo)


async def test_a_dial_that_the_model_refuses_is_left_out_by_both(server: ChatServer) -> None:
    refusal = error(400, {"error": {"message": "Unsupported parameter: temperature", "param": "temperature"}})
    bodies = []
    for client in ("http", "langchain"):
        server.will(refusal, Answer("yes"))
        settings = {"provider": "openai", "model": f"picky-{client}"}
        with pytest.warns(UserWarning, match="does not take temperature"):
            seen = await seen_by(client, server, Request(HELLO, temperature=0.5), streamed=False, **settings)
        assert seen.requests == 2
        bodies.append(normal({**seen.body, "model": ""}))
    assert bodies[0] == bodies[1]


@pytest.mark.local
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_both_get_the_same_of_a_real_server(streamed: bool) -> None:
    """llama.cpp's, with the model on this machine, which answers alike at temperature 0."""
    running = start_server(shipped_weights())
    seen = []
    for client in ("http", "langchain"):
        settings = ModelSettings(
            model="m", base_url=f"{running.address}/v1", api_key=SecretStr(running.key), client=client
        )
        ear = Ear() if streamed else None
        request = Request(HELLO, schema=SCHEMA, temperature=0, max_tokens=40)
        reply = await member_of(settings).backend.complete(request, CallContext("here", sink=ear))
        usage = (reply.usage.input, reply.usage.output)
        seen.append((reply.text, usage, reply.finish_reason, ear.text if ear else ""))
    assert seen[0] == seen[1]

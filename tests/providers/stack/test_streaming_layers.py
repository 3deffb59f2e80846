"""The streaming layers alone: who is told what of a call, and how it is marked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from stepgraph import Session
from stepgraph.providers.model import CallContext, Reply, Request, TokenSink, ToolCall, Usage
from stepgraph.providers.stack.streaming import (
    ReplayStreamingLayer,
    StreamingLayer,
    is_listened,
    named,
    usage_metadata,
)
from stepgraph.state.errors import ModelRefused
from stepgraph.state.journal.records import CallKey
from stepgraph.state.session.foreign_calls import CallObserver

HELLO = Request(({"role": "user", "content": "Hello"},), max_tokens=7)
KEY = CallKey("t", "node:1", "0123456789abcdefghij", 3)
REPLY = Reply(
    "Boil it.",
    "answering",
    tool_calls=(ToolCall("look", {"where": "here"}, "1"),),
    usage=Usage(10, 20),
    reasoning="Hm.",
    finish_reason="stop",
    call_id="row",
)


class Notes(BaseCallbackHandler):
    """Notes what it is told."""

    run_inline = True

    def __init__(self) -> None:
        self.started: list[dict[str, Any]] = []
        self.chunks: list[Any] = []
        self.ended: list[Any] = []
        self.failed: list[BaseException] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        self.started.append({"serialized": serialized, "messages": messages, **more})

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        assert chunk.message.content == token
        self.chunks.append(chunk.message)

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.ended.append(response)

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.failed.append(error)

    @property
    def told(self) -> list[tuple[Any, ...]]:
        """The chunks: text, thought and marks of each."""
        return [
            (
                one.content,
                one.additional_kwargs.get("reasoning_content"),
                one.response_metadata.get("stepgraph", {}),
            )
            for one in self.chunks
        ]


class Listens(Notes, _StreamingCallbackHandler[Any]):
    """Wants an answer's words as they come, as LangGraph's streams do."""

    def tap_output_aiter(self, run_id: Any, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return output

    def tap_output_iter(self, run_id: Any, output: Iterator[Any]) -> Iterator[Any]:
        return output


class Says:
    """Emits pieces into the sink, then answers or fails."""

    name = "says"

    def __init__(self, outcome: Reply | Exception = REPLY, *pieces: tuple[str, str]) -> None:
        self.outcome = outcome
        self.pieces = pieces
        self.sink: TokenSink | None = None

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        self.sink = context.sink
        for text, reasoning in self.pieces:
            assert context.sink is not None
            await context.sink.emit(text, reasoning=reasoning)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def among(*handlers: BaseCallbackHandler, **more: Any) -> CallContext:
    return CallContext("step", config={"callbacks": list(handlers), "tags": ["tag"]}, **more)


async def test_a_call_that_nobody_wants_to_know_of_is_made_as_it_is() -> None:
    model = Says()
    layer = StreamingLayer(model)
    assert layer.name == "says"
    for context in (CallContext("step"), among()):
        assert await layer.complete(HELLO, context) is REPLY
        assert model.sink is None


@pytest.mark.parametrize(
    ("attempt", "marks"), [(1, {}), (2, {"attempt": 2})], ids=["the first", "the second"]
)
async def test_the_words_come_as_they_are_emitted_and_the_usage_at_the_end(
    attempt: int, marks: dict[str, Any]
) -> None:
    listens = Listens()
    model = Says(REPLY, ("", "Hm."), ("", ""), ("Boil ", ""), ("it.", ""))
    await StreamingLayer(model).complete(HELLO, among(listens, attempt=attempt))
    assert listens.told == [
        ("", "Hm.", marks),  # the first says which attempt it is
        ("Boil ", None, {}),
        ("it.", None, {}),
        ("", None, marks),
    ]
    last = listens.chunks[-1]
    assert last.chunk_position == "last"
    assert last.usage_metadata == {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert last.response_metadata["model_name"] == "answering"
    assert last.response_metadata["finish_reason"] == "stop"
    assert len({chunk.id for chunk in listens.chunks}) == 1


@pytest.mark.parametrize(
    ("text", "reasoning", "told"),
    [
        ("Boil.", None, [("Boil.", None, {}), ("", None, {})]),
        ("", "Hm.", [("", "Hm.", {}), ("", None, {})]),
        ("", None, [("", None, {})]),
    ],
    ids=["an answer", "a thought", "neither"],
)
async def test_what_was_not_emitted_is_told_as_a_whole(
    text: str, reasoning: str | None, told: list[tuple[Any, ...]]
) -> None:
    listens = Listens()
    await StreamingLayer(Says(Reply(text, "m", reasoning=reasoning))).complete(HELLO, among(listens))
    assert listens.told == told
    assert listens.chunks[-1].usage_metadata is None


async def test_every_handler_is_told_of_the_call_and_its_answer() -> None:
    notes = Notes()
    model = Says(REPLY, ("Boil it.", ""))
    await StreamingLayer(model).complete(HELLO, among(notes, key=KEY))
    assert model.sink is not None
    assert not model.sink.listened
    assert notes.chunks == []  # nobody wants the words as they come
    (start,) = notes.started
    assert start["serialized"] == {"name": "says"}
    assert [[message.content for message in row] for row in start["messages"]] == [["Hello"]]
    assert (start["name"], start["tags"]) == ("says", ["tag"])
    assert start["invocation_params"] == {"model": "says", "_type": "stepgraph", "max_tokens": 7}
    assert start["metadata"] == {
        "ls_model_name": "says",
        "ls_model_type": "chat",
        "stepgraph_step": "step",
        "stepgraph_call": "node:1 0123456789abcdef 3",
    }
    (end,) = notes.ended
    message = end.generations[0][0].message
    assert (message.content, message.additional_kwargs) == ("Boil it.", {"reasoning_content": "Hm."})
    assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
        ("look", {"where": "here"}, "1")
    ]
    assert message.usage_metadata["total_tokens"] == 30
    assert end.llm_output == {
        "model_name": "answering",
        "token_usage": {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30},
    }


async def test_a_bare_answer_of_a_call_without_a_key_has_no_more_than_it_says() -> None:
    notes = Notes()
    await StreamingLayer(Says(Reply("ok", "m"))).complete(HELLO, among(notes))
    assert "stepgraph_call" not in notes.started[0]["metadata"]
    assert notes.ended[0].generations[0][0].message.additional_kwargs == {}
    assert notes.ended[0].llm_output == {"model_name": "m", "token_usage": {}}


@pytest.mark.parametrize(
    ("error", "message"),
    [(ModelRefused("no"), "no"), (ValueError(), "ValueError")],
    ids=["says why", "silent"],
)
async def test_what_was_said_before_a_failure_is_marked_as_broken(error: Exception, message: str) -> None:
    listens, early = Listens(), Listens()
    with pytest.raises(type(error)):
        await StreamingLayer(Says(error, ("Boil", ""))).complete(HELLO, among(listens, attempt=2))
    assert listens.told == [("Boil", None, {"attempt": 2}), ("", None, {"attempt": 2, "broken": message})]
    assert listens.failed == [error]
    with pytest.raises(type(error)):
        await StreamingLayer(Says(error)).complete(HELLO, among(early))
    assert (early.told, early.failed) == ([], [error])


class Sink:
    def __init__(self, *, listened: bool) -> None:
        self.listened = listened
        self.heard: list[tuple[str, str]] = []

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        self.heard.append((text, reasoning))


@pytest.mark.parametrize("listened", [True, False], ids=["wants tokens", "wants none"])
async def test_who_stands_outside_hears_the_words_too(listened: bool) -> None:
    notes, sink = Notes(), Sink(listened=listened)
    model = Says(REPLY, ("Boil it.", "Hm."))
    await StreamingLayer(model).complete(HELLO, among(notes, sink=sink))
    assert model.sink is not None
    assert model.sink.listened is listened
    assert sink.heard == [("Boil it.", "Hm.")]


@pytest.mark.parametrize(
    ("changes", "marks"),
    [
        ({"replayed": True}, {"replayed": True}),
        ({"source": "cache"}, {"source": "cache"}),
        ({"source": "cache", "replayed": True}, {"replayed": True}),
        ({}, None),
    ],
    ids=["replayed", "cached", "a cached one replayed", "of the model"],
)
async def test_an_answer_that_is_there_already_is_told_to_those_who_listen(
    changes: dict[str, Any], marks: dict[str, Any] | None
) -> None:
    listens, notes = Listens(), Notes()
    reply = replace(REPLY, **changes)
    layer = ReplayStreamingLayer(Says(reply))
    assert await layer.complete(HELLO, among(listens, notes, key=KEY)) is reply
    assert await layer.complete(HELLO, among(notes)) is reply
    assert notes.started == []  # no model is asked, so no tracer is told of it
    if marks is None:
        assert listens.started == []
        return
    assert listens.told == [("Boil it.", "Hm.", marks), ("", None, marks)]
    assert listens.chunks[-1].usage_metadata is None  # it was paid for before
    assert listens.started[0]["metadata"]["stepgraph_call"] == "row"


class Ignores(Listens):
    ignore_llm = True


class IgnoresChat(Listens):
    ignore_chat_model = True


class IgnoresBoth(Ignores):
    ignore_chat_model = True


class Langfuses(Listens):
    __module__ = "langfuse.langchain"


@pytest.mark.parametrize(
    ("kind", "is_told"),
    [(Listens, True), (IgnoresChat, True), (Ignores, True), (IgnoresBoth, False), (Notes, False)],
    ids=["listens", "no chats", "no models", "neither", "wants no tokens"],
)
def test_somebody_listens_who_wants_the_tokens_of_a_call(kind: type[Notes], is_told: bool) -> None:
    assert is_listened(among(kind())) is is_told


async def test_who_ignores_models_gets_no_tokens() -> None:
    listens, ignores = Listens(), Ignores()
    await StreamingLayer(Says()).complete(HELLO, among(listens, ignores))
    assert (len(listens.chunks), ignores.chunks) == (2, [])


async def test_the_recorder_of_plain_chat_models_is_not_told_of_our_own_calls(session: Session) -> None:
    observer = CallObserver(session.journal, "t")
    model = Says()
    await StreamingLayer(model).complete(HELLO, among(observer))
    assert model.sink is None
    session.journal.flush()
    assert session.journal.query("SELECT id FROM calls") == []


@pytest.mark.parametrize("is_sent", [False, True], ids=["by its handler", "by the session"])
async def test_langfuse_is_told_once(session: Session, is_sent: bool) -> None:
    session.sends_to_langfuse = is_sent
    langfuses, notes = Langfuses(), Notes()
    config = {**session.config("t"), "callbacks": [langfuses, notes]}
    await StreamingLayer(Says()).complete(HELLO, CallContext("step", config=config))
    assert (len(langfuses.started), len(notes.started)) == (int(not is_sent), 1)
    assert is_listened(CallContext("step", config=config)) is not is_sent
    assert is_listened(among(Langfuses()))


class Fails(Listens):
    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **_: Any) -> None:
        raise LookupError("no")


class FailsAloud(Fails):
    raise_error = True


@pytest.mark.parametrize("kind", [Fails, FailsAloud], ids=["quietly", "aloud"])
async def test_a_handler_that_fails_ends_the_call_only_if_it_wants_to(
    kind: type[Listens], caplog: pytest.LogCaptureFixture
) -> None:
    call = StreamingLayer(Says()).complete(HELLO, among(kind()))
    if kind is FailsAloud:
        with pytest.raises(LookupError):
            await call
    else:
        assert await call is REPLY
    assert f"{kind.__name__} did not take a token: LookupError('no')" in caplog.text


class Later(Notes):
    """Is no inline handler: LangChain runs it in a task."""

    run_inline = False


class LaterToo(AsyncCallbackHandler):
    run_inline = True

    def __init__(self) -> None:
        self.chunks: list[str] = []

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.chunks.append(token)


async def test_every_kind_of_handler_gets_each_token_once() -> None:
    handlers = [Listens(), Notes(), Later(), LaterToo()]
    await StreamingLayer(Says(Reply("ok", "m"))).complete(HELLO, among(*handlers))
    assert [len(handler.chunks) for handler in handlers] == [2, 2, 2, 2]


def test_a_call_is_named_by_what_it_asks_and_where() -> None:
    assert named(KEY) == "node:1 0123456789abcdef 3"


@pytest.mark.parametrize(
    ("usage", "details"),
    [
        (Usage(10, 20), {}),
        (Usage(10, 20, cached=0), {"input_token_details": {"cache_read": 0}}),
        (Usage(10, 20, reasoning=4), {"output_token_details": {"reasoning": 4}}),
        (Usage(None, 20), None),
        (Usage(10, None), None),
    ],
    ids=["plain", "cached", "reasoning", "no input", "no output"],
)
def test_the_usage_has_langchains_form(usage: Usage, details: dict[str, Any] | None) -> None:
    counts = {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30}
    assert usage_metadata(usage) == (None if details is None else counts | details)

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager, BaseCallbackHandler
from langgraph.graph import START, StateGraph

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, step, using
from stepgraph.providers.stack.streaming import TokenEmitter
from stepgraph.state.errors import ModelUnreachable
from stepgraph.state.session.internals import chunk_handler

from ...servers import Answer, ChatServer, Fault


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    again: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


@step("again")
def repeat(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


async def told(graph: Any, config: Any = None, **options: Any) -> list[Any]:
    stream = graph.astream(Post(), config, stream_mode="messages", **options)
    return [message async for message, _ in stream]


def marks(chunk: Any) -> dict[str, Any]:
    return dict(chunk.response_metadata.get("stepgraph", {}))


async def test_tokens_come_from_any_depth_with_the_usage_at_the_end(
    server: ChatServer, session: Session
) -> None:
    server.always = Answer("Boil the water.", reasoning="Hm.", cached=40)
    inner = chain(chain(write, name="innermost"), name="inner")
    graph = chain(inner, repeat).compile()
    with using(server.spec()):
        stream = graph.astream(Post(), session.config(), stream_mode="messages", subgraphs=True)
        seen = [(place, message, meta) async for place, (message, meta) in stream]
    assert {len(place) for place, _, _ in seen} == {0, 2}
    assert {meta["langgraph_node"] for _, _, meta in seen} == {"write", "repeat"}
    deep = [message for place, message, _ in seen if place]
    assert "".join(chunk.text for chunk in deep).split() == ["Boil", "the", "water."]
    assert [chunk.usage_metadata for chunk in deep if chunk.usage_metadata] == [
        {
            "input_tokens": 100,
            "output_tokens": 20,
            "total_tokens": 120,
            "input_token_details": {"cache_read": 40},
        }
    ]
    assert deep[-1].usage_metadata
    assert deep[0].additional_kwargs["reasoning_content"] == "Hm."


async def test_only_a_call_that_is_listened_to_is_streamed(server: ChatServer, session: Session) -> None:
    with using(server.spec()):
        await chain(write).compile().ainvoke(Post(), session.config())
        async for _ in chain(write).compile().astream(Post(), session.config(), stream_mode="updates"):
            pass
        await told(chain(write).compile(), session.config())
    assert [bool(body.get("stream")) for body in server.bodies] == [False, False, True]
    assert server.bodies[2]["stream_options"] == {"include_usage": True}


async def test_a_server_that_sends_no_usage_while_streaming_is_not_asked_for_it(server: ChatServer) -> None:
    with using(server.spec(capabilities={"stream_usage": False})):
        await told(chain(write).compile())
    assert "stream_options" not in server.bodies[0]


async def test_a_replayed_call_is_told_at_once_and_marked(server: ChatServer, session: Session) -> None:
    server.always = Answer("Boil the water.")
    fails = [True]

    def stop(post: Post) -> dict[str, Any]:
        if fails.pop():
            raise RuntimeError("stop")
        return {}

    async def both(post: Post) -> dict[str, Any]:
        return await write.ainvoke(post) | stop(post)

    state = StateGraph(Post)
    state.add_node("both", both)
    state.add_edge(START, "both")
    graph = state.compile(checkpointer=session.checkpointer)
    config = session.config("t")
    with using(server.spec()):
        with pytest.raises(RuntimeError):
            await told(graph, config)
        fails.append(False)
        stream = graph.astream(None, config, stream_mode="messages")
        chunks = [message async for message, _ in stream]
    assert server.calls == 1
    assert [chunk.text for chunk in chunks if chunk.text] == ["Boil the water. "]
    assert all(marks(chunk) == {"replayed": True} for chunk in chunks)
    assert not any(chunk.usage_metadata for chunk in chunks)


async def test_a_server_that_does_not_stream_is_told_as_a_whole(server: ChatServer) -> None:
    server.always = Fault(body='{"choices": [{"message": {"content": "Boil."}, "finish_reason": "stop"}]}')
    with using(server.spec()):
        assert [chunk.text for chunk in await told(chain(write).compile())] == ["Boil.", ""]


async def test_a_second_attempt_is_a_message_of_its_own(session: Session) -> None:
    script = ScriptedModel([ModelUnreachable("gone"), "Boil."])
    with using([script]):
        chunks = await told(chain(write).compile(), session.config())
    assert [(chunk.text, marks(chunk)) for chunk in chunks] == [
        ("Boil.", {"attempt": 2}),
        ("", {"attempt": 2}),
    ]


async def test_a_model_that_cannot_stream_is_told_as_a_whole() -> None:
    with using(ScriptedModel(["Boil."], reasoning="Hm.")):
        chunks = await told(chain(write).compile())
    assert [chunk.text for chunk in chunks] == ["Boil.", ""]
    assert chunks[0].additional_kwargs["reasoning_content"] == "Hm."
    assert chunks[1].usage_metadata["output_tokens"] == 1


async def test_an_answer_from_the_cache_says_so(session: Session) -> None:
    with using(ScriptedModel(["Boil."])):
        await chain(write).compile().ainvoke(Post(), session.config(cache_s=60))
        chunks = await told(chain(write).compile(), session.config(cache_s=60))
    assert [chunk.text for chunk in chunks] == ["Boil.", ""]
    assert marks(chunks[0]) == {"source": "cache"}


async def test_a_stream_stays_within_its_budget(server: ChatServer, session: Session) -> None:
    server.always = Answer("Boil the water.")
    with using(server.spec()):
        chunks = await told(chain(write, repeat).compile(), session.config(budget=Budget(calls=1)))
    assert server.calls == 1
    assert "".join(chunk.text for chunk in chunks).split() == ["Boil", "the", "water."]


async def test_thoughts_in_tags_are_told_as_thoughts(server: ChatServer, session: Session) -> None:
    server.always = Answer("<think> Is it green? </think> Boil the water.")
    with using(server.spec()):
        chunks = await told(chain(write).compile(), session.config())
    thoughts = "".join(chunk.additional_kwargs.get("reasoning_content", "") for chunk in chunks)
    assert thoughts.split() == ["Is", "it", "green?"]
    assert "".join(chunk.text for chunk in chunks).split() == ["Boil", "the", "water."]
    (call,) = session.journal.query("SELECT answer, reasoning FROM calls")
    assert (call["answer"].strip(), call["reasoning"]) == ("Boil the water.", "Is it green?")


class _Inline(BaseCallbackHandler):
    """Takes tokens in place; `fails` raises at each."""

    run_inline = True

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        self.tokens.append(token)
        if self.fails:
            raise ValueError("no")


class _Async(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: Any, **_: Any) -> None:
        await asyncio.sleep(0)
        self.tokens.append(token)


async def test_each_kind_of_handler_gets_every_token_also_beside_one_that_fails(
    server: ChatServer, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = Answer("Boil the water.")
    handlers = [_Inline(fails=True), _Inline(), _Async()]
    with using(server.spec()):
        chunks = await told(chain(write).compile(), {**session.config(), "callbacks": handlers})
    words = [chunk.text for chunk in chunks]
    assert [handler.tokens for handler in handlers] == [words] * 3
    assert "_Inline did not take a token: ValueError('no')" in caplog.text


async def test_a_token_is_there_as_soon_as_it_was_emitted() -> None:
    taker = _Inline()
    manager = AsyncCallbackManager.configure([taker, chunk_handler(_nothing, streams=True)])
    (run,) = await manager.on_chat_model_start({"name": "m"}, [[]])
    emitter = TokenEmitter(run, {}, listened=True)
    emitted = emitter.emit("now")
    with suppress(StopIteration):
        emitted.send(None)  # no other task has a turn
    assert taker.tokens == ["now"]
    emitted.close()


async def _nothing(_: object) -> None:
    pass

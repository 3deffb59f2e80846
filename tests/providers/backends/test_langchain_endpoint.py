"""The real classes for OpenAI, Azure, Anthropic and Google, at servers with their wires."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models.fake_chat_models import FakeChatModel, GenericFakeChatModel
from pydantic import BaseModel

from stepgraph import Ask, Budget, Session, agent, chain, run, step, using
from stepgraph.providers.backends.langchain import ChatModel
from stepgraph.providers.backends.langchain_classes import ChatMaker, close, in_this_loop
from stepgraph.providers.backends.langchain_endpoint import LangChainEndpoint, _streams
from stepgraph.providers.chat_classes import CHAT_CLASSES
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.settings import parse_spec
from stepgraph.state.errors import ModelError, ModelFiltered, ModelUnavailable

from ...gemini_imitator import Gemini
from ...imitator import KEY, THOUGHT, Imitator
from ...imitators import OpenAI
from ...imitators_of_classes import CLASS_IMITATORS, THINKING, Anthropic, Azure, Responses
from ...servers import CUT, HTML, Fault
from .test_clients_agree import COUNT, HELLO, REQUESTS, SCHEMA, TOOL, Ear

HERE = CallContext("here")
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class Aiohttp:DeprecationWarning")  # google-genai
each = pytest.mark.parametrize("kind", CLASS_IMITATORS, ids=lambda kind: kind.__name__)
streams = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "AZURE_OPENAI", "ANTHROPIC", "GOOGLE"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)


@pytest.fixture
def server(kind: type[Imitator]) -> Iterator[Imitator]:
    with kind() as server:
        yield server


def spec_of(server: Imitator, **settings: Any) -> dict[str, Any]:
    return server.spec(timeout_s=60, **THINKING.get(server.provider, {}), **settings)


async def ask(server: Imitator, request: Request, ear: Ear | None = None, **settings: Any) -> Reply:
    backend = LangChainEndpoint(parse_spec(spec_of(server, **settings), "here"))
    return await backend.complete(request, replace(HERE, sink=ear))


@each
@streams
async def test_an_answer_has_its_text_thought_and_counts(server: Imitator, streamed: bool) -> None:
    ear = Ear() if streamed else None
    reply = await ask(server, REQUESTS["text"], ear)
    assert (reply.text, reply.finish_reason) == ("ok", "stop")
    assert reply.usage.input
    assert reply.usage.output
    if not isinstance(server, Azure):
        assert (reply.reasoning or "").strip() == THOUGHT
    if ear is not None:
        assert (ear.text, ear.reasoning) == (reply.text, reply.reasoning or "")
    await ask(server, REQUESTS["long"])
    assert (await ask(server, REQUESTS["long"], ear)).usage.cached


@each
@streams
async def test_a_schema_is_asked_for_natively(server: Imitator, streamed: bool) -> None:
    reply = await ask(server, REQUESTS["schema"], Ear() if streamed else None)
    assert json.loads(reply.text) == {"colour": "text"}
    assert "JSON schema" not in json.dumps(server.bodies[-1]["messages"])


@each
@streams
async def test_a_call_goes_back_with_what_the_provider_wants_to_see_again(
    server: Imitator, streamed: bool
) -> None:
    """The servers refuse a tool's result without the thought's signature, or the encrypted reasoning."""
    reply = await ask(server, REQUESTS["tool"], Ear() if streamed else None)
    (call,) = reply.tool_calls
    assert (call.name, dict(call.arguments), call.problem) == ("get.weather", {"city": "Paris"}, None)
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    said = {"role": "assistant", "content": reply.text or None, **json.loads(json.dumps(reply.state))}
    said["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
    after = (*HELLO, said, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"})
    assert (await ask(server, Request(after, tools=(TOOL,)))).text == "ok"
    answer = Request(after, tools=(TOOL,), schema=SCHEMA, tool_choice="none")
    assert json.loads((await ask(server, answer)).text) == {"colour": "text"}
    if isinstance(server, (Anthropic, Gemini, Responses)):
        stripped = {name: value for name, value in said.items() if name in ("role", "content", "tool_calls")}
        bare = (after[0], stripped, after[2])
        with pytest.raises(Exception, match=r"HTTP 400|thought_signature"):
            await ask(server, Request(bare, tools=(TOOL,)))


@each
async def test_another_provider_does_not_get_what_one_wants_back(server: Imitator) -> None:
    reply = await ask(server, REQUESTS["text"])
    with OpenAI() as other:
        said = {"role": "assistant", "content": "ok", **reply.state}
        for client in ("http", "langchain"):
            with using(other.spec(client=client)):
                pass
            backend = parse_spec(other.spec(client=client), "here")
            from stepgraph.providers.stack.stack import member_of

            await member_of(backend).backend.complete(Request((*HELLO, said, *HELLO)), HERE)
            assert set(other.bodies[-1]["messages"][1]) <= {"role", "content"}


@each
async def test_a_message_that_was_written_anew_is_sent_as_it_is_now(server: Imitator) -> None:
    reply = await ask(server, REQUESTS["text"])
    said = {"role": "assistant", "content": "something shorter", **reply.state}
    await ask(server, Request((*HELLO, said, *HELLO)))
    assert "something shorter" in json.dumps(server.bodies[-1])


@each
@streams
async def test_a_limit_and_the_dials_arrive(server: Imitator, streamed: bool) -> None:
    ear = Ear() if streamed else None
    reply = await ask(server, REQUESTS["limit"], ear)
    assert (reply.finish_reason, len(reply.text.split())) == ("length", 5)
    await ask(server, Request(HELLO, temperature=0.25, dials={"top_p": 0.5}), ear)
    sent = json.dumps(server.bodies[-1])
    assert "0.5" in sent
    assert ("0.25" in sent) is not isinstance(server, Responses)  # a reasoning model, which takes none


@each
async def test_a_dial_that_the_class_does_not_have_is_left_out_and_said(server: Imitator) -> None:
    if isinstance(server, (Azure, Gemini)):
        assert (await ask(server, Request(HELLO, dials={"seed": 1}))).text == "ok"
        return
    with pytest.warns(UserWarning, match="takes no seed"):
        await ask(server, Request(HELLO, dials={"seed": 1}))


@each
@streams
async def test_what_goes_wrong_is_an_error_of_ours(server: Imitator, streamed: bool) -> None:
    faults = {
        "AuthenticationFailed": (False, server.denied("wrong")),
        "ModelNotFound": (False, server.missing("m")),
        "ContextTooLong": (False, server.too_long(9999)),
        "ModelUnavailable": (False, server.busy()),
        "ModelUnavailable, lasting": (True, server.broke()),
        "ModelUnavailable, 500": (False, Fault(500)),
    }
    if not streamed and not isinstance(server, Gemini):  # whose client reads both in its own way
        faults |= {"ModelUnreachable": (False, CUT), "MalformedResponse": (True, HTML)}
    backend = LangChainEndpoint(parse_spec(spec_of(server), "here"))
    for name, (lasting, answer) in faults.items():
        if answer is None:
            continue
        server.will(answer)
        before = server.calls
        with pytest.raises(ModelError) as caught:
            await backend.complete(REQUESTS["text"], replace(HERE, sink=Ear() if streamed else None))
        assert (type(caught.value).__name__, caught.value.lasting) == (name.partition(",")[0], lasting)
        assert server.calls - before == 1  # nobody but our own layer tries again
        assert KEY not in str(caught.value)
        if name == "ModelUnavailable":
            waits = 0.02 if isinstance(server, Gemini) else 0.0
            assert getattr(caught.value, "retry_after", None) == waits


@streams
@pytest.mark.parametrize("kind", [Azure, Anthropic])
async def test_a_content_filter_is_one(server: Any, streamed: bool) -> None:
    server.will(server.filtered())
    with pytest.raises(ModelFiltered):
        await ask(server, REQUESTS["text"], Ear() if streamed else None)


@streams
@pytest.mark.parametrize("kind", [Gemini])
async def test_a_prompt_that_gemini_blocks_is_no_answer(server: Any, streamed: bool) -> None:
    server.will(server.filtered())
    reply = await ask(server, REQUESTS["text"], Ear() if streamed else None)
    assert (reply.text, reply.finish_reason) == ("", "content_filter")


@pytest.mark.parametrize("kind", [Anthropic])
async def test_an_answer_that_is_given_up_while_it_streams_is_none(server: Any) -> None:
    server.will(server.broken_stream())
    with pytest.raises(ModelUnavailable, match="529"):
        await ask(server, REQUESTS["text"], Ear())


@each
@streams
async def test_a_call_that_is_cancelled_ends_at_the_server(server: Imitator, streamed: bool) -> None:
    server.slow_s = 0.05 if streamed else 30
    asked = asyncio.create_task(ask(server, Request(COUNT), Ear() if streamed else None))
    assert await asyncio.to_thread(server.asked.wait, 10)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await asyncio.to_thread(server.gone.wait, 10)


# In workflows


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


class Grade(BaseModel):
    score: int


@step("draft")
def draft(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}.")


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"18 degrees in {city}"


@each
def test_runs_in_several_event_loops_share_no_connection(server: Imitator) -> None:
    app = chain(draft).compile()
    with using(spec_of(server)):
        assert [asyncio.run(app.ainvoke(Post()))["draft"] for _ in range(3)] == ["ok"] * 3
        assert app.invoke(Post())["draft"] == "ok"


@each
def test_an_agent_calls_its_tool_and_is_paid_in_dollars(server: Imitator, session: Session) -> None:
    @step("draft")
    def helper(post: Post) -> Ask[str]:
        return Ask("What is the weather in Paris?")

    app = chain(agent(helper, tools=[weather])).compile()
    with using(spec_of(server)), get_usage_metadata_callback() as counted:
        result = run(app, Post(), session)
    assert result.value.draft == "ok"
    assert result.spent.usd
    assert sum(usage["total_tokens"] for usage in counted.usage_metadata.values()) == result.spent.tokens


@each
def test_tokens_are_streamed_out_of_a_graph(server: Imitator) -> None:
    app = chain(draft).compile()
    with using(spec_of(server)):
        chunks = [chunk for chunk, _ in app.stream(Post("Count"), stream_mode="messages")]
    assert "".join(chunk.text for chunk in chunks) == " ".join(map(str, range(1, 101)))
    assert len(chunks) > 50
    assert sum(bool(chunk.usage_metadata) for chunk in chunks) == 1


@each
def test_a_budget_in_dollars_holds(server: Imitator, session: Session) -> None:
    app = chain(draft).compile()
    with using(spec_of(server, max_tokens=2000)):
        result = run(app, Post(), session, budget=Budget(usd=1e-7))
    assert (result.status, server.calls) == ("partial", 0)


@each
def test_a_busy_provider_is_asked_again_and_then_another(server: Imitator, session: Session) -> None:
    server.will(*[server.busy()] * 3)
    app = chain(draft).compile()
    with OpenAI() as other, using([spec_of(server, retries=2), other.spec()]):
        assert run(app, Post(), session).value.draft == "ok"
        assert (server.calls, other.calls) == (3, 1)


def test_the_table_of_classes_names_what_is_tested() -> None:
    assert {kind.provider for kind in CLASS_IMITATORS} <= CHAT_CLASSES.keys()


@each
@streams
async def test_an_object_of_the_class_is_asked_as_well(server: Imitator, streamed: bool) -> None:
    """The caller's own object has reasoning, a native schema, and its way back too."""
    chat = await in_this_loop(
        ChatMaker(parse_spec(spec_of(server), "here"))
    )  # whose client ends with the loop
    if isinstance(server, Azure):
        chat.__class__ = type(chat).__mro__[1]  # the package's own, as a caller makes it
    backend = ChatModel(chat)
    context = replace(HERE, sink=Ear() if streamed else None)
    reply = await backend.complete(REQUESTS["tool"], context)
    (call,) = reply.tool_calls
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    said = {"role": "assistant", "content": reply.text or None, **reply.state}
    said["tool_calls"] = [{"id": call.id, "type": "function", "function": function}]
    after = (*HELLO, said, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"})
    last = await backend.complete(Request(after, tools=(TOOL,), tool_choice="none"), context)
    assert last.text == "ok"
    if not isinstance(server, Azure):
        assert (last.reasoning or "").strip() == THOUGHT
    answer = await backend.complete(REQUESTS["schema"], context)
    assert json.loads(answer.text) == {"colour": "text"}
    assert "JSON schema" not in json.dumps(server.bodies[-1]["messages"])
    await close(chat)


@each
async def test_no_error_brings_the_clients_own_one_along_which_holds_the_key(server: Imitator) -> None:
    server.will(Fault(401, json.dumps({"error": {"message": f"bad key {KEY}"}})))
    with pytest.raises(ModelError) as caught:
        await ask(server, REQUESTS["text"], retries=0)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@each
async def test_half_a_surrogate_pair_is_sent_as_our_own_client_sends_it(server: Imitator) -> None:
    said = ({"role": "user", "content": "Say \ud800 é"},)
    assert (await ask(server, Request(messages=said))).text == "ok"
    assert "Say ? é" in json.dumps(server.bodies[-1]["messages"], ensure_ascii=False)


class OnlySync(GenericFakeChatModel):
    """Streams by `_stream` alone."""


class OnlyAsync(FakeChatModel):
    async def _astream(self, *_: Any, **__: Any) -> Any:
        yield None


def test_a_class_that_streams_in_either_way_does() -> None:
    assert _streams(OnlySync(messages=iter(())))
    assert _streams(OnlyAsync())
    assert not _streams(FakeChatModel())

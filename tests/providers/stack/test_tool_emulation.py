"""Tool calls at the seam: over the wire, from a script, journaled, and emulated."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from stepgraph import ScriptedModel, Session
from stepgraph.providers.model import CallContext, Message, Model, Reply, Request, ToolCall
from stepgraph.providers.stack.roles import as_model
from stepgraph.providers.stack.tool_emulation import ToolEmulationLayer, as_facts, plain_messages

from ...servers import Answer, ChatServer

LOOKUP: dict[str, Any] = {
    "name": "lookup",
    "description": "Look up an order.",
    "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
}
MESSAGES: tuple[Message, ...] = ({"role": "user", "content": "Where is A1?"},)
REQUEST = Request(MESSAGES, tools=(LOOKUP,))
SITE = CallContext("ask")


def full(model: Any) -> Model:
    return as_model(model, "the test")


async def test_a_call_comes_over_the_wire(server: ChatServer) -> None:
    server.will(Answer(None, tool_calls=(("lookup", '{"order": "A1"}'), ("lookup", "{oops"))))
    reply = await full(server.spec()).complete(REQUEST, SITE)
    good, bad = reply.tool_calls
    assert (reply.text, good) == ("", ToolCall("lookup", {"order": "A1"}, "call_0"))
    assert (bad.name, bad.arguments, bad.id) == ("lookup", {}, "call_1")
    assert str(bad.problem).startswith("no valid JSON")
    assert server.bodies[0]["tools"] == [{"type": "function", "function": LOOKUP}]


async def test_a_langchain_model_gets_its_tools(server: ChatServer) -> None:
    chat = ChatOpenAI(model="m", base_url=server.url, api_key=SecretStr("k"), max_retries=0)
    server.will(Answer(None, tool_calls=(("lookup", '{"order": "A1"}'),)))
    reply = await full(chat).complete(REQUEST, SITE)
    assert reply.tool_calls == (ToolCall("lookup", {"order": "A1"}, "call_0"),)


async def test_a_langchain_model_without_tools_is_emulated() -> None:
    chat = FakeListChatModel(responses=['```json\n{"name": "lookup", "arguments": {"order": "A1"}}\n```'])
    reply = await full(chat).complete(REQUEST, SITE)
    assert reply.tool_calls == (ToolCall("lookup", {"order": "A1"}),)


async def test_the_journal_gives_calls_back(session: Session) -> None:
    call = ToolCall("lookup", {"order": "A1"}, "x", problem="why not")
    with ScriptedModel([call, "fresh"]) as model:
        context = replace(SITE, config=session.config("t"))
        first = await full(model).complete(REQUEST, context)
        row = session.journal.query("SELECT tool_calls, params FROM calls")[0]
        assert json.loads(row["tool_calls"])[0]["arguments"] == {"order": "A1"}
        assert json.loads(row["params"])["tools"] == [LOOKUP]
        from stepgraph.providers.stack.journal import reply_of

        (kept,) = await session.journal._calls("thread_id = ?", ("t",))
        assert reply_of(kept).tool_calls == first.tool_calls == (call,)
        await full(model).complete(REQUEST, context)


async def test_the_cache_tells_tools_apart(session: Session) -> None:
    context = replace(SITE, config=session.config("t", cache_s=60), cache_s=60.0)
    with ScriptedModel([ToolCall("lookup", {"order": "A1"}), "no tools", "must answer"]) as model:
        stack = full(model)
        first = await stack.complete(REQUEST, context)
        again = await stack.complete(REQUEST, replace(context, config=session.config("u")))
        assert (again.source, again.tool_calls) == ("cache", first.tool_calls)
        assert (await stack.complete(Request(MESSAGES), context)).text == "no tools"
        assert (await stack.complete(replace(REQUEST, tool_choice="none"), context)).text == "must answer"


async def emulated(answer: Any, request: Request = REQUEST) -> tuple[Reply, Request]:
    with ScriptedModel([answer]) as model:
        reply = await ToolEmulationLayer(model).complete(request, SITE)
    return reply, model.asks[0][1]


async def test_emulation_asks_for_one_of_the_tools_or_the_answer() -> None:
    reply, asked = await emulated({"name": "lookup", "arguments": {"order": "A1"}})
    assert (reply.text, reply.tool_calls) == ("", (ToolCall("lookup", {"order": "A1"}),))
    assert asked.tools == ()
    assert asked.schema is not None
    names = [option["properties"]["name"]["const"] for option in asked.schema["anyOf"]]
    assert names == ["lookup", "final_answer"]
    assert "- lookup(order: string): Look up an order." in asked.messages[0]["content"]


async def test_emulation_reads_the_final_answer() -> None:
    reply, _ = await emulated({"name": "final_answer", "arguments": {"answer": "In 2 days."}})
    assert (reply.text, reply.tool_calls) == ("In 2 days.", ())


async def test_a_typed_final_answer_stays_a_call() -> None:
    final = {"name": "final_answer", "parameters": {"type": "object", "properties": {"days": {}}}}
    given = {"name": "final_answer", "arguments": {"days": 2}}
    reply, asked = await emulated(given, replace(REQUEST, tools=(LOOKUP, final)))
    assert reply.tool_calls == (ToolCall("final_answer", {"days": 2}),)
    assert asked.schema is not None
    assert len(asked.schema["anyOf"]) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "lookup", "argum', "no valid JSON"),
        ('{"arguments": {}}', "it is not of the form"),
        ('{"name": "lookup", "arguments": 3}', "it is not of the form"),
        ('{"a":' * 100_000, "no valid JSON"),
    ],
)
async def test_emulation_tells_what_cannot_be_read(text: str, problem: str) -> None:
    reply, _ = await emulated(text)
    assert (reply.text, len(reply.tool_calls)) == ("", 1)
    assert str(reply.tool_calls[0].problem).startswith(problem)


async def test_words_without_json_are_the_answer() -> None:
    assert (await emulated("In 2 days."))[0].text == "In 2 days."
    assert (await emulated('{"name": "lookup", "arguments": {}} I hope.'))[0].tool_calls == (
        ToolCall("lookup"),
    )


async def test_without_a_choice_the_tools_are_left_out() -> None:
    _, asked = await emulated("2", replace(REQUEST, tool_choice="none", schema={"type": "integer"}))
    assert (asked.tools, asked.messages, asked.schema) == ((), MESSAGES, {"type": "integer"})


def test_what_was_called_before_becomes_plain_messages() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "lookup", "arguments": '{"order": "A1"}'}}
    messages = plain_messages(
        (
            *MESSAGES,
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "in 2 days"},
        )
    )
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "Where is A1?"),
        ("assistant", 'Let me see.\n{"name": "lookup", "arguments": {"order": "A1"}}'),
        ("user", "Result of lookup:\nin 2 days"),
    ]


def test_for_an_answer_the_results_are_told_as_facts() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    said: tuple[Message, ...] = (
        *MESSAGES,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "in 2 days"},
        {"role": "user", "content": "Answer now."},
    )
    assert [m["content"] for m in as_facts(said)] == [
        "Where is A1?",
        "This was found out:\nin 2 days",
        "Answer now.",
    ]
    assert as_facts(MESSAGES) == MESSAGES

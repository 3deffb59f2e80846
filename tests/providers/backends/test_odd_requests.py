"""Odd conversations go out in a form that each provider takes, and nothing of them is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import SystemMessage

from stepgraph.providers.backends.langchain_requests import to_langchain
from stepgraph.providers.backends.message_state import LANGCHAIN
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.settings import parse_spec
from stepgraph.providers.stack.stack import member_of

from ...imitator import KEY
from ...servers import ChatServer

LONG = "chatcmpl-tool-" + 32 * "a"  # as vLLM's are


def calling(own: str, content: Any = None, **state: Any) -> dict[str, Any]:
    call = {"id": own, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {"role": "assistant", "content": content, "tool_calls": [call], **state}


@pytest.mark.parametrize("package", ["langchain_anthropic", "langchain_google_genai"])
def test_a_later_word_of_the_system_is_not_lost(package: str) -> None:
    """Gemini's class drops it, Anthropic's refuses a second one."""
    given = [
        {"role": role, "content": text}
        for role, text in (("system", "a"), ("user", "b"), ("system", "c"), ("assistant", "d"), ("user", "e"))
    ]
    sent = to_langchain(given, package)
    assert [message.text for message in sent] == ["a", "c", "b", "d", "e"]
    assert [isinstance(message, SystemMessage) for message in sent[:3]] == [True, True, False]
    assert [message.text for message in to_langchain(given, "langchain_openai")] == list("abcde")


def test_blanks_before_a_call_are_not_sent_back() -> None:
    """Claude writes them, and its API refuses them."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    use = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    held = {
        "by": "langchain_anthropic",
        "content": [thought, {"type": "text", "text": "\n\n"}, use],
        "kwargs": {},
    }
    with_state = calling("c1", "\n\n", **{LANGCHAIN: held})
    plain, kept = to_langchain([calling("c1", "\n\n"), with_state], "langchain_anthropic")
    assert plain.content == ""
    assert kept.content == [thought, use]


@pytest.mark.parametrize("client", ["http", "langchain"])
@pytest.mark.parametrize("provider", ["openai", None])
async def test_an_id_of_another_models_is_short_enough_for_openai(
    server: ChatServer, client: str, provider: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spec = server.spec(client=client, provider=provider) if provider else server.spec()
    backend = member_of(parse_spec(spec, "here")).backend
    user = {"role": "user", "content": "a"}
    tools = ({"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}},)
    messages = (
        user,
        calling("own"), {"role": "tool", "tool_call_id": "own", "content": "x"},
        calling(LONG), {"role": "tool", "tool_call_id": LONG, "content": "y"},
    )  # fmt: skip
    await backend.complete(Request(messages, tools=tools), CallContext("here"))
    _, first, first_result, second, second_result = server.bodies[-1]["messages"]
    assert first["tool_calls"][0]["id"] == first_result["tool_call_id"] == "own"
    sent = second["tool_calls"][0]["id"]
    assert sent == second_result["tool_call_id"]
    assert (sent == LONG) is (provider is None)
    assert len(sent) <= 40 or provider is None
    assert json.dumps(messages).count(LONG) == 2

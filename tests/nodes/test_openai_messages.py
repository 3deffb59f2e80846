from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from stepgraph import Ask, Session, agent, step, using
from stepgraph.nodes.openai_messages import to_openai
from stepgraph.providers.model import with_order
from stepgraph.runners.run import resume, run

from ..servers import ChatServer, Fault

MARK = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def test_marks_on_parts_stay() -> None:
    text = {"type": "text", "text": "a handbook"}
    block = {"type": "image", "base64": "aGk=", "mime_type": "image/png"}
    system, human = to_openai(
        [
            SystemMessage([{**text, **MARK}]),
            HumanMessage(
                [{**text, **MARK}, {**IMAGE, "detail": "low"}, {**block, **MARK}, {**text, "id": "b1"}]
            ),
        ]
    )
    assert system["content"] == [{**text, **MARK}]
    assert human["content"] == [{**text, **MARK}, {**IMAGE, "detail": "low"}, {**IMAGE, **MARK}, text]


def test_an_order_is_added_to_a_system_message_of_parts() -> None:
    parts = [{"type": "text", "text": "a handbook", **MARK}]
    (message, _) = with_order(
        ({"role": "system", "content": parts}, {"role": "user", "content": "x"}), "In JSON."
    )
    assert message["content"] == [*parts, {"type": "text", "text": "In JSON."}]


def test_a_tools_result_has_no_name() -> None:
    calls: Any = [{"name": "find", "args": {}, "id": "c", "type": "tool_call"}]
    _, result = to_openai([AIMessage("", tool_calls=calls), ToolMessage("4", tool_call_id="c", name="find")])
    assert result == {"role": "tool", "tool_call_id": "c", "content": "4"}


@dataclass
class Question:
    text: str
    reply: str = ""


@step("reply")
def help_out(question: Question) -> Ask[str]:
    return Ask(question.text)


THOUGHT = {"type": "reasoning.encrypted", "data": "c2VjcmV0", "index": 0}
SIGNATURE = {"google": {"thought_signature": "c2lnbg=="}}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "find", "arguments": "{}"},
    "extra_content": SIGNATURE,
}
MESSAGE = {
    "role": "assistant",
    "content": "",
    "reasoning_content": "Look it up.",
    "reasoning_details": [THOUGHT],
    "tool_calls": [CALL],
}
CHOICE = {"index": 0, "finish_reason": "tool_calls", "message": MESSAGE}
CALLING = Fault(body=json.dumps({"model": "m", "choices": [CHOICE]}))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {"reasoning_details", "extra_content"}),
        ({"provider": "deepseek"}, {"reasoning_content"}),
        ({"provider": "openrouter"}, {"reasoning_details"}),
        ({"provider": "openai"}, set()),
    ],
)
def test_what_a_provider_wants_back_goes_back_from_the_journal_and_to_nobody_else(
    settings: dict[str, Any], wanted: set[str], server: ChatServer, session: Session, monkeypatch: Any
) -> None:
    for provider in ("DEEPSEEK", "OPENAI", "OPENROUTER"):
        monkeypatch.setenv(f"{provider}_API_KEY", "k")

    def find() -> str:
        """Find it."""
        return "dock 4"

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("it ends once the answer is on record")

    app = agent(help_out, tools=[find]).compile()
    server.will(CALLING, "dock 4")
    with using(server.spec(**settings)):
        monkeypatch.setattr("stepgraph.graphs.patterns.agent.record_decision", fails)
        with pytest.raises(ConnectionError):
            run(app, Question("Where?"), session, "t")
        monkeypatch.setattr("stepgraph.graphs.patterns.agent.record_decision", lambda *_, **__: None)
        assert resume(app, session, "t").values["reply"] == "dock 4"
    assert len(server.bodies) == 2
    (said,) = [m for m in server.bodies[-1]["messages"] if m["role"] == "assistant"]
    (call,) = said["tool_calls"]
    of_its_own = {"reasoning_details", "reasoning_content", "extra_content"}
    assert (said.keys() | call.keys()) & of_its_own == wanted
    assert said.get("reasoning_details", [THOUGHT]) == [THOUGHT]
    assert call.get("extra_content", SIGNATURE) == SIGNATURE

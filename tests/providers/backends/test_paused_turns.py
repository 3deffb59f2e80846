"""A turn that Anthropic pauses while its own tools run is continued, and is one answer on record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from pydantic import SecretStr

from stepgraph import Ask, Session, agent, chain, step, using
from stepgraph.providers.backends.paused_turns import MOST_PAUSES

from ...imitator import KEY
from ...servers import Fault
from .native_wires import COUNTS, block, ended, stream, whole
from .test_native_wires import Anywhere

SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Ada"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {"type": "web_search_result", "url": "https://example.org/", "title": "Ada", "encrypted_content": "x"}
    ],
}
TOOLS = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"name": "Ada"}}


@dataclass
class Talk:
    text: str
    said: str = ""


@step("said")
def find(talk: Talk) -> Ask[str]:
    return Ask(talk.text)


def look_up(name: str) -> str:
    """Look a person up."""
    return f"{name} is in Paris."


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Anywhere]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with Anywhere() as server:
        yield server


def part(*content: dict[str, Any], stop: str, streamed: bool) -> Fault:
    """Return an answer with these blocks; it ran in a container."""
    ran = {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
               "content": [*content], "stop_reason": stop, "stop_sequence": None, "usage": COUNTS,
               "container": ran}  # fmt: skip
    if not streamed:
        return whole(message)
    told: list[dict[str, Any]] = []
    for index, given in enumerate(content):
        if given["type"] == "text":
            told += block(
                index, {"type": "text", "text": ""}, "text_delta", *re.findall(r"\S+\s*", given["text"])
            )
        elif given is FOUND:
            told += [{"type": "content_block_start", "index": index, "content_block": given},
                     {"type": "content_block_stop", "index": index}]  # fmt: skip
        else:
            pieces = ('{"query": ', '"Ada"}') if given is SEARCH else ('{"name": ', '"Ada"}')
            told += block(index, {**given, "input": {}}, "input_json_delta", *pieces)
    begun = {**message, "content": [], "stop_reason": None, "container": None}
    *_, last, stopped = ended(stop)
    last["delta"] |= {"container": ran}
    return stream({"type": "message_start", "message": begun}, *told, last, stopped)


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def bound(server: Anywhere, *, handed_over: bool) -> Any:
    if handed_over:
        key = SecretStr(KEY)
        return ChatAnthropic(
            model_name="claude-haiku-4-5", base_url=server.url, api_key=key, max_retries=0, timeout=60,
            stop=None, model_kwargs=TOOLS,
        )  # fmt: skip
    return {"provider": "anthropic", "model": "claude-haiku-4-5", "base_url": server.url, "retries": 0,
            "params": {"model_kwargs": TOOLS}}  # fmt: skip


async def said_by(graph: Any, session: Session, *, streamed: bool) -> tuple[str, list[dict[str, Any]]]:
    """Return what the graph says, streamed or whole, and the calls on record."""
    config = session.config("talk")
    if streamed:
        pieces = []
        async for message, _ in graph.astream(Talk("Where is Ada?"), config, stream_mode="messages"):
            pieces.append(str(message.text))
        assert len([piece for piece in pieces if piece]) > 1
        values = graph.get_state(config).values
    else:
        values = await graph.ainvoke(Talk("Where is Ada?"), config)
    return values["said"], session.journal.query("SELECT * FROM calls ORDER BY started_at")


both_ways = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
both_clients = pytest.mark.parametrize("handed_over", [False, True], ids=["settings", "handed over"])


@both_ways
@both_clients
async def test_a_paused_turn_is_continued(
    anywhere: Anywhere, session: Session, *, streamed: bool, handed_over: bool
) -> None:
    anywhere.will(
        part(text("Let me look. "), SEARCH, stop="pause_turn", streamed=streamed),
        part(FOUND, stop="pause_turn", streamed=streamed),
        part(text("She is in Paris."), stop="end_turn", streamed=streamed),
    )
    with using(bound(anywhere, handed_over=handed_over)):
        said, calls = await said_by(chain(find).compile(), session, streamed=streamed)
    assert said == "Let me look. She is in Paris."
    (call,) = calls
    assert (call["input_tokens"], call["output_tokens"], call["finish_reason"]) == (30, 15, "stop")
    assert handed_over or call["cost_usd"] > 0
    first, second, third = anywhere.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    (going_on,) = third["messages"][len(first["messages"]) :]
    assert going_on["role"] == "assistant"
    assert [given["type"] for given in going_on["content"]] == ["text", "server_tool_use", FOUND["type"]]
    assert going_on["content"][1] == SEARCH
    assert going_on["content"][2]["tool_use_id"] == SEARCH["id"]
    assert [body.get("container") for body in anywhere.bodies] == [None, "container_1", "container_1"]


@both_ways
async def test_the_whole_turn_goes_back_with_a_tools_result(
    anywhere: Anywhere, session: Session, *, streamed: bool
) -> None:
    anywhere.will(
        part(text("Let me look. "), SEARCH, FOUND, stop="pause_turn", streamed=streamed),
        part(USE, stop="tool_use", streamed=streamed),
        part(text("In Paris."), stop="end_turn", streamed=streamed),
    )
    with using(bound(anywhere, handed_over=False)):
        said, calls = await said_by(agent(find, tools=[look_up]).compile(), session, streamed=streamed)
    assert said == "In Paris."
    assert [call["finish_reason"] for call in calls] == ["tool_calls", "stop"]
    turn, result = anywhere.bodies[-1]["messages"][-2:]
    kinds = [given["type"] for given in turn["content"]]
    assert kinds == ["text", "server_tool_use", "web_search_tool_result", "tool_use"]
    assert result["content"][0]["type"] == "tool_result"


@both_ways
async def test_a_turn_that_is_always_paused_is_an_answer_that_was_cut(
    anywhere: Anywhere, session: Session, *, streamed: bool
) -> None:
    anywhere.always = part(text("Still looking."), SEARCH, stop="pause_turn", streamed=streamed)
    with using(bound(anywhere, handed_over=False)):
        _, calls = await said_by(chain(find).compile(), session, streamed=streamed)
    assert len(anywhere.bodies) == MOST_PAUSES + 1
    assert [(call["finish_reason"], call["input_tokens"]) for call in calls] == [("length", 90)]

"""Calls that a hand-written graph makes with a plain chat model are on record too, once each."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from openai import APIStatusError
from pydantic import SecretStr

from stepgraph import Ask, Session, chain, step, using

from ...servers import Answer, ChatServer, Fault


class State(TypedDict, total=False):
    question: str
    answer: str


def foreign(server: ChatServer) -> Any:
    chat = ChatOpenAI(model="asked", base_url=server.url, api_key=SecretStr("none"), max_retries=0)

    async def think(state: State) -> State:
        message = await chat.ainvoke([("system", "Be brief."), ("user", state["question"])], temperature=0.5)
        return {"answer": str(message.text)}

    graph = StateGraph(State)
    graph.add_node("think", think)
    graph.add_edge(START, "think")
    graph.add_edge("think", END)
    return graph.compile()


async def test_a_plain_chat_models_call_is_recorded(server: ChatServer, session: Session) -> None:
    server.will(Answer("42", input_tokens=12, output_tokens=3, cached=5))
    await foreign(server).ainvoke({"question": "How many?"}, session.config("t"))
    (call,) = session.journal.query("SELECT * FROM calls")
    assert (call["path"], call["step"], call["answer"]) == ("think", "think", "42")
    assert (call["model_asked"], call["model_answered"]) == ("asked", "served-2026")
    assert (call["input_tokens"], call["output_tokens"], call["cached_tokens"]) == (12, 3, 5)
    assert call["cost_usd"] is None
    assert '"How many?"' in call["messages"]
    assert "0.5" in call["params"]


async def test_its_failure_is_recorded(server: ChatServer, session: Session) -> None:
    server.will(Fault(status=500))
    with pytest.raises(APIStatusError):
        await foreign(server).ainvoke({"question": "?"}, session.config("t"))
    (call,) = session.journal.query("SELECT status, problem FROM calls")
    assert call["status"] == "failed"
    assert "out of order" in call["problem"]


async def test_streamed_calls_say_when_the_first_token_came(server: ChatServer, session: Session) -> None:
    server.will("one two three")
    async for _ in foreign(server).astream({"question": "?"}, session.config("t"), stream_mode="messages"):
        pass
    (call,) = session.journal.query("SELECT first_token_s, latency_s FROM calls")
    assert 0 < call["first_token_s"] <= call["latency_s"]


async def test_a_steps_own_call_is_recorded_once(server: ChatServer, session: Session) -> None:
    @step("answer")
    def ask(state: State) -> Ask[str]:
        return Ask("hi")

    with using(server.spec()):
        graph = chain(ask).compile()
        async for _ in graph.astream({}, session.config("t"), stream_mode="messages"):
            pass
    (call,) = session.journal.query("SELECT first_token_s FROM calls")
    assert call["first_token_s"] > 0

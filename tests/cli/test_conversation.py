"""`stepgraph run` on a thread that takes one input after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session

from .conftest import Command

CHAT = """
from dataclasses import dataclass, field
from typing import Annotated
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph.message import add_messages
from stepgraph import Ask, chain, step

@dataclass
class Chat:
    text: str
    loud: bool = False
    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)
    reply: str = ""

def hear(chat: Chat) -> dict[str, list[HumanMessage]]:
    return {"messages": [HumanMessage(chat.text)]}

@step("reply", model="writer")
def answer(chat: Chat) -> Ask[str]:
    return Ask(chat.messages)

def remember(chat: Chat) -> dict[str, list[AIMessage]]:
    return {"messages": [AIMessage(chat.reply.upper() if chat.loud else chat.reply)]}

graph = chain(hear, answer, remember, name="chat")
other = chain(hear, remember, name="other")
"""


@pytest.fixture
def chat(memo: Any, tmp_path: Path) -> Any:
    (tmp_path / "chat.py").write_text(CHAT)
    return memo


def said(row: dict[str, Any]) -> list[str]:
    return [message["content"] for message in row["output"]["messages"]]


def test_the_next_thing_is_said_with_the_same_command(command: Command, chat: Any) -> None:
    chat.will("Hello Ada.", "Ada.")
    command("run", "chat.py:graph", "--thread", "c", "-i", "text=I am Ada", "-i", "loud=true")
    (row,) = command("run", "chat.py:graph", "--thread", "c", "-i", "text=Who am I?", "--json").rows
    assert said(row) == ["I am Ada", "HELLO ADA.", "Who am I?", "ADA."]  # what is not given stays as it was
    assert command("threads", "--json").rows[0]["status"] == "done"


def test_the_models_of_the_first_turn_are_used_again(
    command: Command, chat: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPGRAPH_MODEL_OTHER", "vllm:gone")  # a record's models must be known here
    assert command("run", "dialogue", "--thread", "d", "-i", "text=Hi!", "--model", "vllm:gone").code == 0
    done = command("run", "dialogue", "--thread", "d", "-i", "text=Why is it so?", "--json")
    assert done.code == 3
    assert "gone" in done.rows[0]["error"]


def test_a_turn_that_has_not_ended_comes_first(command: Command, chat: Any) -> None:
    words = ("run", "chat.py:graph", "--thread", "c", "-i", "text=I am Ada", "--model", "vllm:gone")
    assert command(*words).code == 3
    done = command("run", "chat.py:graph", "--thread", "c", "-i", "text=Hello?")
    assert done.code == 2
    assert "has not ended (failed). Go on with it first: stepgraph resume c" in done.err


def test_a_thread_belongs_to_its_graph(command: Command, chat: Any) -> None:
    chat.will("Hello.")
    command("run", "chat.py:graph", "--thread", "c", "-i", "text=Hi")
    assert "exists already" in command("run", "chat.py:other", "--thread", "c", "-i", "text=Hi").err


def test_a_graph_that_holds_no_conversation_is_not_run_twice_on_a_thread(command: Command, memo: Any) -> None:
    memo.will("Short.")
    assert command("run", "memo.py:graph", "-i", "text=x", "--thread", "m").code == 0
    done = command("run", "memo.py:graph", "-i", "text=y", "--thread", "m")
    assert done.code == 2
    assert "exists already" in done.err
    assert memo.calls == 1


@pytest.mark.parametrize("words", [["--thread", "c", "-i", "text=Me"], ["--thread", "c", "-i", "text=Again"]])
def test_a_refused_run_leaves_what_the_thread_is_resumed_by(
    command: Command, chat: Any, words: list[str]
) -> None:
    chat.will("Hello.")
    assert command("run", "chat.py:graph", "--thread", "c", "-i", "text=Me").code == 0
    with Session("stepgraph.sqlite") as session:
        before = session.journal.query("SELECT * FROM runs")
        session.claims.acquire("c")
        refused = command("run", "chat.py:graph", *words, "--model", "writer=vllm:other")
        assert "is being run by" in refused.out
        assert session.journal.query("SELECT * FROM runs") == before
    assert chat.calls == 1

"""An agent as it arrives, in Langfuse's words and OpenTelemetry's: itself, its tools' calls, its offers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes

from stepgraph import Ask, Budget, ScriptedModel, Session, agent, chain, run, step, using
from stepgraph.testing import ToolCall
from stepgraph.tracing.export.otlp import Destination
from stepgraph.tracing.export.outbox import push

from ..receivers import Receiver, attributes

OBSERVATION = "langfuse.observation."


@dataclass
class Question:
    word: str = "tea"
    answer: str = ""


def look_up(word: str) -> str:
    """Look a word up."""
    if word == "nothing":
        raise ValueError("no such word")
    return f"{word} is a plant"


@step("answer")
def ask(question: Question) -> Ask[str]:
    return Ask(f"What is {question.word}?")


LOOP = agent(ask, tools=[look_up], name="helper")
CALLS = [ToolCall("look_up", {"word": "tea"}), ToolCall("look_up", {"word": "nothing"})]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def asked(session: Session, receiver: Receiver, destination: Destination, *, whole: bool = False) -> None:
    graph = LOOP if whole else chain(LOOP, name="desk")
    with using(ScriptedModel([CALLS, "A plant."])):
        graph.compile().invoke(Question(), session.config("t"))
    push(session, [destination])


def told(receiver: Receiver, name: str) -> list[dict[str, Any]]:
    found = sorted(receiver.spans, key=lambda span: span.start_time_unix_nano)
    return [attributes(span) for span in found if span.name == name]


def test_langfuse_gets_an_observation_of_each_tool_call(session: Session, receiver: Receiver) -> None:
    asked(session, receiver, receiver.langfuse())
    good, bad = sorted(told(receiver, "look_up"), key=lambda facts: "nothing" in facts[f"{OBSERVATION}input"])
    assert good[f"{OBSERVATION}type"] == bad[f"{OBSERVATION}type"] == "tool"
    assert json.loads(good[f"{OBSERVATION}input"]) == {"word": "tea"}
    assert good[f"{OBSERVATION}output"] == "tea is a plant"
    assert "no such word" in bad[f"{OBSERVATION}output"]
    assert (good[f"{OBSERVATION}level"], bad[f"{OBSERVATION}level"]) == ("DEFAULT", "WARNING")
    assert not told(receiver, "tools")


def test_langfuse_gets_the_agent_and_what_it_was_offered(session: Session, receiver: Receiver) -> None:
    asked(session, receiver, receiver.langfuse())
    (helper,) = told(receiver, "helper")
    assert helper[f"{OBSERVATION}type"] == "agent"
    types = [attributes(span)[f"{OBSERVATION}type"] for span in receiver.spans]
    assert types.count("agent") == 1, "the node within it that asks is none"
    first, second = (f for f in told(receiver, "ask") if f[f"{OBSERVATION}type"] == "generation")
    given = json.loads(first[f"{OBSERVATION}input"])
    assert [tool["function"]["name"] for tool in given["tools"]] == ["look_up"]
    assert given["messages"][-1]["content"] == "What is tea?"
    (call, _) = json.loads(first[f"{OBSERVATION}output"])["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "look_up")
    assert json.loads(call["function"]["arguments"]) == {"word": "tea"}
    asked_again = json.loads(second[f"{OBSERVATION}input"])["messages"]
    assert [m["role"] for m in asked_again] == ["user", "assistant", "tool", "tool"]


def test_an_agent_that_is_the_whole_graph_is_the_run(session: Session, receiver: Receiver) -> None:
    asked(session, receiver, receiver.langfuse(), whole=True)
    (root,) = (attributes(span) for span in receiver.spans if not span.parent_span_id)
    assert root[f"{OBSERVATION}type"] == "agent"


def test_the_conventions_have_a_span_of_each_tool_call(session: Session, receiver: Receiver) -> None:
    asked(session, receiver, Destination("otlp", f"{receiver.url}/v1/traces"))
    names = {span.name for span in receiver.spans}
    assert {"invoke_workflow desk", "invoke_agent helper", "execute_tool look_up", "chat scripted"} <= names
    tools = [f for f in map(attributes, receiver.spans) if f.get("gen_ai.operation.name") == "execute_tool"]
    (tea,) = (f for f in tools if json.loads(f["gen_ai.tool.call.arguments"]) == {"word": "tea"})
    assert (tea["gen_ai.tool.name"], tea["gen_ai.tool.call.result"]) == ("look_up", "tea is a plant")
    (helper,) = told(receiver, "invoke_agent helper")
    assert (helper["gen_ai.operation.name"], helper["gen_ai.agent.name"]) == ("invoke_agent", "helper")
    calls = told(receiver, "chat scripted")
    assert [tool["name"] for tool in json.loads(calls[0]["gen_ai.tool.definitions"])] == ["look_up"]
    roles = json.loads(calls[1]["gen_ai.input.messages"])
    parts = [part["type"] for message in roles for part in message["parts"]]
    assert parts == ["text", "tool_call", "tool_call", "tool_call_response", "tool_call_response"]


def test_the_names_are_those_of_the_conventions(session: Session, receiver: Receiver) -> None:
    asked(session, receiver, Destination("otlp", f"{receiver.url}/v1/traces"))
    known = {v for n, v in vars(gen_ai_attributes).items() if n.startswith("GEN_AI_")}
    known |= {v for n, v in vars(error_attributes).items() if n.isupper()}
    # Newer than the package: from the conventions' own repository, version 0.1.
    newer = {"prompt.version", "usage.cache_write.input_tokens", "request.reasoning.level"}
    names = {name for span in receiver.spans for name in attributes(span)}
    said = {name for name in names if name.startswith(("gen_ai.", "error."))}
    assert said - known - {f"gen_ai.{name}" for name in newer} == set()


def test_a_node_that_a_budget_stopped_waits_for_nobody(session: Session, receiver: Receiver) -> None:
    with using(ScriptedModel([CALLS, "A plant."])):
        run(chain(LOOP, name="desk").compile(), Question(), session=session, budget=Budget(calls=1))
    push(session, [receiver.langfuse()])
    messages = {
        facts.get(f"{OBSERVATION}status_message")
        for facts in map(attributes, receiver.spans)
        if facts.get(f"{OBSERVATION}level") == "WARNING"
    }
    assert "a budget ended" in messages
    assert "waits for an answer" not in messages

"""Guards what stepgraph takes from LangGraph's private parts: an upgrade that breaks it fails here."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph.state.names import LEDGERS_KEY
from stepgraph.state.session.internals import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    chunk_handler,
    execution_of,
    hears_tokens,
    interrupt_id,
    read_task_statuses,
    through,
    with_message_ids,
)


class State(TypedDict):
    text: str


def graph_of(node: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile()


def test_a_checkpointer_in_the_config_keeps_the_thread() -> None:
    app = graph_of(lambda state: {"text": state["text"] + "!"})
    config: RunnableConfig = {"configurable": {"thread_id": "1", CONFIG_KEY_CHECKPOINTER: InMemorySaver()}}

    app.invoke({"text": "hi"}, config)

    assert CONFIG_KEY_CHECKPOINTER == "__pregel_checkpointer"
    assert app.get_state(config).values == {"text": "hi!"}
    assert len(list(app.get_state_history(config))) == 3


async def test_one_execution_of_a_node_has_one_identity_and_the_next_another() -> None:
    seen: list[Any] = []

    async def node(state: State, config: RunnableConfig) -> None:
        first, second = execution_of(config["configurable"]), execution_of(config["configurable"])
        assert first is second
        weakref.ref(first)
        seen.append((first, config["configurable"]["checkpoint_ns"]))
        interrupt("stop")

    app = graph_of(node)
    config: RunnableConfig = {"configurable": {"thread_id": "1", CONFIG_KEY_CHECKPOINTER: InMemorySaver()}}
    await app.ainvoke({"text": "hi"}, config)
    await app.ainvoke(Command(resume="go"), config)

    (first, task), (again, same_task) = seen
    assert first is not again
    assert task == same_task


def test_outside_of_a_run_there_is_no_execution() -> None:
    assert execution_of({}) is None


def test_an_interrupt_is_told_by_its_task_and_the_answers_so_far() -> None:
    seen: list[str] = []

    def node(state: State, config: RunnableConfig) -> None:
        seen.append(config["configurable"]["checkpoint_ns"])
        interrupt("first")
        interrupt("second")

    saver = InMemorySaver()
    app = graph_of(node)
    config: RunnableConfig = {"configurable": {"thread_id": "1", CONFIG_KEY_CHECKPOINTER: saver}}

    def waiting() -> list[tuple[str, str]]:
        saved = saver.get_tuple({"configurable": {"thread_id": "1", "checkpoint_ns": ""}})
        assert saved is not None
        statuses = read_task_statuses(saved.pending_writes or [])
        return [(item.id, item.value) for status in statuses.values() for item in status.pending_interrupts]

    app.invoke({"text": "hi"}, config)
    assert waiting() == [(interrupt_id(seen[0], 0), "first")]
    app.invoke(Command(resume="go"), config)
    assert waiting() == [(interrupt_id(seen[0], 1), "second")]
    app.invoke(Command(resume="go"), config)
    assert waiting() == []


def test_a_node_finds_the_checkpoint_that_its_graph_is_at() -> None:
    seen: list[Any] = []

    def node(state: State, config: RunnableConfig) -> None:
        seen.append(
            (config["configurable"][CONFIG_KEY_CHECKPOINT_MAP], config["configurable"]["checkpoint_ns"])
        )
        interrupt("stop")

    saver = InMemorySaver()
    outer = StateGraph(State)
    outer.add_node("inner", graph_of(node))
    outer.add_edge(START, "inner")
    app = outer.compile(checkpointer=saver)
    config: RunnableConfig = {"configurable": {"thread_id": "1"}}
    app.invoke({"text": "hi"}, config)

    ((places, task),) = seen
    namespace = task.rpartition("|")[0]
    assert set(places) == {"", namespace}
    place: RunnableConfig = {"configurable": {"thread_id": "1", "checkpoint_ns": namespace}}
    kept = saver.get_tuple(place)
    assert kept is not None
    assert kept.checkpoint["id"] == places[namespace]
    assert [channel for _, channel, _ in kept.pending_writes or ()] == ["__interrupt__"]


def test_what_a_node_writes_can_be_looked_at_and_changed() -> None:
    app = graph_of(lambda state: {"text": "told", "unknown": 1})
    seen: list[Any] = []

    def change(returned: Any, writes: Any) -> Any:
        seen.append((returned, list(writes)))
        return [(name, f"{value}!") for name, value in writes]

    changed = app.copy({"nodes": {**app.nodes, "node": through(app.nodes["node"], change)}})
    assert changed.invoke({"text": "hi"}) == {"text": "told!"}
    assert seen == [({"text": "told", "unknown": 1}, [("text", "told")])]
    assert app.invoke({"text": "hi"}) == {"text": "told"}


def test_messages_get_ids_whatever_form_they_have() -> None:
    for given in ("hi", ("ai", "hi"), HumanMessage("hi"), [("ai", "hi"), HumanMessage("hi")]):
        messages = with_message_ids(given)
        assert all(message.id for message in (messages if isinstance(messages, list) else [messages]))


@pytest.mark.parametrize("budget", [True, False])
def test_a_last_superstep_within_a_budget_is_no_error(budget: bool) -> None:
    ledgers = {"configurable": {LEDGERS_KEY: ()}} if budget else {}
    config: Any = {"recursion_limit": 1, **ledgers}
    with nullcontext() if budget else pytest.raises(GraphRecursionError):
        assert graph_of(lambda state: {"text": "told"}).invoke({"text": "hi"}, config) == {"text": "told"}


@pytest.mark.parametrize("streams", [True, False])
async def test_a_chunk_handler_is_given_its_own_model_s_chunks_and_told_of_others(streams: bool) -> None:
    told: list[Any] = []

    async def take(chunk: Any) -> None:
        told.append(chunk)

    handler: Any = chunk_handler(take, streams=streams)
    assert hears_tokens(handler) is streams
    await handler.on_chat_model_start({}, [], run_id=1)
    await handler.on_chat_model_start({}, [], run_id=2)  # a model inside the one that is asked
    own = SimpleNamespace(message=AIMessageChunk(content=""))
    await handler.on_llm_new_token("", chunk=own, run_id=1)
    await handler.on_llm_new_token("word", chunk=object(), run_id=2)
    await handler.on_llm_new_token("", chunk=object(), run_id=2)
    await handler.on_llm_new_token("word", chunk=None, run_id=1)
    await handler.on_llm_new_token("", chunk=None, run_id=1)
    assert told == [own, None, None]

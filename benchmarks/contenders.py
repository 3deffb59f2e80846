"""The same graphs in plain LangGraph and in stepgraph, each with and without persistence."""

from __future__ import annotations

import operator
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, TypeVar

from .processes import Contender

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

AT_ONCE = 200
PROMPT = "Answer the customer in two sentences, politely, and name the next step. " * 6
T = TypeVar("T")


class State(TypedDict):
    number: int
    text: Annotated[str, operator.add]


def prompt_for(number: int) -> str:
    return f"{PROMPT}\nTicket number {number}: the lamp does not turn on."


@dataclass(frozen=True)
class Graphs:
    """A node that asks the model, and the graphs of it."""

    node: Any
    chain_of: Callable[[Sequence[Any]], Any]
    config: Callable[[], RunnableConfig | None]
    saver: Any = None

    def chain(self, length: int) -> Any:
        return self.chain_of([self.node] * length).compile(checkpointer=self.saver)

    def fan_out(self, width: int) -> Any:
        return fanned(self.node, width).compile(checkpointer=self.saver)


def with_graphs(contender: Contender[Graphs], runs: Callable[[Graphs], T]) -> Contender[T]:
    """Return the contender with what a benchmark runs on its graphs."""

    @asynccontextmanager
    async def prepared(url: str, folder: Path) -> AsyncIterator[T]:
        async with contender(url, folder) as graphs:
            yield runs(graphs)

    return prepared


def chained(nodes: Sequence[Any]) -> Any:
    from langgraph.graph import START, StateGraph

    graph: Any = StateGraph(State)
    names = [f"call_{number}" for number in range(len(nodes))]
    for name, before, node in zip(names, [START, *names], nodes, strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph


def fanned(node: Any, width: int) -> Any:
    from langgraph.graph import START, StateGraph
    from langgraph.types import Send

    def split(_: State) -> list[Any]:
        return [Send("branch", {"number": number}) for number in range(width)]

    graph: Any = StateGraph(State)
    graph.add_node("branch", node)
    graph.add_conditional_edges(START, split, ["branch"])
    return graph


def new_thread() -> RunnableConfig:
    return {"configurable": {"thread_id": os.urandom(8).hex()}}


def chat_node(url: str) -> Any:
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    chat = ChatOpenAI(model="stub", base_url=url, api_key=SecretStr("none"))

    async def ask(state: State) -> dict[str, str]:
        message = await chat.ainvoke(prompt_for(state["number"]))
        return {"text": str(message.text)}

    return ask


def question() -> Any:
    """Return stepgraph's step that asks the model."""
    from stepgraph import Ask, step

    @step("text")
    def ask(state: State) -> Ask[str]:
        return Ask(prompt_for(state["number"]))

    return ask


@contextmanager
def using_stub(url: str, **settings: Any) -> Iterator[None]:
    from stepgraph import using

    # With a key, as in life: it is looked for in all that is kept.
    os.environ.setdefault("STUB_KEY", "sk-stub-4f1c9a7be2d85036c8")
    table = {"model": "stub", "base_url": url, "api_key_env": "STUB_KEY", "max_concurrency": AT_ONCE}
    with using({**table, **settings}):
        yield


@asynccontextmanager
async def langgraph(url: str, _: Path) -> AsyncIterator[Graphs]:
    yield Graphs(chat_node(url), chained, lambda: None)


@asynccontextmanager
async def langgraph_sqlite(url: str, folder: Path) -> AsyncIterator[Graphs]:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        yield Graphs(chat_node(url), chained, new_thread, saver)


@asynccontextmanager
async def stepgraph_plain(url: str, _: Path) -> AsyncIterator[Graphs]:
    from stepgraph import chain

    with using_stub(url):
        yield Graphs(question(), lambda nodes: chain(*nodes), lambda: None)


@asynccontextmanager
async def stepgraph_session(url: str, folder: Path) -> AsyncIterator[Graphs]:
    from stepgraph import Session, chain

    with using_stub(url), Session(folder / "session.sqlite") as session:
        yield Graphs(question(), lambda nodes: chain(*nodes), session.config)

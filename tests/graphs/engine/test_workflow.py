"""Plain node functions as parts: what is injected, and what is checked that LangGraph lets pass."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command
from pydantic import BaseModel

from stepgraph import Workflow, chain
from stepgraph.state.errors import DefinitionError, InputError, StoreError


@dataclass
class Post:
    draft: str = ""
    score: int = 0


class Checked(BaseModel):
    draft: str = ""
    score: int = 0


def test_a_sync_function_gets_config_and_runtime() -> None:
    def node(post: Post, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, str]:
        return {"draft": f"{config['configurable']['color']} {type(runtime).__name__}"}

    result = chain(node).compile().invoke(Post(), {"configurable": {"color": "red"}})
    assert result["draft"] == "red Runtime"


async def test_an_async_function_gets_config_and_runtime() -> None:
    async def node(post: Post, config: RunnableConfig, *, runtime: Runtime[Any]) -> dict[str, str]:
        return {"draft": f"{config['configurable']['color']} {type(runtime).__name__}"}

    app = chain(node).compile()
    assert (await app.ainvoke(Post(), {"configurable": {"color": "red"}}))["draft"] == "red Runtime"
    assert app.invoke(Post(), {"configurable": {"color": "red"}})["draft"] == "red Runtime"


@pytest.mark.parametrize("state", [Post, Checked])
def test_a_misspelt_update_is_refused(state: Any) -> None:
    def node(post: Any) -> dict[str, str]:
        return {"darft": "x"}

    node.__annotations__["post"] = state
    with pytest.raises(DefinitionError, match=r"Node 'node' writes 'darft'.*Did you mean 'draft'\?"):
        chain(node).compile().invoke(state())


async def test_a_misspelt_update_of_an_async_node_and_of_a_command_is_refused() -> None:
    async def slow(post: Post) -> dict[str, str]:
        return {"darft": "x"}

    def command(post: Post) -> Command[Any]:
        return Command(update={"darft": "x"})

    for node in (slow, command):
        with pytest.raises(DefinitionError, match="writes 'darft'"):
            await chain(node).compile().ainvoke(Post())


def test_what_a_node_writes_to_a_pydantic_state_is_validated() -> None:
    def fits(post: Checked) -> dict[str, Any]:
        return {"score": "4"}

    def misfits(post: Checked) -> dict[str, Any]:
        return {"score": "many"}

    assert chain(fits).compile().invoke(Checked())["score"] == 4
    with pytest.raises(
        InputError, match=r"'misfits' wrote 'many' to Checked\.score: Input should be a valid"
    ):
        chain(misfits).compile().invoke(Checked())


def test_a_node_may_write_nothing_and_a_runnable_may_be_one() -> None:
    def look(post: Post) -> None: ...

    lower = RunnableLambda(lambda post: {"draft": "from a runnable"})
    assert chain(look, lower).compile().invoke(Post())["draft"] == "from a runnable"


def test_a_hand_written_graph_must_be_compiled_first() -> None:
    with pytest.raises(DefinitionError, match="compile a hand-written graph first"):
        chain(StateGraph(Post))  # type: ignore[arg-type]


def test_a_workflow_is_an_ordinary_state_graph() -> None:
    def first(post: Post) -> dict[str, str]:
        return {"draft": "first"}

    def last(post: Post) -> dict[str, str]:
        return {"draft": post.draft + " last"}

    graph: Workflow[Post] = Workflow(Post, "mine")
    name = graph.add_part(first)
    graph.add_node("last", last)
    graph.add_edge(START, name)
    graph.add_edge(name, "last")
    graph.add_edge("last", END)
    app = graph.compile()
    assert app.get_name() == "mine"
    assert app.invoke(Post())["draft"] == "first last"


@pytest.mark.parametrize("method", ["invoke", "astream", "get_state"])
def test_a_workflow_that_is_not_compiled_says_so(method: str) -> None:
    def node(post: Post) -> None: ...

    graph = chain(node, name="letters")
    with pytest.raises(AttributeError, match=rf"'letters' is not compiled yet: .*'{method}'"):
        getattr(graph, method)
    assert not hasattr(graph, "invokes")


@pytest.mark.parametrize(
    ("errors", "raised"),
    [
        ([ValueError("a"), KeyError("b")], ExceptionGroup),
        ([ValueError("a")], ExceptionGroup),
        ([ValueError("a"), StoreError("the disk is full")], StoreError),
        ([ExceptionGroup("inner", [InputError("x"), ValueError("a")])], InputError),
    ],
    ids=["errors of the code", "one error", "one of ours", "one of ours inside"],
)
@pytest.mark.parametrize("sync", [True, False])
async def test_the_errors_of_a_task_group(
    errors: list[Exception], raised: type[Exception], sync: bool
) -> None:
    async def node(post: Post) -> dict[str, str]:
        raise ExceptionGroup("unhandled errors in a TaskGroup", errors)

    app = chain(node).compile()
    with pytest.raises(raised) as caught:
        await asyncio.to_thread(app.invoke, Post()) if sync else await app.ainvoke(Post())
    group = caught.value if raised is ExceptionGroup else caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert list(group.exceptions) == errors

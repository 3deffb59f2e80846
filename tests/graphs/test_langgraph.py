"""What LangGraph offers works on a pattern as on any graph, with `session.config(...)` alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_stream_writer
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, chain, refine, step, using
from stepgraph.state.session.default import NotKeptWarning

from ..servers import Answer, ChatServer


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    approved: bool | None = None


@step("topic")
def sharpen(post: Post) -> Ask[str]:
    return Ask(f"Sharpen: {post.topic}")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


def review(post: Post) -> dict[str, Any]:
    return {"approved": interrupt({"draft": post.draft}) == "yes"}


def show(post: Post) -> None:
    get_stream_writer()({"length": len(post.draft)})


inner = chain(sharpen, write, name="inner")
app = chain(inner, review).compile()


def model(*answers: Any) -> Any:
    return using(ScriptedModel(list(answers)))


async def test_ainvoke_and_invoke_agree(session: Session) -> None:
    with model("black tea", "Boil.", "black tea", "Boil."):
        first = await inner.compile().ainvoke(Post(), session.config())
        second = inner.compile().invoke(Post(), session.config())
    assert first == second == {"topic": "black tea", "draft": "Boil.", "approved": None}


def with_saver(saver: BaseCheckpointSaver[Any]) -> None:
    own = chain(inner, review).compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}}
    with model("black tea", "Black tea is good."):
        waiting = own.invoke(Post(), config)
        assert waiting["__interrupt__"][0].value == {"draft": "Black tea is good."}
        assert own.invoke(Command(resume="yes"), config)["approved"] is True


def test_sync_callers_can_use_a_checkpointer_of_langgraphs() -> None:
    with_saver(InMemorySaver())
    with SqliteSaver.from_conn_string(":memory:") as saver, pytest.warns(NotKeptWarning):
        with_saver(saver)


async def test_values_and_updates_are_streamed(session: Session) -> None:
    graph = inner.compile()
    with model(*["black tea", "Boil."] * 3):
        values = [v["draft"] async for v in graph.astream(Post(), session.config(), stream_mode="values")]
        updates = [u async for u in graph.astream(Post(), session.config(), stream_mode="updates")]
        assert list(graph.stream(Post(), session.config(), stream_mode="updates")) == updates
    assert values == ["", "", "Boil."]
    assert updates == [{"sharpen": {"topic": "black tea"}}, {"write": {"draft": "Boil."}}]


def test_custom_data_is_streamed(session: Session) -> None:
    with model("Boil."):
        stream = chain(write, show).compile().stream(Post(), session.config(), stream_mode="custom")
        assert list(stream) == [{"length": 5}]


def test_subgraphs_are_streamed_with_their_place(session: Session) -> None:
    with model("black tea", "Boil."):
        stream = (
            chain(inner, show)
            .compile()
            .stream(Post(), session.config(), stream_mode="updates", subgraphs=True)
        )
        places = [(len(place), *update) for place, update in stream]
    assert places == [(1, "sharpen"), (1, "write"), (0, "inner"), (0, "show")]


async def test_tokens_are_streamed_and_the_usage_is_kept(server: ChatServer, session: Session) -> None:
    server.will(Answer("Boil the water.", reasoning="Hm.", cached=40))
    with using(server.spec(price={"input": 1, "output": 2})):
        graph = chain(write).compile()
        stream = graph.astream(Post(), session.config(), stream_mode="messages")
        tokens = [(message.text, meta["langgraph_node"]) async for message, meta in stream]
    shown = [text for text, node in tokens if text and node == "write"]
    assert ("".join(shown), len(shown)) == (
        "Boil the water. ",
        3,
    )  # where they are cut depends on the keys in use
    assert server.bodies[0]["stream"] is True
    (call,) = session.journal.query("SELECT * FROM calls")
    assert (call["answer"].strip(), call["reasoning"]) == ("Boil the water.", "Hm.")
    assert (call["input_tokens"], call["output_tokens"], call["cached_tokens"]) == (100, 20, 40)
    assert call["cost_usd"] == pytest.approx(140e-6)


def test_tokens_are_streamed_to_sync_callers(server: ChatServer, session: Session) -> None:
    server.will("Boil the water.")
    with using(server.spec()):
        stream = chain(write).compile().stream(Post(), session.config(), stream_mode="messages")
        assert "".join(message.text for message, _ in stream).split() == ["Boil", "the", "water."]


async def test_the_state_is_there_with_its_subgraphs(session: Session) -> None:
    def ask_inside(post: Post) -> dict[str, Any]:
        return {"approved": interrupt("inside?")}

    graph = chain(chain(write, ask_inside, name="inner"), show).compile()
    config = session.config("t")
    with model("Boil."):
        await graph.ainvoke(Post(), config)
    state = graph.get_state(config, subgraphs=True)
    assert state.next == ("inner",)
    (task,) = state.tasks
    assert task.state.values["draft"] == "Boil."
    assert task.state.next == ("ask_inside",)
    assert (await graph.aget_state(config)).interrupts[0].value == "inside?"


def test_an_interrupt_waits_for_its_answer(session: Session) -> None:
    config = session.config("t")
    with model("black tea", "Boil."):
        paused = app.invoke(Post(), config)
        assert paused["__interrupt__"][0].value == {"draft": "Boil."}
        assert session.journal.query("SELECT status FROM runs") == [{"status": "interrupted"}]
        assert app.invoke(Command(resume="yes"), config)["approved"] is True
    assert session.journal.query("SELECT status FROM runs") == [{"status": "done"}]
    visits = session.journal.query(
        "SELECT path, status FROM node_runs WHERE node = 'review' ORDER BY ended_at"
    )
    assert [visit["status"] for visit in visits] == ["interrupted", "done"]


async def test_an_interrupt_deep_in_a_loop_waits_for_its_answer(session: Session) -> None:
    loop = refine(chain(write, review), lengthy, until=lambda length: length > 4, rounds=3)
    graph = chain(loop).compile()
    config = session.config("t")
    with ScriptedModel(["Boil", "Boil it."]) as scripted, using(scripted):
        await graph.ainvoke(Post(), config)
        await graph.ainvoke(Command(resume="no"), config)
        result = await graph.ainvoke(Command(resume="yes"), config)
    assert (result["draft"], result["approved"]) == ("Boil it.", True)


def lengthy(post: Post) -> int:
    return len(post.draft)


def test_the_state_can_be_updated_by_hand(session: Session) -> None:
    config = session.config("t")
    with model("black tea", "Boil."):
        app.invoke(Post(), config)
        app.update_state(config, {"draft": "By hand."})
        assert app.get_state(config).values["draft"] == "By hand."


async def test_a_run_forks_from_an_earlier_checkpoint(session: Session) -> None:
    graph, config = inner.compile(), session.config("t")
    with ScriptedModel(["black tea", "Boil.", "Steep."]) as scripted, using(scripted):
        await graph.ainvoke(Post(), config)
        history = [state async for state in graph.aget_state_history(config)]
        assert [state.next for state in history] == [(), ("write",), ("sharpen",), ("__start__",)]
        past = history[1].config["configurable"]["checkpoint_id"]
        fork = graph.update_state(session.config("t", checkpoint_id=past), {"topic": "green tea"})
        branch = session.config("t", checkpoint_id=fork["configurable"]["checkpoint_id"])
        result = await graph.ainvoke(None, branch)
    assert (result["topic"], result["draft"]) == ("green tea", "Steep.")
    assert [name for name, _ in scripted.asks] == ["sharpen", "write", "write"]


async def test_a_batch_of_threads_runs_at_once(session: Session) -> None:
    graph = chain(write).compile()
    with using(ScriptedModel(lambda request, context: f"on {context.thread_id}")):
        results = await graph.abatch([Post()] * 5, [session.config(f"t{n}") for n in range(5)])
    assert [result["draft"] for result in results] == [f"on t{n}" for n in range(5)]


def test_an_async_node_serves_sync_callers_with_interrupts_and_streams(session: Session) -> None:
    async def node(post: Post) -> dict[str, Any]:
        get_stream_writer()("writing")
        draft = await write.answer(post)
        return {"draft": draft, "approved": interrupt(draft) == "yes"}

    graph, config = chain(chain(node)).compile(), session.config("t")
    with model("Boil."):
        assert [data for _, data in graph.stream(Post(), config, stream_mode="custom", subgraphs=True)] == [
            "writing"
        ]
        assert graph.invoke(Command(resume="yes"), config)["approved"] is True
    assert session.journal.query("SELECT path, replays FROM calls") == [
        {"path": "chain_node/node", "replays": 1}
    ]

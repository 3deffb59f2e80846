"""A migration makes a thread of an old version one of the new: wholly or not at all, once, without a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import (
    Session,
    chain,
    migration,
    resume,
    versioned,
)
from stepgraph.errors import DefinitionError, GraphChanged, MigrationFailed, ThreadBusy
from stepgraph.state.journal import standing
from stepgraph.state.session import migrating
from stepgraph.tracing.record.history import read_history

from .migrating_cases import split, states


def asking(state: Any, name: str = "ask") -> Callable[..., Any]:
    def ask(person: Any) -> dict[str, str]:
        return {"text": interrupt("who?")}

    ask.__annotations__["person"] = state
    ask.__name__ = name
    return ask


def ended(state: Any) -> Callable[..., Any]:
    def end(person: Any) -> dict[str, str]:
        get = person.get if isinstance(person, dict) else lambda name: getattr(person, name, "")
        return {"text": f"{get('text')} {get('first') or get('name')}"}

    end.__annotations__["person"] = state
    return end


def graph(state: Any, version: str, *migrations: Any, ask: str = "ask") -> Any:
    return versioned(chain(asking(state, ask), ended(state), name="greet"), version, migrations).compile()


@pytest.mark.parametrize("kind", ["dataclass", "pydantic", "TypedDict"])
@pytest.mark.parametrize("way", ["resume", "invoke", "ainvoke", "stream", "astream"])
async def test_a_thread_goes_on_under_the_new_version(session: Session, kind: str, way: str) -> None:
    old, new = states(kind)
    before = graph(old, "1")
    await before.ainvoke({"name": "Ada Lovelace"}, session.config("t"))
    asked = before.get_state(session.config("t")).interrupts[0].id
    after = graph(new, "2", split)
    answer: Any = Command(resume={asked: "hi"})
    if way == "resume":
        values = await asyncio.to_thread(lambda: resume(after, session, "t", answers={asked: "hi"}).values)
    elif way == "stream":
        values = await asyncio.to_thread(
            lambda: [*after.stream(answer, session.config("t"), stream_mode="values")][-1]
        )
    elif way == "astream":
        parts = after.astream(answer, session.config("t"), stream_mode="values")
        values = [part async for part in parts][-1]
    elif way == "invoke":
        values = await asyncio.to_thread(lambda: after.invoke(answer, session.config("t")))
    else:
        values = await after.ainvoke(answer, session.config("t"))
    assert values == {"first": "Ada", "last": "Lovelace", "text": "hi Ada"}


def test_a_hand_written_graph_is_migrated_too(session: Session) -> None:
    def made(state: Any, version: str, *migrations: Any) -> Any:
        built = StateGraph(state)
        built.add_node("ask", asking(state))
        built.add_edge(START, "ask")
        built.add_edge("ask", END)
        return versioned(built, version, migrations).compile()

    old, new = states("TypedDict")
    before, after = made(old, "1"), made(new, "2", split)
    before.invoke({"name": "Ada Lovelace"}, session.config("t", graph=before))
    values = after.invoke(Command(resume="hi"), session.config("t", graph=after))
    assert values == {"first": "Ada", "last": "Lovelace", "text": "hi"}


@pytest.fixture
def parked(session: Session) -> tuple[Session, Any]:
    """A session with a thread that waits under the old state, and the new state."""
    old, new = states("dataclass")
    graph(old, "1").invoke({"name": "Ada Lovelace"}, session.config("t"))
    return session, new


def rows(session: Session) -> list[dict[str, Any]]:
    session.journal.flush()
    order = "ORDER BY checkpoint_ns, checkpoint_id"
    return session.journal.query(f"SELECT * FROM checkpoints {order}") + session.journal.query(
        "SELECT thread_id, fingerprint FROM runs"
    )


def test_the_old_checkpoint_stays_and_the_new_one_says_what_it_is(parked: tuple[Session, Any]) -> None:
    session, new = parked
    before = rows(session)
    migrating.migrate(session, graph(new, "2", split), "t")
    now, was = [*session.checkpointer.list({"configurable": {"thread_id": "t"}})][:2]
    assert (now.metadata["source"], now.metadata["migrated_from"]) == ("migration", "1")
    assert now.parent_config == was.config
    assert was.checkpoint["channel_values"]["name"] == "Ada Lovelace"
    assert now.checkpoint["channel_values"]["first"] == "Ada"
    assert len(rows(session)) == len(before) + 1
    assert [entry.superstep for entry in read_history(session, "t")][-2:] == [0, 0]


def test_it_happens_once(parked: tuple[Session, Any]) -> None:
    session, new = parked
    app = graph(new, "2", split)
    assert migrating.migrate(session, app, "t") is not None
    after = rows(session)
    assert migrating.migrate(session, app, "t") is None
    assert rows(session) == after


@pytest.mark.parametrize("at", [1, 3, 9])
def test_a_kill_in_the_middle_leaves_nothing_half(
    parked: tuple[Session, Any], at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, new = parked
    before = rows(session)
    made = migrating._statements

    def broken(*args: Any) -> list[Any]:
        statements = made(*args)
        return [*statements[: min(at, len(statements))], ("INSERT INTO nowhere VALUES (1)", ())]

    app = graph(new, "2", split)
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "_statements", broken)
        with pytest.raises(Exception, match="nowhere"):
            migrating.migrate(session, app, "t")
    assert rows(session) == before
    assert app.invoke(Command(resume="hi"), session.config("t"))["text"] == "hi Ada"


def test_a_thread_goes_through_all_migrations_from_its_version(session: Session) -> None:
    @dataclass
    class Person:
        full: str
        text: str = ""

    @migration(from_="2")
    def joined(old: dict[str, Any]) -> Person:
        return Person(full=f"{old['last']}, {old['first']}", text=old.get("text", ""))

    old, middle = states("dataclass")
    graph(old, "1").invoke({"name": "Ada Lovelace"}, session.config("first"))
    graph(middle, "2").invoke({"first": "Alan", "last": "Turing"}, session.config("second"))
    app = graph(Person, "3", split, joined)
    for thread, full in (("first", "Lovelace, Ada"), ("second", "Turing, Alan")):
        assert app.invoke(Command(resume="hi"), session.config(thread))["full"] == full


@pytest.mark.parametrize(
    ("body", "told", "where"),
    [
        (lambda old: 1 / 0, "raised ZeroDivisionError", ""),
        (lambda old: 7, "raised TypeError", ""),
        (lambda old: {**old, "first": "a", "last": "b"}, "'name', which Person does not have", "name"),
        (lambda old: {"first": 1, "last": "b"}, "'first' = 1 does not fit Person", "first"),
        (lambda old: {"first": "a"}, "new state cannot be made.*'last'", ""),
    ],
)
def test_what_goes_wrong_is_told_and_the_thread_stays(
    parked: tuple[Session, Any], body: Any, told: str, where: str
) -> None:
    session, new = parked
    before = rows(session)

    def wrong(old: dict[str, Any]) -> Any:
        return body(old)

    app = graph(new, "2", migration(from_="1")(wrong))
    with pytest.raises(MigrationFailed, match=told) as failed:
        app.invoke(Command(resume="hi"), session.config("t"))
    assert (failed.value.thread, failed.value.function, failed.value.field) == ("t", "wrong", where)
    assert rows(session) == before
    assert not session.claims.is_run("t")


def test_a_node_that_waits_and_is_gone_is_told(parked: tuple[Session, Any]) -> None:
    session, new = parked
    with pytest.raises(MigrationFailed, match=r"node 'ask'.*nodes=\{'ask': …\}"):
        resume(graph(new, "2", split, ask="inquire"), session, "t", answer="hi")
    moved = migration(from_="1", nodes={"ask": "inquire"})(split.function)
    result = resume(graph(new, "2", moved, ask="inquire"), session, "t", answer="hi")
    assert result.values["text"] == "hi Ada"


def test_a_state_that_was_edited_while_a_question_waits_is_migrated(parked: tuple[Session, Any]) -> None:
    session, new = parked
    graph(states("dataclass")[0], "1").update_state(session.config("t"), {"name": "Grace Hopper"})
    values = graph(new, "2", split).invoke(Command(resume="hi"), session.config("t"))
    assert values == {"first": "Grace", "last": "Hopper", "text": "hi Grace"}


def test_a_thread_that_runs_is_left_alone(parked: tuple[Session, Any]) -> None:
    session, new = parked
    with Session(session.database) as other:
        other.claims.acquire("t")
        before = rows(session)
        with pytest.raises(ThreadBusy):
            resume(graph(new, "2", split), session, "t", answer="hi")
        assert rows(session) == before


def test_an_ended_thread_is_migrated_when_it_is_told_the_next_thing(session: Session) -> None:
    old, new = states("dataclass")
    before = graph(old, "1")
    before.invoke({"name": "Ada Lovelace"}, session.config("t"))
    before.invoke(Command(resume="hi"), session.config("t"))
    after = graph(new, "2", split)
    after.invoke({"text": "again"}, session.config("t"))
    assert after.invoke(Command(resume="ho"), session.config("t"))["text"] == "ho Ada"


def test_another_version_without_a_migration_is_compared_by_its_shape(parked: tuple[Session, Any]) -> None:
    session, new = parked
    with pytest.raises(GraphChanged, match="field 'name' is gone"):
        graph(new, "2").invoke(Command(resume="hi"), session.config("t"))


def test_versions_that_make_no_sense_are_refused() -> None:
    app = chain(asking(states("dataclass")[0]))
    with pytest.raises(DefinitionError, match="two migrations are from the version '1'"):
        versioned(app, "2", [split, split])
    with pytest.raises(DefinitionError, match="from '1' itself"):
        versioned(app, "1", [split])
    with pytest.raises(DefinitionError, match="is no migration"):
        versioned(app, "2", [split.function])  # type: ignore[list-item]
    for wrong in ("", None, 2):
        with pytest.raises(DefinitionError, match="name of a version"):
            versioned(app, wrong)  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="name of a version"):
            migration(wrong)  # type: ignore[arg-type]


def test_the_places_of_a_thread_are_read_by_its_record(parked: tuple[Session, Any]) -> None:
    session, _ = parked
    begun = standing.begun_with(session.journal, "t")
    assert begun is not None
    assert begun[0] == "interrupted"
    assert standing.has_checkpoint(session.journal, "t")
    assert standing.begun_with(session.journal, "none") is None

"""An answer that nothing waits for is refused, says what is so, and changes nothing on the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, review, section, step, using
from stepgraph.runners.run import aresume, arun, resume, run
from stepgraph.state.errors import InputError, Rejected
from stepgraph.state.session import redelivery

from ...committed import everything


@dataclass
class Parcel:
    to: str
    label: str = ""
    note: str = ""
    stamp: Any = ""


@step("label")
def write(parcel: Parcel) -> Ask[str]:
    return Ask(f"A label for {parcel.to}")


@review("label")
def look(parcel: Parcel) -> str:
    return f"Stick it on the parcel to {parcel.to}?"


@review("note")
def look_again(parcel: Parcel) -> str:
    return "And the note?"


def ask_for_a_stamp(parcel: Parcel) -> dict[str, Any]:
    return {"stamp": interrupt("which stamp?")}


def plain_graph() -> Any:
    graph = StateGraph(Parcel)
    graph.add_node("ask", ask_for_a_stamp)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile()


GRAPHS: dict[str, Any] = {
    "review": chain(write, look).compile(),
    "nested review": chain(chain(write, chain(look))).compile(),
    "interrupt": chain(write, ask_for_a_stamp).compile(),
    "foreign graph": plain_graph(),
}
YES, NO = {"decision": "approve"}, {"decision": "reject", "reason": "no"}


def by_run(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return run(graph, Command(resume=answer), session, thread)


def by_arun(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return asyncio.run(arun(graph, Command(resume=answer), session, thread))


def by_resume(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return resume(graph, session, thread, answer=answer)


def by_answers(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return resume(graph, session, thread, answers={"0" * 32: answer})


def by_invoke(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return graph.invoke(Command(resume=answer), session.config(thread))


def by_stream(graph: Any, session: Session, thread: str, answer: Any) -> Any:
    return list(graph.stream(Command(resume=answer), session.config(thread)))


Answering = Callable[[Any, Session, str, Any], Any]
WAYS = [by_run, by_arun, by_resume, by_answers, by_invoke, by_stream]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    model = ScriptedModel(["Fragile"] * 4)
    with using(model):
        yield model


def refused(session: Session, way: Answering, graph: Any, thread: str, answer: Any = NO) -> str:
    before = everything(session)
    with pytest.raises(InputError) as error:
        way(graph, session, thread, answer)
    assert everything(session) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "way"),
    # What LangGraph itself runs of its own graphs, no check of ours sees.
    [(k, w) for k in GRAPHS for w in WAYS if k != "foreign graph" or w not in (by_invoke, by_stream)],
)
def test_an_answer_that_nothing_waits_for(
    kind: str, way: Answering, session: Session, model: ScriptedModel
) -> None:
    graph = GRAPHS[kind]
    assert "'t' waits for an answer: it has not begun" in refused(session, way, graph, "t")
    assert run(graph, Parcel("Ada"), session, "t").status == "interrupted"
    assert resume(graph, session, "t", answer=YES).status == "done"
    if kind == "interrupt" and way in (by_invoke, by_stream):
        before = graph.get_state(session.config("t")).values
        way(graph, session, "t", NO)  # LangGraph's call and its own interrupt: the state stands
        assert graph.get_state(session.config("t")).values == before
    else:
        assert "'t' waits for an answer: it has ended" in refused(session, way, graph, "t")
    assert resume(graph, session, "t").status == "done"


@pytest.mark.parametrize("way", WAYS)
def test_a_rejection_stands(way: Answering, session: Session, model: ScriptedModel) -> None:
    graph = GRAPHS["review"]
    run(graph, Parcel("Ada"), session, "t")
    with pytest.raises(Rejected):
        resume(graph, session, "t", answer=NO)
    assert "what it asked was answered" in refused(session, way, graph, "t", YES)


@pytest.mark.parametrize("way", WAYS)
def test_the_end_of_a_budget_is_no_question(way: Answering, session: Session, model: ScriptedModel) -> None:
    graph = GRAPHS["review"]
    assert run(graph, Parcel("Ada"), session, "t", budget=Budget(calls=0)).status == "partial"
    assert "Go on without an answer" in refused(session, way, graph, "t", YES)
    assert resume(graph, session, "t", budget=Budget()).status == "interrupted"


@pytest.mark.parametrize("way", [by_run, by_answers, by_invoke])
def test_the_answer_to_one_question_is_not_taken_for_the_next(
    way: Answering, session: Session, model: ScriptedModel
) -> None:
    graph = chain(look, look_again).compile()
    (first,) = run(graph, Parcel("Ada"), session, "t").waiting
    (second,) = resume(graph, session, "t", answers={first.id: YES}).waiting
    told = refused(session, way, graph, "t", {first.id: YES}) if way is not by_answers else ""
    told = told or refused(session, way, graph, "t")
    assert f"{second.id} (look_again)" in told
    assert resume(graph, session, "t", answers={second.id: YES}).status == "done"


@pytest.mark.parametrize("way", [by_run, by_resume, by_invoke])
def test_one_of_two_that_wait_is_answered_once(
    way: Answering, session: Session, model: ScriptedModel
) -> None:
    graph = chain(section({"one": look, "two": look_again})).compile()
    waiting = run(graph, Parcel("Ada"), session, "t").waiting
    one, two = sorted(waiting, key=lambda question: str(question.value["review"]))
    told = refused(session, way, graph, "t", YES)
    assert f"{one.id} (look)" in told
    assert f"{two.id} (look_again)" in told
    assert resume(graph, session, "t", answers={one.id: YES}).waiting == (two,)
    assert f"{two.id} (look_again)" in refused(session, by_run, graph, "t", {one.id: NO})
    assert way(graph, session, "t", YES)
    assert resume(graph, session, "t").status == "done"


@pytest.mark.parametrize("trouble", ["stopped", "failed"])
async def test_a_node_that_ended_on_its_answer_goes_on(trouble: str, session: Session) -> None:
    troubled, began = True, asyncio.Event()

    async def pick(parcel: Parcel) -> dict[str, str]:
        stamp = interrupt("which stamp?")
        began.set()
        if troubled and trouble == "stopped":
            await asyncio.Event().wait()
        if troubled:
            raise ConnectionError("the printer is off")
        return {"stamp": stamp}

    graph = chain(pick).compile()
    (question,) = (await arun(graph, Parcel("Ada"), session, "t")).waiting
    answers = {question.id: "blue"}
    answering = asyncio.create_task(aresume(graph, session, "t", answers=answers))
    await began.wait()
    if trouble == "stopped":
        answering.cancel()
    with pytest.raises((asyncio.CancelledError, ConnectionError)):
        await answering
    troubled = False
    # The answer to a node that failed is on record; one that was stopped may be given again.
    again = answers if trouble == "stopped" else None
    assert (await aresume(graph, session, "t", answers=again)).values["stamp"] == "blue"


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_state_no_longer_lists_what_was_answered_below(depth: int, session: Session) -> None:
    troubled = True

    def print_it(parcel: Parcel) -> dict[str, str]:
        if troubled:
            raise ConnectionError("the printer is off")
        return {"note": f"printed: {parcel.note}"}

    part: Any = chain(look, print_it)
    for _ in range(depth):
        part = chain(part)
    graph = part.compile()
    config = session.config("t")
    with using(ScriptedModel(["dear Ada"])):
        graph.invoke(Parcel("Ada"), config)
        (question,) = graph.get_state(config).interrupts
        with pytest.raises(ConnectionError):
            graph.invoke(Command(resume={question.id: YES}), config)
        state = graph.get_state(config)
        assert (state.interrupts, [task.interrupts for task in state.tasks]) == ((), [()])
        assert state.next
        troubled = False
        assert graph.invoke(None, config)["note"].startswith("printed")


async def test_run_compares_an_input_with_its_thread_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, looked = GRAPHS["interrupt"], []
    for owner, name in ((app, "aget_state"), (redelivery, "abegun_at")):
        method: Any = getattr(owner, name)
        noted = partial(_noted, looked, name, method)
        monkeypatch.setattr(owner, name, noted)
    with using(ScriptedModel(lambda *_: "a label")):
        await arun(app, Parcel("Ada"), session, "t")
        assert looked.count("abegun_at") == 0, "a new thread has no input yet"
        looked.clear()
        await arun(app, Command(resume="red"), session, "t")
    assert looked.count("aget_state") == 1


def _noted(looked: list[str], name: str, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    looked.append(name)
    return method(*args, **options)

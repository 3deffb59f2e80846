"""Drawings: the recorded shape, with the way that a run took through it."""

from __future__ import annotations

from typing import Any

from langgraph.graph import StateGraph
from langgraph.types import Command

from stepgraph import ScriptedModel, Session, using
from stepgraph.ui.drawings import Drawing, draw
from stepgraph.ui.records import Reader

from .runs import Note, reply_to, run_blog


def drawing_of(session: Session, thread: str) -> Drawing:
    drawing = draw(Reader(session).run(thread))
    assert drawing is not None
    return drawing


def test_nested_graphs_hold_their_nodes(session: Session) -> None:
    run_blog(session, "one", verdicts=(False, True))
    drawing = drawing_of(session, "one")
    nodes = {node.path: node for node in drawing.nodes}
    outer, inner = nodes["howto/refine_write"].box, nodes["howto/refine_write/judge"].box
    assert outer.x < inner.x
    assert inner.x + inner.width < outer.x + outer.width
    assert outer.y < inner.y
    assert inner.bottom < outer.bottom
    assert nodes["howto/refine_write"].inner
    judged = nodes["howto/refine_write/judge"].passed
    assert judged is not None
    assert (judged.executions, judged.cost.calls, judged.status) == (2, 1, "done"), (
        "the same draft is not judged again"
    )
    assert nodes["opinion/write"].passed is None
    work = nodes["howto/fan_out_work/work"].passed
    assert work is not None
    assert work.executions == 3


def test_edges_say_whether_they_were_taken(session: Session) -> None:
    run_blog(session, "one", verdicts=(False, True))
    lines = drawing_of(session, "one").lines
    choices = sorted(line.taken for line in lines if line.choice)
    assert choices[-1] == 3, "one edge to each of the three items"
    assert choices.count(0) == 3, "not taken: opinion, its loop, and past the items"
    assert any(not line.choice and line.taken == 0 for line in lines)


def test_a_graph_without_a_shape_on_record_is_drawn_from_its_visits(session: Session) -> None:
    def hop(note: Note) -> Command[Any]:
        return Command(goto="reply", update={"text": "hopped"})

    graph = StateGraph(Note)
    graph.add_node("hop", hop, destinations=("reply",))
    graph.add_node("reply", reply_to)
    graph.add_edge("__start__", "hop")
    with using(ScriptedModel(["hello"])):
        graph.compile().invoke(Note("hi"), session.config("plain"))
    assert session.journal.query("SELECT fingerprint FROM runs")[0]["fingerprint"] is None
    drawing = drawing_of(session, "plain")
    nodes = {node.path: node.box for node in drawing.nodes}
    assert nodes["__start__"].y < nodes["hop"].y < nodes["reply"].y < nodes["__end__"].y
    assert [line.taken for line in drawing.lines] == [1, 1, 1]


def test_a_run_that_did_nothing_has_no_drawing(session: Session) -> None:
    session.journal.start_run("empty")
    session.journal.flush()
    assert draw(Reader(session).run("empty")) is None

"""Where two threads differ, the first difference first."""

from __future__ import annotations

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from stepgraph import Session
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.diff import choice_of, diff
from stepgraph.tracing.record.reads import read_calls

from ..travels import Post, asking, first_run


def test_two_equal_runs_do_not_differ(session: Session) -> None:
    first_run(session, "a")
    first_run(session, "b")
    found = diff(session, "a", "b")
    assert found.same
    assert found.a.cost.usd == found.b.cost.usd
    assert found.a.cost.known_usd > 0
    assert found.first is None


def test_another_answer_another_path_another_state(session: Session) -> None:
    app = first_run(session)
    first = read_calls(session.journal, "t")[0]
    new = fork(session, "t", call=first["id"], answer="better")
    with asking(judge=[{"score": 5}], shorten="New"):
        app.invoke(None, session.config(new))
    found = diff(session, "t", new)

    assert not found.same
    assert found.first is not None
    assert (found.first.path, found.first.what) == ("polish/write", ("output",))
    assert found.calls[0].path == "polish/write"
    assert found.calls[0].what == ("model", "answer")
    assert (found.calls[0].a or {})["answer"] == "one"
    assert (found.calls[0].b or {})["answer"] == "better"
    assert ("polish/write", ("only in a",)) in [(call.path, call.what) for call in found.calls]
    assert found.parting == 2
    parting = found.steps[2]
    assert (parting.path, parting.what[0]) == ("polish/judge", "decision")
    assert [choice_of(span) for span in (parting.a, parting.b) if span] == ["again", "approved"]
    assert found.state["title"] == ("Title", "New")
    assert found.state["draft"] == ("two", "better")
    assert "topic" not in found.state
    assert found.b.cost.known_usd < found.a.cost.known_usd


def test_branches_of_a_fan_out_are_paired_by_what_they_ask(session: Session) -> None:
    first_run(session, "a")
    app = first_run(session, "b")
    tag = [call for call in read_calls(session.journal, "b") if call["step"] == "tag"][2]
    new = fork(session, "b", call=tag["id"], answer="y")
    with asking():
        app.invoke(None, session.config(new))
    found = diff(session, "a", new)
    (difference,) = found.calls
    assert difference.path == "tagged"
    assert (difference.a or {})["messages"] == (difference.b or {})["messages"] == tag["messages"]
    assert found.parting is None
    assert not found.same


def test_which_of_two_branches_began_first_is_no_difference(session: Session) -> None:
    builder = StateGraph(Post)
    for node in ("left", "right"):
        builder.add_node(node, lambda post: {})
        builder.add_edge(START, node)
        builder.add_edge(node, END)
    app = builder.compile()
    for thread in ("a", "b"):
        app.invoke(Post("tea"), session.config(thread))
    for thread, first in (("a", "left"), ("b", "right")):
        sql = "UPDATE node_runs SET started_at = 1 WHERE thread_id = ? AND node = ?"
        session.journal.write([(sql, (thread, first))])
    assert diff(session, "a", "b").same


def test_only_the_interrupts_answer_differs(session: Session) -> None:
    app = first_run(session)
    new = fork(session, "t")
    app.invoke(Command(resume="yes"), session.config("t"))
    app.invoke(Command(resume="no"), session.config(new))
    found = diff(session, "t", new)
    assert (found.calls, found.parting, found.state) == ([], None, {"approved": ("yes", "no")})
    assert not found.same

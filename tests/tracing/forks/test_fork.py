"""Forks: the new thread begins right there, and the old one stays as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import ScriptedModel, Session, chain, using
from stepgraph.state.errors import InputError
from stepgraph.state.journal.records import Description
from stepgraph.tracing.forks.fork import find_call, fork
from stepgraph.tracing.record.diff import diff
from stepgraph.tracing.record.history import CheckpointView, read_history
from stepgraph.tracing.record.read_spans import read_spans
from stepgraph.tracing.record.reads import read_calls
from stepgraph.tracing.record.threads import find_thread

from ..travels import Post, asking, first_run, graph, name, rows_of


def steps_of(session: Session, thread: str, source: str) -> list[str]:
    return sorted(call["step"] for call in read_calls(session.journal, thread) if call["source"] == source)


def test_the_old_thread_stays_as_it_was(session: Session) -> None:
    app = first_run(session)
    before = rows_of(session, "t")
    new = fork(session, "t", 1, changes={"topic": "coffee"}, graph=app)
    with asking():
        app.invoke(None, session.config(new))
    assert rows_of(session, "t") == before
    assert app.get_state(session.config(new)).values["topic"] == "coffee"


def test_the_end_of_an_interrupted_thread_is_copied_whole_and_costs_nothing(session: Session) -> None:
    app = first_run(session)
    new = fork(session, "t")
    assert find_thread(session.journal, new).status == "interrupted"
    assert steps_of(session, new, "copied") == steps_of(session, "t", "model")
    assert session.spent(new).calls == 0
    assert find_thread(session.journal, new).cost.usd == 0
    assert "unfinished" not in {
        span.status for span in read_spans(session.journal.query, new) if span.kind == "node"
    }
    assert find_thread(session.journal, "t").cost.known_usd > 0
    with asking() as asked:
        assert app.invoke(Command(resume="no"), session.config(new))["approved"] == "no"
        assert app.invoke(Command(resume="yes"), session.config("t"))["approved"] == "yes"
    assert asked.asks == []


def test_an_answered_interrupt_is_asked_again_in_the_fork(session: Session) -> None:
    app = first_run(session)
    app.invoke(Command(resume="yes"), session.config("t"))
    new = fork(session, "t", 3)
    assert find_thread(session.journal, new).status == "queued"
    assert "__interrupt__" in app.invoke(None, session.config(new))
    assert app.invoke(Command(resume="no"), session.config(new))["approved"] == "no"
    assert app.get_state(session.config("t")).values["approved"] == "yes"


def test_what_ran_after_the_checkpoint_runs_again_and_what_ran_before_does_not(session: Session) -> None:
    app = first_run(session)
    new = fork(session, "t", 1)
    with asking(tag="new", name="Other", shorten="O") as asked:
        state = app.invoke(None, session.config(new))
    assert sorted(step for step, _ in asked.asks) == ["name", "shorten", "tag", "tag", "tag"]
    assert (state["tags"], state["title"], state["draft"]) == (["new"] * 3, "O", "two")
    assert steps_of(session, new, "copied") == ["judge", "judge", "write", "write"]


def test_a_nested_checkpoint_is_gone_on_from_inside_the_nested_graph(session: Session) -> None:
    app = first_run(session)
    (nested,) = read_history(session, "t")[1].nested.values()
    new = fork(session, "t", nested[3].checkpoint_id)  # the first draft is written
    with asking(judge=[{"score": 4}]) as asked:
        state = app.invoke(None, session.config(new))
    assert asked.asks[0][0] == "judge"
    assert (state["draft"], steps_of(session, new, "copied")) == ("one", ["write"])


def test_a_nested_state_can_be_changed(session: Session) -> None:
    app = first_run(session)
    (nested,) = read_history(session, "t")[1].nested.values()
    new = fork(session, "t", nested[3].checkpoint_id, changes={"draft": "mine"}, graph=app)
    with asking(judge=[{"score": 4}]) as asked:
        assert app.invoke(None, session.config(new))["draft"] == "mine"
    assert asked.asks[0][1].messages[0]["content"] == "Grade mine"


def test_one_call_gets_another_answer_and_all_beside_it_is_kept(session: Session) -> None:
    app = first_run(session)
    calls = read_calls(session.journal, "t")
    second = [call for call in calls if call["step"] == "tag"][1]
    new = fork(session, "t", call=second["id"], answer="given")
    with asking() as asked:
        state = app.invoke(None, session.config(new))
    assert sorted(state["tags"]) == ["given", "x", "x"]
    assert sorted(step for step, _ in asked.asks) == ["name", "shorten"]
    assert steps_of(session, new, "override") == ["tag"]


def test_one_call_of_a_node_with_two_is_replaced_and_those_after_it_are_asked(session: Session) -> None:
    app = first_run(session)
    new = fork(session, "t", call="name", answer="Quick")
    with asking(shorten="Q") as asked:
        assert app.invoke(None, session.config(new))["title"] == "Q"
    assert [(step, request.messages[0]["content"]) for step, request in asked.asks] == [
        ("shorten", "Shorten Quick")
    ]
    assert "shorten" not in steps_of(session, new, "copied")

    new = fork(session, "t", call="shorten", answer="S")
    with asking() as asked:
        assert app.invoke(None, session.config(new))["title"] == "S"
    assert asked.asks == []


def test_the_interrupt_after_a_replaced_call_is_asked_again(session: Session) -> None:
    async def reviewed(post: Post) -> dict[str, str]:
        return {"title": await name.answer(post), "approved": interrupt("Good?")}

    app = chain(reviewed).compile()
    with asking():
        app.invoke(Post("tea"), session.config("t"))
        app.invoke(Command(resume="yes"), session.config("t"))
    new = fork(session, "t", call="name", answer="Better")
    with asking() as asked:
        assert "__interrupt__" in app.invoke(None, session.config(new))
        state = app.invoke(Command(resume="no"), session.config(new))
    assert (state["title"], state["approved"], asked.asks) == ("Better", "no", [])


def test_a_call_in_a_nested_loop_is_asked_again(session: Session) -> None:
    app = first_run(session)
    first_judge = next(call for call in read_calls(session.journal, "t") if call["step"] == "judge")
    new = fork(session, "t", call=first_judge["id"])
    with asking(judge=[{"score": 5}]) as asked:
        assert app.invoke(None, session.config(new))["draft"] == "one"
    assert asked.asks[0][0] == "judge"
    assert steps_of(session, new, "copied") == ["write"]


def test_a_fork_of_a_run_that_died_replays_what_was_answered(session: Session) -> None:
    app = first_run(session, "whole")
    with asking(shorten=[RuntimeError("died")]), pytest.raises(RuntimeError):
        app.invoke(Post("tea"), session.config("t"))
    new = fork(session, "t")
    assert find_thread(session.journal, new).status == "queued"
    with asking() as asked:
        assert app.invoke(None, session.config(new))["title"] == "Title"
    assert [step for step, _ in asked.asks] == ["shorten"]


def test_changes_set_a_field_even_where_a_reducer_would_add(session: Session) -> None:
    app = first_run(session)
    new = fork(session, "t", 2, changes={"tags": ["only"], "mark": {"score": 1}}, graph=app)
    values = app.get_state(session.config(new)).values
    assert (values["tags"], values["mark"].score) == (["only"], 1)
    assert app.get_state(session.config(new)).next == ("titled",)
    assert find_thread(session.journal, new).status == "queued"


def test_after_branches_that_wrote_together_the_edges_of_all_are_followed(session: Session) -> None:
    builder = StateGraph(Post)
    builder.add_node("left", lambda post: {"draft": "l"})
    builder.add_node("right", lambda post: {"title": "r"})
    builder.add_node("both", lambda post: {"approved": f"{post.draft}{post.title}{post.tags}"})
    for node in ("left", "right"):
        builder.add_edge(START, node)
    builder.add_edge(["left", "right"], "both")
    builder.add_edge("both", END)
    app = builder.compile()
    app.invoke(Post("tea"), session.config("t"))
    new = fork(session, "t", 1, changes={"tags": ["set"]}, graph=app)
    assert app.invoke(None, session.config(new))["approved"] == "lr['set']"


def test_a_nested_state_with_reducers_is_changed_once(session: Session) -> None:
    inner = chain(lengthen, lengthen, name="inner")
    app = chain(lengthen, inner, lengthen).compile()
    app.invoke(Post("tea"), session.config("t"))
    (nested,) = read_history(session, "t")[2].nested.values()
    point = next(moment for moment in nested if moment.wrote == ("lengthen",))
    new = fork(session, "t", point.checkpoint_id, changes={"tags": ["only"]}, graph=app)
    assert app.invoke(None, session.config(new))["tags"] == ["only", "x", "x"]
    assert app.get_state(session.config("t")).values["tags"] == ["x"] * 4


def lengthen(post: Post) -> dict[str, list[str]]:
    return {"tags": ["x"]}


def test_the_run_names_its_parent(session: Session) -> None:
    first_run(session)
    described = Description("post.py:graph", {"writer": "local"}, {"topic": "tea"})
    session.journal.start_run("t", description=described)
    new = fork(session, "t", 1, models={"judge": "openai:m"}, new_thread="other")
    (run,) = rows_of(session, new)["runs"]
    point = read_history(session, "t")[2]
    assert (run["thread_id"], run["parent_thread"], run["parent_checkpoint"]) == (
        "other",
        "t",
        point.checkpoint_id,
    )
    assert (run["graph"], run["models"]) == ("post.py:graph", '{"writer": "local", "judge": "openai:m"}')


def test_a_fork_can_be_forked(session: Session) -> None:
    app = first_run(session)
    once = fork(session, "t", call="name", answer="First")
    with asking():
        app.invoke(None, session.config(once))
    twice = fork(session, once, 1)
    with asking(name="Second") as asked:
        app.invoke(None, session.config(twice))
    assert len(asked.asks) == 5
    assert steps_of(session, twice, "copied") == ["judge", "judge", "write", "write"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"at": 77}, "no checkpoint '77'"),
        ({"at": "1"}, "queued"),
        ({"at": "zz"}, "stepgraph history t"),
        ({"changes": {"topci": "x"}}, "Did you mean 'topic'?"),
        ({"changes": {"mark": "x"}}, "does not fit Post"),
        ({"call": "shortn"}, "Did you mean 'shorten'?"),
        ({"call": "name", "at": 1}, "give one"),
        ({"answer": "x"}, "name it"),
        ({"new_thread": "t"}, "exists already"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    session: Session, arguments: dict[str, Any], told: str
) -> None:
    app = first_run(session)
    if arguments == {"at": "1"}:  # a number is a superstep, never the beginning of an id
        assert find_thread(session.journal, fork(session, "t", "1")).status == told
        return
    with pytest.raises(InputError, match=re.escape(told)):
        fork(session, "t", graph=app, **arguments)
    assert len(session.journal.query("SELECT 1 FROM runs")) == 1


def test_a_beginning_that_fits_several_checkpoints_is_refused(session: Session) -> None:
    first_run(session)
    ids = [moment.checkpoint_id for moment in read_history(session, "t")]
    with pytest.raises(InputError, match="checkpoints of 't' begin with"):
        fork(session, "t", ids[0][:4])
    assert fork(session, "t", ids[2][:18])


def test_a_call_is_found_by_the_beginning_of_its_id_or_as_the_last_of_its_step(session: Session) -> None:
    first_run(session)
    calls = read_calls(session.journal, "t")
    assert find_call(session, "t", calls[0]["id"][:8])["id"] == calls[0]["id"]
    assert find_call(session, "t", "write")["answer"] == "two"
    assert find_call(session, "t", "polish/write")["answer"] == "two"


def every_moment(moments: list[CheckpointView]) -> Iterator[CheckpointView]:
    for moment in moments:
        yield moment
        for nested in moment.nested.values():
            yield from every_moment(nested)


def by_prompt(request: Any, context: Any) -> Any:
    """Answer so that it depends on nothing but the prompt."""
    text = request.messages[-1]["content"]
    if context.step == "judge":
        return {"score": 5 if len(text) > 25 else 1}
    return f"{text[-12:]}+"


def test_a_fork_from_anywhere_ends_where_the_thread_ended(session: Session) -> None:
    app = graph()
    with using(ScriptedModel(by_prompt)):
        app.invoke(Post("tea"), session.config("t"))
        ended = app.invoke(Command(resume="yes"), session.config("t"))
        before = rows_of(session, "t")
        points = [moment.checkpoint_id for moment in every_moment(read_history(session, "t"))]
        calls = [call["id"] for call in read_calls(session.journal, "t")]
        forks = [fork(session, "t", point) for point in points]
        forks += [fork(session, "t", call=call) for call in calls]
        assert len(forks) > 15
        for new in forks:
            left = app.invoke(None, session.config(new))
            if "__interrupt__" in left:
                left = app.invoke(Command(resume="yes"), session.config(new))
            assert left == ended
            found = diff(session, "t", new)
            assert found.same, found
    assert rows_of(session, "t") == before

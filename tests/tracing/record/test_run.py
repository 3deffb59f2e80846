"""A run read back: the tree of its steps, and the sums over its calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, StepgraphError, chain, refine, route, rule, step, using
from stepgraph.state.errors import InputError
from stepgraph.tracing.record.reads import cost_of_calls, read_calls
from stepgraph.tracing.record.run import _under_way, read_run
from stepgraph.tracing.record.spans import Span, Trace
from stepgraph.tracing.record.threads import find_thread, list_threads


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    ok: bool = False


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


@rule("ok")
def judge(post: Post) -> bool:
    return post.draft == "good"


def pick(post: Post) -> str:
    return post.topic


def fail(post: Post) -> None:
    raise ZeroDivisionError("by nought")


polish = refine(write, judge, until=bool, rounds=3)
graph = route(pick, {"tea": chain(polish, name="make"), "coffee": chain(write, fail)}).compile()


def run(session: Session, thread: str, answers: list[Any], topic: str = "tea") -> None:
    with ScriptedModel(answers) as model, using(model):
        graph.invoke(Post(topic), session.config(thread))


def test_the_tree_nests_as_the_graphs_do_in_the_order_of_the_run(session: Session) -> None:
    run(session, "t", ["bad", "good"])
    (root,) = read_run(session, "t").roots
    assert [child.span.name for child in root.children] == ["pick", "tea"]
    (loop,) = root.children[1].children
    assert [node.span.name for node in loop.children] == ["begin", "write", "judge", "write", "judge"]
    assert [node.span.path for node in root.children[1].walk()][:3] == [
        "tea",
        "tea/refine_write",
        "tea/refine_write/begin",
    ]
    assert [n.span.row["answer"] for n in loop.walk() if n.span.kind == "call"] == ["bad", "good"]
    decisions = [node.span.decision["choice"] for node in loop.walk() if node.span.decision]
    assert decisions == ["again", "approved"]
    assert root.children[0].span.decision is not None
    assert root.children[0].span.decision["choice"] == "tea"


def test_a_failed_node_is_in_the_tree_with_its_error(session: Session) -> None:
    with pytest.raises(ZeroDivisionError):
        run(session, "t", ["x"], topic="coffee")
    spans = {node.span.path: node.span for node in read_run(session, "t").steps}
    span = spans["coffee/fail"]
    assert (span.status, span.error) == ("failed", "ZeroDivisionError: by nought")
    assert find_thread(session.journal, "t").status == "failed"


def test_a_node_that_never_ended_is_in_the_tree_by_its_calls(session: Session) -> None:
    run(session, "t", ["bad", "good"])
    session.journal.add_later(("DELETE FROM node_runs WHERE node IN ('write', 'refine_write', 'tea')", ()))
    (root,) = read_run(session, "t").roots
    tea = next(child for child in root.children if child.span.name == "tea")
    assert tea.span.status == "unfinished"
    assert [node.span.name for node in tea.walk() if node.span.kind == "node"].count("write") == 2


def test_sums_tell_unknown_costs_apart(session: Session) -> None:
    run(session, "t", ["bad", "good"])
    calls = read_calls(session.journal, "t")
    calls[0]["cost_usd"], calls[1]["cost_usd"] = None, 0.25
    cost = cost_of_calls(calls)
    assert (cost.calls, cost.unknown, cost.usd, cost.known_usd) == (2, 1, None, 0.25)
    calls[0]["status"] = "failed"
    assert cost_of_calls(calls).usd == 0.25


def test_threads_come_latest_first_with_their_sums(session: Session) -> None:
    run(session, "one", ["good"])
    run(session, "two", ["bad", "good"])
    found = list_threads(session.journal)
    assert [(thread.thread_id, thread.cost.calls, thread.status) for thread in found] == [
        ("two", 2, "done"),
        ("one", 1, "done"),
    ]
    assert find_thread(session.journal, "one").cost.output_tokens == 1


def test_an_unknown_thread_is_told_with_the_nearest(session: Session, tmp_path: Path) -> None:
    run(session, "letter-1", ["good"])
    with pytest.raises(InputError, match="Did you mean 'letter-1'") as told:
        find_thread(session.journal, "leter-1")
    assert isinstance(told.value, StepgraphError)


@pytest.mark.parametrize("name", ["\ud800", "\udcff.sqlite", "a\0b", ""])
def test_a_name_that_no_database_keeps_is_that_of_no_thread(session: Session, name: str) -> None:
    run(session, "?", ["good"])
    with pytest.raises(InputError, match="There is no thread"):
        find_thread(session.journal, name)


def test_what_is_not_finished_goes_on_only_in_the_last_invocation() -> None:
    trace = Trace("trace", "t", 1, "app")
    whole = Span(trace, "run", "1", None, "app", "", "", "interrupted", 0.0, 2.0, {})
    node = Span(trace, "node", "n", "1", "draft", "draft", "draft:1", "unfinished", 1.0, 1.0, {})
    spans = [
        whole,
        node,
        replace(whole, id="2", status="unfinished", started_at=10.0, ended_at=10.0),
        replace(node, started_at=10.0),
        replace(node, started_at=12.0, status="done", ended_at=13.0),
        replace(node, started_at=13.0),
    ]
    found = [(span.status, span.ended_at) for span in _under_way(spans, 20.0)]
    running = ("running", 20.0)
    assert found == [("interrupted", 2.0), ("unfinished", 1.0), running, running, ("done", 13.0), running]
    assert list(_under_way([], 20.0)) == []

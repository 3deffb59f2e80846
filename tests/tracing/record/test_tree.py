"""The tree of a thread's steps and the sums over its calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, StepgraphError, chain, refine, route, rule, step, using
from stepgraph.state.errors import InputError
from stepgraph.tracing.record.threads import find_thread, list_threads
from stepgraph.tracing.record.tree import read_calls, read_tree, totals


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
    roots = read_tree(session.journal, "t")
    assert [root.name for root in roots] == ["pick", "tea"]
    (loop,) = roots[1].children
    assert [node.name for node in loop.children] == ["begin", "write", "judge", "write", "judge"]
    assert [node.path for node in roots[1].walk()][:3] == [
        "tea",
        "tea/refine_write",
        "tea/refine_write/begin",
    ]
    assert [call["answer"] for node in loop.walk() for call in node.calls] == ["bad", "good"]
    decisions = [node.decision["choice"] for node in loop.walk() if node.decision]
    assert decisions == ["again", "approved"]
    assert roots[0].decision is not None
    assert roots[0].decision["choice"] == "tea"


def test_a_failed_node_is_in_the_tree_with_its_error(session: Session) -> None:
    with pytest.raises(ZeroDivisionError):
        run(session, "t", ["x"], topic="coffee")
    nodes = {node.path: node for root in read_tree(session.journal, "t") for node in root.walk()}
    node_run = nodes["coffee/fail"].node_run
    assert node_run is not None
    assert (node_run["status"], node_run["error"]) == ("failed", "ZeroDivisionError: by nought")
    assert find_thread(session.journal, "t").status == "failed"


def test_a_node_that_never_ended_is_in_the_tree_by_its_calls(session: Session) -> None:
    run(session, "t", ["bad", "good"])
    session.journal.add_later(("DELETE FROM node_runs WHERE node IN ('write', 'refine_write', 'tea')", ()))
    (_, tea) = read_tree(session.journal, "t")
    assert tea.node_run is None
    assert [node.name for node in tea.walk()].count("write") == 2


def test_totals_tell_unknown_costs_apart(session: Session) -> None:
    run(session, "t", ["bad", "good"])
    calls = read_calls(session.journal, "t")
    calls[0]["cost_usd"], calls[1]["cost_usd"] = None, 0.25
    sums = totals(calls)
    assert (sums.calls, sums.failed, sums.unknown_costs) == (2, 0, 1)
    assert (sums.cost_usd, sums.known_cost_usd) == (None, 0.25)


def test_threads_come_latest_first_with_their_sums(session: Session) -> None:
    run(session, "one", ["good"])
    run(session, "two", ["bad", "good"])
    found = list_threads(session.journal)
    assert [(thread.thread_id, thread.calls, thread.status) for thread in found] == [
        ("two", 2, "done"),
        ("one", 1, "done"),
    ]
    assert find_thread(session.journal, "one").output_tokens == 1


def test_an_unknown_thread_is_told_with_the_nearest(session: Session, tmp_path: Path) -> None:
    run(session, "letter-1", ["good"])
    with pytest.raises(InputError, match="Did you mean 'letter-1'") as told:
        find_thread(session.journal, "leter-1")
    assert isinstance(told.value, StepgraphError)

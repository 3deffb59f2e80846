"""Budgets that the settings give to runs by their user, graph, tag and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from stepgraph import ScriptedModel, resume, run, using
from stepgraph.state.errors import SettingsError
from stepgraph.state.journal.budget_reads import accounts
from stepgraph.state.session.budget_rules import read_rules, rule_budgets, ruled, scopes_of

from .shared_budget_cases import APP, GRAPH, Post, opened, plan, write

# Settings

RULES = """
[budgets]
all = { calls = 100 }
"user:*" = { calls = 3, per = "day" }
"user:bo" = { calls = 6, per = "day" }
"tenant:*" = [{ calls = 50, per = "day" }, { calls = 90, per = "month" }]
"graph:blog" = { calls = 60 }
"tag:nightly" = { calls = 70 }
"""


@pytest.fixture
def rules(tmp_path: Path) -> None:
    (tmp_path / "stepgraph.toml").write_text(RULES)


@pytest.mark.usefixtures("rules")
def test_the_settings_have_budgets_for_runs_by_their_user_graph_tag_and_metadata(tmp_path: Path) -> None:
    with opened(str(tmp_path / "runs.sqlite")) as session:
        about: dict[str, Any] = {"metadata": {"tenant": "acme", "n": 1.5}, "tags": ["nightly", "other"]}
        assert run(APP, Post(), session, "a", user="ada", **about).status == "done"
        assert [(each.scope, each.per) for each in accounts(session.journal)] == [
            ("all", None),
            ("graph:blog", None),
            ("tag:nightly", None),
            ("tenant:acme", "day"),
            ("tenant:acme", "month"),
            ("user:ada", "day"),
        ]
        assert run(APP, Post(), session, "b", user="ada").status == "partial"
        assert resume(APP, session, "b").status == "partial"  # whose run it is stays on record
        assert run(APP, Post(), session, "c", user="cy").status == "done"
        for thread in ("d", "e", "f"):
            assert run(APP, Post(), session, thread, user="bo").status == "done"
        assert run(APP, Post(), session, "g", user="bo").status == "partial"
        assert resume(APP, session, "g", user="cy").status == "partial"  # it has spent two of three
        assert run(APP, Post(), session, "h").status == "done"


@pytest.mark.usefixtures("rules")
def test_they_hold_for_runs_without_a_session_of_their_own(tmp_path: Path) -> None:
    saver = InMemorySaver()
    app = GRAPH.compile(checkpointer=saver)
    with using(ScriptedModel(lambda *_: "ok")):
        for thread in ("a", "b"):
            config: Any = {"configurable": {"thread_id": thread}, "metadata": {"user_id": "ada"}}
            found = app.invoke(Post(), config)
    assert "__interrupt__" in found


@pytest.mark.usefixtures("rules")
def test_they_hold_for_a_graph_written_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPGRAPH_DB", str(tmp_path / "runs.sqlite"))
    graph = StateGraph(Post)
    graph.add_node("plan", plan)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "write")
    graph.add_edge("write", END)
    app = graph.compile(checkpointer=InMemorySaver())
    with using(ScriptedModel(lambda *_: "ok")):
        for thread in ("a", "b"):
            config: Any = {"configurable": {"thread_id": thread}, "metadata": {"user_id": "ada"}}
            found = app.invoke(Post(), config)
    assert "__interrupt__" in found


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"ada": {"usd": 5}}, "user:ada"),
        ({"user:a*": {"usd": 5}}, "whole name"),
        ({"*:ada": {"usd": 5}}, "whole name"),
        ({"user:*": {}}, "no limit"),
        ({"user:*": {"usd": 5, "scope": "x"}}, "scope"),
        ({"user:*": {"usd": -5}}, "0 or more"),
        ({"user:*": {"dollars": 5}}, "calls"),
        ({"user:*": {"usd": 5, "per": "year"}}, "hour"),
        ({"user:*": 5}, "table"),
        ({"user:*": [5]}, "table"),
        (5, "by scope"),
    ],
)
def test_a_wrong_rule_is_named(table: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=r"here.*") as raised:
        read_rules(table, "here")
    assert told in str(raised.value)


@pytest.mark.usefixtures("rules")
def test_a_scope_of_a_kind_that_is_named_anew_takes_the_place_of_the_earlier_one() -> None:
    assert ruled(["user:cy"], ["user:ada", "tag:nightly", "gone:x"]) == ("tag:nightly", "user:cy")
    assert [budget.calls for budget in rule_budgets(["user:bo", "user:cy"])] == [6, 3]
    assert scopes_of(user="a", graph="g", tags=["t"], metadata={"user_id": "a", "k": 1, "b": True}) == [
        "all",
        "user:a",
        "graph:g",
        "tag:t",
        "k:1",
    ]

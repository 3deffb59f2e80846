"""Ensembles: picking, merging, candidates that fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, ensemble, step, using
from stepgraph.state.errors import DefinitionError, StepgraphError


@dataclass
class Post:
    topic: str = "tea"
    outline: str = ""
    draft: str = ""
    drafts: list[str] = field(default_factory=list)


@step("draft")
def short(post: Post) -> Ask[str]:
    return Ask("short")


@step("draft")
def long(post: Post) -> Ask[str]:
    return Ask("long")


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask("plan")


@step("draft")
def combine(post: Post) -> Ask[str]:
    return Ask(" + ".join(post.drafts))


def fails(post: Post) -> dict[str, Any]:
    raise ValueError("no line")


ANSWERS = {"short": ["ab"], "long": ["abcd"]}


@pytest.mark.parametrize("sync", [True, False])
def test_the_best_is_picked(session: Session, sync: bool) -> None:
    app = ensemble([short, long], score=len, into="drafts").compile()
    with ScriptedModel(ANSWERS) as model, using(model):
        config = session.config("t")
        result = app.invoke(Post(), config) if sync else asyncio.run(app.ainvoke(Post(), config))
    assert (result["draft"], result["drafts"]) == ("abcd", ["ab", "abcd"])
    (row,) = session.journal.query("SELECT * FROM decisions")
    assert (row["kind"], row["choice"]) == ("ensemble", "long 2")
    assert "short 1: 2, long 2: 4" in row["reason"]


def test_all_are_merged() -> None:
    app = ensemble([short, long], merge=combine, into="drafts").compile()
    with ScriptedModel({**ANSWERS, "combine": ["both"]}) as model, using(model):
        result = app.invoke(Post())
    assert result["draft"] == "both"
    assert model.asks[-1][1].messages[0]["content"] == "ab + abcd"


def test_candidates_are_patterns_and_all_that_the_best_wrote_is_kept(session: Session) -> None:
    app = ensemble([chain(plan, long), short], field="draft", score=len).compile()
    with ScriptedModel({**ANSWERS, "plan": ["1."]}) as model, using(model):
        result = app.invoke(Post(), session.config("t"))
    assert (result["draft"], result["outline"]) == ("abcd", "1.")


def test_the_loser_leaves_no_trace() -> None:
    app = ensemble([chain(plan, short), long], field="draft", score=len).compile()
    with ScriptedModel({**ANSWERS, "plan": ["1."]}) as model, using(model):
        assert app.invoke(Post())["outline"] == ""


def test_a_candidate_that_fails_is_left_out() -> None:
    app = ensemble([fails, long], field="draft", score=len, into="drafts").compile()
    with ScriptedModel({"long": ["abcd"]}) as model, using(model):
        assert app.invoke(Post())["drafts"] == ["abcd"]
    with pytest.raises(StepgraphError, match=r"no candidate answered\. fails 1: ValueError"):
        ensemble([fails], field="draft", score=len).compile().invoke(Post())


def test_a_score_that_is_no_number_loses() -> None:
    app = ensemble([short, long], score=lambda text: float("nan") if len(text) > 2 else 0.0).compile()
    with ScriptedModel(ANSWERS) as model, using(model):
        assert app.invoke(Post())["draft"] == "ab"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "either score"),
        ({"score": len, "merge": combine}, "either score"),
        ({"merge": combine}, "needs into"),
        ({"score": len, "into": "draft_s"}, "Did you mean 'drafts'"),
        ({"score": len, "field": "outline"}, "'short' does not write 'outline'"),
        ({"score": len, "timeout_s": 0}, "above 0"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        ensemble([short, long], **options)


def test_no_candidates() -> None:
    with pytest.raises(DefinitionError, match="list of candidates"):
        ensemble([], score=len)

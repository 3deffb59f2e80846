"""What a run is read as: where each value comes from, and what is left of the budget."""

from __future__ import annotations

from typing import Any

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, step, using
from stepgraph.ui.records import Reader
from stepgraph.ui.waits import Waits

from .runs import Post, run_blog


def test_a_value_comes_from_the_step_that_made_it_not_from_those_that_passed_it_on(session: Session) -> None:
    @step("draft")
    def first(post: Post) -> Ask[str]:
        return Ask("first")

    @step("draft")
    def second(post: Post) -> Ask[str]:
        return Ask("second")

    def settle(post: Post) -> dict[str, str]:
        return {"draft": post.draft, "topic": post.topic.upper()}

    with using(ScriptedModel(["right", "wrong"])):
        app = chain(first, chain(second, settle), name="drafts").compile()
        app.invoke(Post(), session.config("one"))
    found = {item.name: item.by and item.by.name for item in Reader(session).run("one").output}
    assert found == {
        "topic": "settle",
        "kind": None,
        "outline": None,
        "draft": "second",
        "ok": None,
        "items": None,
    }


def test_a_budget_says_what_is_allowed_spent_and_left(session: Session) -> None:
    run_blog(session, "one")
    limits = {limit.resource: limit for limit in Reader(session).run("one").limits}
    calls = limits["calls"]
    assert (calls.allowed, calls.spent, calls.left) == (50, 6, 44)
    assert limits["usd"].left == 1


def test_what_an_unknown_cost_leaves_is_unknown(session: Session) -> None:
    @step("draft")
    def ask(post: Post) -> Ask[str]:
        return Ask("first")

    model = ScriptedModel(["an answer"])
    with using(model):
        chain(ask).compile().invoke(Post(), session.config("one", budget=Budget(usd=1)))
    session.journal.write([("UPDATE calls SET cost_usd = NULL, cost_picos = NULL", ())])
    (limit,) = Reader(session).run("one").limits
    assert limit.left is None


def test_how_many_wait_is_never_told_as_none_or_more() -> None:
    asked: Any = object()
    told = [Waits((), more=True).count, Waits((asked,), more=True).count, Waits((asked,)).count]
    assert told == ["Some", "1 or more", "1"]

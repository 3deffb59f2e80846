from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, Session, chain, gate, rule, step, using
from stepgraph.state.errors import DefinitionError, GateFailed


@dataclass
class Post:
    topic: str
    outline: str = ""
    draft: str = ""
    problems: list[str] = field(default_factory=list)


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline {post.topic}")


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write {post.outline}")


@rule("problems")
def check(post: Post) -> list[str]:
    return [] if "1." in post.outline else ["no points"]


@step("problems")
def critic(post: Post) -> Ask[list[str]]:
    return Ask(f"What is wrong? {post.outline}")


def verdict(value: Any) -> Any:
    def has_points(post: Post) -> Any:
        return value

    return has_points


@pytest.mark.parametrize("value", [True, None, ""])
async def test_a_check_that_is_content_lets_the_run_pass(value: Any) -> None:
    app = chain(plan, gate(verdict(value)), write).compile()
    with ScriptedModel(["1. Boil", "Boil water."]) as model, using(model):
        assert (await app.ainvoke(Post("tea")))["draft"] == "Boil water."


@pytest.mark.parametrize(("value", "reason"), [(False, "the check failed."), ("too short", "too short")])
async def test_a_failed_check_names_step_reason_and_output(value: Any, reason: str) -> None:
    app = chain(plan, gate(verdict(value)), write).compile()
    with ScriptedModel(["1. Boil"]) as model, using(model), pytest.raises(GateFailed) as caught:
        await app.ainvoke(Post("tea"))

    error = caught.value
    assert (error.step, error.reason) == ("plan", reason)
    assert error.output == {"topic": "tea", "outline": "1. Boil", "draft": "", "problems": []}
    assert str(error) == (
        f"Gate 'has_points' stopped the chain after 'plan': {reason} Intermediate outline was: \"1. Boil\""
    )


async def test_a_step_decides_by_its_value_and_writes_it() -> None:
    app = chain(plan, gate(critic, lambda problems: not problems), write).compile()
    with ScriptedModel(["1. Boil", [], "Boil water."]) as model, using(model):
        await app.ainvoke(Post("tea"))
    with (
        ScriptedModel(["?", ["no points"]]) as model,
        using(model),
        pytest.raises(GateFailed, match=r'critic said \["no points"\]') as caught,
    ):
        await app.ainvoke(Post("tea"))
    assert caught.value.output["problems"] == ["no points"]


async def test_a_rule_decides_by_its_value() -> None:
    app = chain(plan, gate(check, lambda problems: not problems), write).compile()
    with ScriptedModel(["1. Boil", "Boil water."]) as model, using(model):
        assert (await app.ainvoke(Post("tea")))["draft"] == "Boil water."
    with ScriptedModel(["?"]) as model, using(model), pytest.raises(GateFailed, match="check said"):
        await app.ainvoke(Post("tea"))


async def test_a_gate_before_all_steps_judges_the_input() -> None:
    app = chain(gate(verdict(False)), plan).compile()
    with pytest.raises(GateFailed, match="after 'the input'"):
        await app.ainvoke(Post("tea"))


async def test_the_same_gate_in_two_places_names_each(session: Session) -> None:
    def short(post: Post) -> bool:
        return len(post.draft) < 20

    guard = gate(short)
    app = chain(plan, guard, write, guard).compile()
    with (
        ScriptedModel(["1.", "A draft that is much too long."]) as model,
        using(model),
        pytest.raises(GateFailed, match="after 'write'"),
    ):
        await app.ainvoke(Post("tea"), session.config("t"))
    decisions = session.journal.query("SELECT path, kind, choice, reason FROM decisions ORDER BY id")
    assert [tuple(row.values()) for row in decisions] == [
        ("short", "gate", "passed", None),
        ("short_2", "gate", "stopped", "the check failed."),
    ]


def test_a_long_output_is_shortened_in_the_message_only() -> None:
    app = chain(plan, gate(verdict(False))).compile()
    with ScriptedModel(["x" * 999]) as model, using(model), pytest.raises(GateFailed) as caught:
        app.invoke(Post("tea"))
    assert len(str(caught.value)) < 600
    assert caught.value.output["outline"] == "x" * 999


def test_a_gate_that_cannot_judge_is_refused() -> None:
    with pytest.raises(DefinitionError, match="needs `passes`"):
        gate(critic)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="needs a step or a rule"):
        gate(verdict(True), lambda value: value)

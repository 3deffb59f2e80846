"""Sections: branches at once, stragglers, failures, and what each branch may write."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, Workflow, chain, refine, rule, section, step, using
from stepgraph.state.errors import BranchTimeout, DefinitionError, InvalidAnswer

from ...simulated_time import SimulatedLoop


def numbered(old: list[str], new: list[str]) -> list[str]:
    return [*old, *[f"{len(old)}{text}" for text in new]]


@dataclass
class Review:
    text: str = "the contract"
    legal: str = ""
    money: str = ""
    risk: int = 0
    verdict: str = ""
    gaps: dict[str, str] = field(default_factory=dict)
    log: Annotated[list[str], operator.add] = field(default_factory=list)
    seen: Annotated[set[str], operator.or_] = field(default_factory=set)
    total: Annotated[int, operator.add] = 0
    odd: Annotated[list[str], numbered] = field(default_factory=list)


@step("legal")
def check_law(review: Review) -> Ask[str]:
    return Ask(f"Law: {review.text}")


@step("money")
def check_money(review: Review) -> Ask[str]:
    return Ask(f"Money: {review.text}")


@step("risk")
def rate(review: Review) -> Ask[int]:
    return Ask(f"Risk: {review.text}")


@step("verdict")
def decide(review: Review) -> Ask[str]:
    return Ask(f"{review.legal} {review.money} {review.risk}")


def by_name(request: Any, context: Any) -> Any:
    return {"Law": "fine", "Mon": "cheap", "Ris": 3}.get(request.messages[-1]["content"][:3], "sign")


ended: list[str] = []


async def slow(review: Review) -> dict[str, Any]:
    await asyncio.sleep(30)
    ended.append("slow")
    return {"money": "late"}


def broken(review: Review) -> dict[str, Any]:
    raise ValueError("no such table")


three = {"legal": check_law, "money": check_money, "risk": rate}


@pytest.mark.parametrize("sync", [True, False])
def test_branches_and_merge(session: Session, sync: bool) -> None:
    app = section(three, merge=decide).compile()
    with ScriptedModel(by_name) as model, using(model):
        config = session.config("t")
        result = app.invoke(Review(), config) if sync else asyncio.run(app.ainvoke(Review(), config))
    assert (result["legal"], result["money"], result["risk"]) == ("fine", "cheap", 3)
    assert result["verdict"] == "sign"
    assert len(model.asks) == 4
    assert model.asks[-1][1].messages[-1]["content"] == "fine cheap 3"


def test_a_straggler_is_left_out_and_named(session: Session) -> None:
    app = section(
        {"legal": check_law, "money": slow}, timeout_s=3, failed="skip", missing="gaps", merge=decide
    ).compile()
    with ScriptedModel(by_name) as model, using(model):
        result = app.invoke(Review(), session.config("t"))
    assert ended == []
    assert (result["legal"], result["money"], result["verdict"]) == ("fine", "", "sign")
    assert result["gaps"] == {
        "money": "BranchTimeout: Branch 'money' took longer than 3 s, so it was stopped."
    }
    rows = session.journal.query("SELECT kind, choice, reason FROM decisions")
    assert [(row["kind"], row["choice"]) for row in rows] == [("section", "left out")]
    assert "money" in rows[0]["reason"]


def test_a_straggler_fails_the_whole_by_default() -> None:
    app = section({"legal": check_law, "money": slow}, timeout_s=1).compile()
    with ScriptedModel(by_name) as model, using(model), pytest.raises(BranchTimeout, match="money"):
        SimulatedLoop().run(app.ainvoke(Review()))


def test_a_failed_branch_writes_its_default() -> None:
    app = section({"legal": check_law, "money": broken}, defaults={"money": {"money": "unknown"}}).compile()
    with ScriptedModel(by_name) as model, using(model):
        result = app.invoke(Review())
    assert (result["legal"], result["money"]) == ("fine", "unknown")


def test_a_failed_branch_fails_the_whole_by_default() -> None:
    with pytest.raises(ValueError, match="no such table"):
        section({"money": broken}).compile().invoke(Review())


def test_an_answer_that_never_fits_is_skipped(session: Session) -> None:
    app = section({"risk": rate, "money": check_money}, failed="skip", missing="gaps").compile()

    def answer(request: Any, context: Any) -> Any:
        return "high" if request.schema else "cheap"

    with ScriptedModel(answer) as model, using(model):
        result = app.invoke(Review(), session.config("t"))
    assert result["money"] == "cheap"
    assert result["gaps"]["risk"].startswith("InvalidAnswer")


def test_nothing_missing_clears_what_was(session: Session) -> None:
    fails = [True]

    def sometimes(review: Review) -> dict[str, str]:
        if fails.pop():
            raise ValueError("not now")
        fails.append(False)
        return {"money": "cheap"}

    app = section({"money": sometimes}, failed="skip", missing="gaps").compile()
    assert app.invoke(Review(), session.config("t"))["gaps"] == {"money": "ValueError: not now"}
    fails.append(False)
    assert app.invoke({"text": "again"}, session.config("t"))["gaps"] == {}


def logs(*entries: str) -> Any:
    def note(review: Review) -> dict[str, Any]:
        return {"log": list(entries), "seen": set(entries), "total": len(entries)}

    return note


def test_nested_branches_write_what_they_changed_once(session: Session) -> None:
    app = section({"one": chain(logs("a"), logs("b")), "two": chain(logs("c")), "three": logs("d")}).compile()
    given = Review(log=["old"], seen={"old"}, total=1)
    result = app.invoke(given, session.config("t"))
    assert result["log"][0] == "old"
    assert sorted(result["log"][1:]) == ["a", "b", "c", "d"]
    assert (result["seen"], result["total"]) == ({"old", "a", "b", "c", "d"}, 5)


def test_patterns_are_branches(session: Session) -> None:
    @rule("legal")
    def ok(review: Review) -> str:
        return "ok"

    loop = refine(check_money, ok, until=lambda said: said == "ok", rounds=2)
    app = chain(section({"loop": loop, "risk": section({"inner": rate})}, merge=decide)).compile()
    with ScriptedModel(by_name) as model, using(model):
        result = app.invoke(Review(), session.config("t"))
    assert (result["money"], result["legal"], result["risk"], result["verdict"]) == ("cheap", "ok", 3, "sign")


def ask_person(field_: str) -> Any:
    def node(review: Review) -> dict[str, Any]:
        return {field_: interrupt(field_)}

    return node


@pytest.mark.parametrize("sync", [True, False])
def test_interrupts_in_two_branches(session: Session, sync: bool) -> None:
    nested = chain(check_law, ask_person("money"))
    app = section({"a": nested, "b": ask_person("verdict")}, timeout_s=60, failed="skip").compile()
    with ScriptedModel(["fine"]) as model, using(model):
        if sync:
            app.invoke(Review(), session.config("t"))
        else:
            asyncio.run(app.ainvoke(Review(), session.config("t")))
        waiting = app.get_state(session.config("t")).interrupts
        assert sorted(i.value for i in waiting) == ["money", "verdict"]
        answers = Command(resume={i.id: f"{i.value}!" for i in waiting})
        result = app.invoke(answers, session.config("t"))
    assert (result["legal"], result["money"], result["verdict"]) == ("fine", "money!", "verdict!")
    assert len(model.asks) == 1


def test_two_branches_must_not_write_one_field() -> None:
    with pytest.raises(DefinitionError, match="'a' and 'b' both write 'legal'"):
        section({"a": check_law, "b": chain(check_law)})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_s": 0}, "above 0"),
        ({"failed": "ignore"}, "'fail' or 'skip'"),
        ({"defaults": {"mony": {"money": ""}}}, "Did you mean 'money'"),
        ({"defaults": {"money": {"mony": ""}}}, "Did you mean 'money'"),
        ({"missing": "gap"}, "Did you mean 'gaps'"),
        ({"missing": "legal"}, "dict\\[str, str\\]"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        section({"money": check_money, "legal": check_law}, **options)


@pytest.mark.parametrize("branches", [{}, [check_law]], ids=["none", "a list"])
def test_branches_have_names(branches: Any) -> None:
    with pytest.raises(DefinitionError, match="mapping"):
        section(branches)


def test_a_branch_with_a_default_is_named_as_missing_too(session: Session) -> None:
    defaults = {"money": {"money": "unknown"}}
    app = section({"legal": check_law, "money": broken}, defaults=defaults, missing="gaps").compile()
    with ScriptedModel(by_name) as model, using(model):
        result = app.invoke(Review(), session.config("t"))
    assert (result["money"], result["gaps"]) == ("unknown", {"money": "ValueError: no such table"})
    (row,) = session.journal.query("SELECT choice, reason FROM decisions")
    assert tuple(row.values()) == ("default", "money: ValueError: no such table")


async def test_an_invalid_answer_cancels_nothing_that_is_paid(session: Session) -> None:
    def answer(request: Any, context: Any) -> Any:
        return "high" if request.schema else "cheap"

    app: Any = section({"risk": rate, "money": check_money}).compile()
    with ScriptedModel(answer) as model, using(model), pytest.raises(InvalidAnswer):
        await app.ainvoke(Review(), session.config("t"))
    assert isinstance(section(three), Workflow)

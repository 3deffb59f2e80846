from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, ScriptedModel, Session, cascade, step, using
from stepgraph.evals.sweeps.savings import Used, savings, used_calls
from stepgraph.providers.prices import Price
from stepgraph.state.errors import InputError

PRICES = {"small": Price(input=1, output=1), "large": Price(input=10, output=10)}


def used(item: str, role: str, tokens: int = 100) -> Used:
    return Used(item, role, input=tokens, output=0)


def test_without_a_cheap_call_nothing_is_saved() -> None:
    saved = savings([used("a", "large")], PRICES, baseline="large")
    assert (saved.saving, saved.moved, saved.cost_usd) == (0, 0, saved.baseline_usd)


def test_with_cheap_calls_alone_the_price_ratio_is_all() -> None:
    saved = savings([used("a", "small"), used("b", "small")], PRICES, baseline="large")
    assert (saved.moved, saved.price_ratio, saved.escalated) == (1, 0.1, 0)
    assert saved.saving == pytest.approx(0.9)


def test_the_factors_explain_the_saving() -> None:
    calls = [
        used("a", "small"),
        used("b", "small"),
        used("b", "large", 200),
        used("c", "large", 100),
    ]
    saved = savings(calls, PRICES, baseline="large")
    assert (saved.items, saved.calls) == (3, 4)
    assert saved.cost_usd == pytest.approx((200 * 1 + 300 * 10) / 1e6)
    assert saved.baseline_usd == pytest.approx(400 * 10 / 1e6)
    assert saved.moved == pytest.approx(300 / 400)
    assert saved.escalated == pytest.approx(200 / 300)
    assert saved.saving == pytest.approx(saved.moved * (1 - saved.price_ratio - saved.escalated))


def test_a_cascade_that_always_escalates_costs_more() -> None:
    saved = savings([used("a", "small"), used("a", "large")], PRICES, baseline="large")
    assert saved.saving == pytest.approx(-0.1)


def test_a_role_without_a_price_is_told_and_no_calls_save_nothing() -> None:
    with pytest.raises(InputError, match=r"no price for the role 'larg'\. Did you mean 'large'"):
        savings([used("a", "larg")], PRICES, baseline="large")
    assert savings([], PRICES, baseline="large").saving == 0


@dataclass
class Task:
    text: str
    answer: str = ""


@step("answer", model="small")
def solve(task: Task) -> Ask[str]:
    return Ask(task.text)


def test_the_calls_are_read_from_a_journal(session: Session) -> None:
    app = cascade(solve, solve.on("large"), accept=str.isdigit).compile()
    small, large = ScriptedModel(["51", "about fifty"]), ScriptedModel(["51"])
    with small, large, using(small=small, large=large):
        app.invoke(Task("17 x 3?"), session.config("a"))
        app.invoke(Task("3 x 17?"), session.config("b"))
    found = used_calls(session.journal)
    assert [(call.item, call.role, call.output) for call in found] == [
        ("a solve", "small", 1),
        ("b solve", "small", 2),
        ("b solve", "large", 1),
    ]
    assert savings(found, PRICES, baseline="large").items == 2
    assert len(used_calls(session.journal, ["a"])) == 1


def test_the_recorded_run_of_the_benchmark_can_be_read() -> None:
    record = Path(__file__).parents[3] / "benchmarks" / "model_routing.json"
    calls = [Used(**row) for row in json.loads(record.read_text(encoding="utf-8"))]
    saved = savings(calls, PRICES, baseline="large")
    assert saved.items >= 10
    assert 0 < saved.escalated < 1

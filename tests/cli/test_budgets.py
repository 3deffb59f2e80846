"""`stepgraph budgets`: how shared budgets stand, and what a person changes."""

from __future__ import annotations

from typing import Any

import pytest

from stepgraph.cli.support.limits import parse_budget
from stepgraph.state.budget import Budget
from stepgraph.state.errors import InputError

from .conftest import Command

SHARED = ("--budget", "scope=user:ada,per=day,calls=1")


def test_a_shared_budget_is_listed_changed_and_goes_on(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=z", "--thread", "z")
    assert "No run has spent anything of a shared budget" in command("budgets").out
    assert command("run", "memo.py:graph", "-i", "text=x", "--thread", "a", *SHARED).code == 0
    second = command("run", "memo.py:graph", "-i", "text=y", "--thread", "b", *SHARED)
    assert (second.code, memo.calls) == (6, 2)
    assert "The budget of user:ada per day ended: calls = 1" in second.out
    assert "stepgraph budgets user:ada --per day --set calls=…" in second.out
    assert "user:ada per day  1 of 1 calls spent, 0 left  until" in command("budgets").out
    assert "budget user:ada per day  1 of 1 calls spent" in command("show", "b").out

    changed = command("budgets", "user:ada", "--per", "day", "--set", "calls=2").out
    assert "1 of 2 calls spent, 1 left  (set by hand)" in changed
    assert command("resume", "b").code == 0
    (row,) = command("budgets", "user:ada", "--json").rows
    assert (row["scope"], row["per"], row["limits"], row["spent"]["calls"], row["left"]) == (
        *("user:ada", "day"),
        {"calls": 2},
        2,
        {"calls": 0},
    )
    sql = "SELECT resource, allowed, spent, remaining FROM shared_budgets"
    assert command("sql", sql, "--json").rows == [
        {"resource": "calls", "allowed": 2, "spent": 2, "remaining": 0}
    ]
    lifted = command("budgets", "user:ada", "--per", "day", "--set", "calls=none").out
    assert "no limit" in lifted
    assert "2 of 1 calls spent, 0 left" in command("budgets", "user:ada", "--per", "day", "--reset").out
    assert "No run has spent" in command("budgets", "user:ada", "--per", "ever").out


def test_a_limit_may_be_set_before_anything_is_spent(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=x", "--thread", "a")
    shown = command("budgets", "user:ada", "--per", "day", "--set", "calls=0").out
    assert "user:ada per day  0 of 0 calls spent, 0 left  (set by hand)" in shown
    assert command("run", "memo.py:graph", "-i", "text=y", *SHARED).code == 6
    assert memo.calls == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--set", "calls=1"), "by its scope and its period"),
        (("user:ada", "--reset"), "by its scope and its period"),
        (("user:ada", "--per", "day", "--set", "calls=x"), "not a number"),
        (("user:ada", "--per", "day", "--set", "seconds=1"), "Known: calls, tokens, usd"),
        (("user:ada", "--per", "day", "--set", "seconds=none"), "Known: calls, tokens, usd"),
        (("user:ada", "--per", "day", "--set", "usd=9000000000"), "1,000,000 dollars"),
        ((" ", "--per", "day", "--set", "usd=1"), "expected a text such as"),
    ],
)
def test_what_cannot_be_changed_is_told(
    command: Command, memo: Any, arguments: tuple[str, ...], told: str
) -> None:
    command("run", "memo.py:graph", "-i", "text=x")
    done = command("budgets", *arguments)
    assert done.code != 0
    assert told in done.err


def test_budgets_on_the_command_line() -> None:
    shared = Budget(usd=0.5, scope="user:ada", per="day")
    assert parse_budget(["scope=user:ada,per=day,usd=0.5"]) == shared
    assert parse_budget(["usd=0.5,scope=user:ada,per=day", "calls=3", "seconds=5"]) == (
        Budget(calls=3, seconds=5),
        shared,
    )
    for wrong in ("scope=user:ada,usd=x", "scope=,usd=1", "scope=x,seconds=5", "scope=x,per=year", "per=day"):
        with pytest.raises(InputError, match="--budget"):
            parse_budget([wrong])

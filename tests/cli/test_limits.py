"""`--budget` and `--cache` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepgraph.cli.support.limits import parse_age, parse_budget
from stepgraph.state.budget import Budget
from stepgraph.state.errors import InputError

from .conftest import Command


def test_a_budget_that_ends_is_exit_code_6_and_can_be_raised(command: Command, memo: Any) -> None:
    done = command("run", "memo.py:graph", "-i", "text=x", "--thread", "b", "--budget", "calls=0")
    assert done.code == 6
    assert "partial" in done.out
    assert "calls = 0" in done.out
    assert "not done: the budget ended" in done.out
    assert "waits for an answer" not in done.out
    assert "stepgraph resume b --budget" in done.out
    assert command("threads", "--json").rows[0]["status"] == "partial"
    assert memo.calls == 0

    assert command("resume", "b").code == 6
    (row,) = command("resume", "b", "--budget", "calls=1", "--json").rows
    assert (row["status"], row["output"]["short"]) == ("done", "ok")


def test_a_cached_answer_is_shown_as_such_and_costs_nothing(command: Command, memo: Any) -> None:
    command("run", "memo.py:graph", "-i", "text=x")
    (row,) = command("run", "memo.py:graph", "-i", "text=x", "--cache", "1h", "--thread", "c", "--json").rows
    assert (row["output"]["short"], row["cost_usd"], row["input_tokens"]) == ("ok", 0, 0)
    assert memo.calls == 1
    assert "from the cache" in command("show", "c").out


def test_limits_are_read(tmp_path: Path) -> None:
    assert parse_budget([]) is None
    assert parse_budget(["tokens=20_000", "usd=0.5"]) == Budget(tokens=20_000, usd=0.5)
    assert parse_budget(["calls=3,usd=0.5", "tokens=9"]) == Budget(calls=3, usd=0.5, tokens=9)
    assert parse_budget(["none"]) == Budget()
    assert [parse_age(text) for text in ("90", "90s", "2h", "1.5d")] == [90, 90, 7200, 129600]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("token=5", "Did you mean 'tokens'"),
        ("tokens", "expected LIMIT=N"),
        ("usd=x", "not a number"),
        ("calls=-1", "0 or more"),
    ],
)
def test_limits_that_cannot_be_read(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_budget([text])


@pytest.mark.parametrize("text", ["", "soon", "-1h", "3y"])
def test_ages_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="is not an age"):
        parse_age(text)

"""Whoever shows a sum of money shows the exact decimal, and says what of it is an estimate."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, Budget, Session, fan_out, run, step, using
from stepgraph.evals.report.sections import money as in_report
from stepgraph.providers.model import CallContext, Reply, Request, Usage
from stepgraph.providers.prices import Price
from stepgraph.runners.run import RunResult
from stepgraph.state.cost import Cost
from stepgraph.tracing.record.query import select
from stepgraph.tracing.record.run import read_run
from stepgraph.tracing.record.text import money
from stepgraph.tracing.record.threads import find_thread

from .conftest import Command

MILLION = 1_000_000


@dataclass
class Item:
    number: int
    said: str = ""


@dataclass
class Work:
    count: int
    items: list[Item] = field(default_factory=list)


class Served:
    """Answers each item with as many tokens as it is told; None where it does not count."""

    name = "served"
    max_tokens = 100

    def __init__(self, price: Price, usages: list[Usage]) -> None:
        self.price, self._usages = price, usages

    async def complete(self, request: Request, context: CallContext) -> Reply:
        return Reply("said", self.name, self._usages[int(request.messages[-1]["content"].split()[1])])


@step("said")
def say(item: Item) -> Ask[str]:
    return Ask(f"say {item.number}")


def split(work: Work) -> list[Item]:
    return [Item(number) for number in range(work.count)]


app = fan_out(split, say, into="items", name="say")


def paid(file: Path, price: Price, usages: list[Usage], budget: Budget | None = None) -> RunResult:
    with Session(file) as session, using(Served(price, usages)):
        return run(app.compile(), Work(len(usages)), session, "t", budget=budget)


def decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def exactly(price: Price, usages: list[Usage]) -> Decimal:
    each = (
        (u.input or 0) * decimal(price.input) + (u.output or 0) * decimal(price.output)
        for u in usages
        if u.input is not None
    )
    return sum(each, Decimal(0)) / MILLION


@pytest.mark.parametrize("seed", range(4))
def test_every_reader_shows_the_same_exact_sum(command: Command, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    price = Price(input=chance.randrange(10**9) / MILLION, output=chance.randrange(10**9) / MILLION)
    usages = [Usage(chance.randrange(5000), chance.randrange(5000)) for _ in range(25)]
    file, wanted = tmp_path / "r.sqlite", exactly(price, usages)
    result = paid(file, price, usages, Budget(usd=1_000))

    assert decimal(result.spent.usd) == wanted
    with Session(file) as session:
        thread, whole = find_thread(session.journal, "t"), read_run(session, "t")
        (limit,) = whole.limits
    assert decimal(thread.cost.usd) == decimal(whole.cost.usd) == decimal(limit.spent) == wanted
    assert decimal(limit.left) == 1_000 - wanted
    for view in ("run_costs", "costs_by_step"):
        ((cost, known),) = select(file, f"SELECT cost_usd, known_cost_usd FROM {view}").rows
        assert decimal(cost) == decimal(known) == wanted, view
    steps = select(file, "SELECT cost_usd FROM steps WHERE cost_usd > 0").rows
    assert sum(decimal(cost) for (cost,) in steps) == wanted
    ((spent, left),) = select(file, "SELECT spent, remaining FROM budgets").rows
    assert (decimal(spent), decimal(left)) == (wanted, 1_000 - wanted)
    ((picos,),) = select(file, "SELECT sum(cost_picos) FROM calls").rows
    assert Decimal(picos) / 10**12 == wanted

    (row,) = command("threads", "--db", str(file), "--json").rows
    assert decimal(row["cost_usd"]) == wanted
    (shown,) = command("show", "t", "--db", str(file), "--json").rows
    assert decimal(shown["cost_usd"]) == wanted
    dollars = f"${wanted.normalize():f}"
    for told in (money(thread.cost), in_report(thread.cost)):
        assert dollars in told
    for words in (("threads",), ("show", "t")):
        assert dollars in command(*words, "--db", str(file)).out, words
    lines = command("show", "t", "--db", str(file)).out.splitlines()
    parts = [re.search(r"\$([\d.]+)", line) for line in lines if line.strip().startswith("call ")]
    assert sum(Decimal(part[1]) for part in parts if part) == wanted


@pytest.mark.parametrize("usage", [Usage(), Usage(input=7), Usage(output=7)])
def test_what_a_server_does_not_count_is_said_to_be_an_estimate(
    command: Command, tmp_path: Path, usage: Usage
) -> None:
    price, known = Price(input=0.7, output=1.1), Usage(3, 7)
    file = tmp_path / "r.sqlite"
    result = paid(file, price, [known, usage, known], Budget(usd=1, tokens=100_000))
    spent = result.spent
    assert (decimal(spent.known_usd), spent.usd, spent.unknown) == (exactly(price, [known] * 2), None, 1)
    assert spent.input_tokens + spent.output_tokens == 20 + (usage.input or 0) + (usage.output or 0)
    assert spent.estimated_usd > 0
    assert spent.estimated_tokens > 100
    assert spent.charged_tokens == spent.tokens + spent.estimated_tokens
    assert decimal(spent.charged_usd) == decimal(spent.known_usd) + decimal(spent.estimated_usd)

    with Session(file) as session:
        whole = read_run(session, "t")
        assert session.spent("t") == whole.cost == spent
    charged = {limit.resource: limit.spent for limit in whole.limits}
    assert charged == {"usd": spent.charged_usd, "tokens": spent.charged_tokens}
    rows = dict(select(file, "SELECT resource, spent FROM budgets").rows)
    assert rows == charged
    columns = "SELECT estimated_tokens, estimated_usd, cost_usd FROM"
    for view in ("run_costs", "costs_by_step", "steps WHERE estimated_tokens > 0"):
        assert select(file, f"{columns} {view}").rows == [
            (spent.estimated_tokens, spent.estimated_usd, None)
        ], view

    estimate = f"estimated at most {money(spent.estimated_usd)}"
    tokens = f"estimated {spent.estimated_tokens} more at most"
    for out in (command("show", "t", "--db", str(file)).out, command("threads", "--db", str(file)).out):
        assert estimate in out
        assert tokens in out
    for words in (("show", "t"), ("threads",)):
        (row,) = command(*words, "--db", str(file), "--json").rows
        assert (row["estimated_tokens"], row["estimated_usd"]) == (
            spent.estimated_tokens,
            spent.estimated_usd,
        )
        assert row["cost_usd"] is None
    assert f"estimated at most ${spent.estimated_usd}" in in_report(spent)


def test_nothing_is_estimated_where_no_budget_is_charged(tmp_path: Path) -> None:
    spent = paid(tmp_path / "r.sqlite", Price(input=1, output=1), [Usage()]).spent
    assert spent == Cost(calls=1, unknown=1)

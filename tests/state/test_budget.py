"""The ledger: nothing beyond the limits, nothing left reserved, whatever happens to the calls."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.state.budget import Budget, Ledger, ThreadBudgets, read_budgets
from stepgraph.state.cost import NOTHING, Cost
from stepgraph.state.errors import BudgetExceeded, SettingsError

OUTCOMES = ("answer", "less", "error", "cancel", "timeout")


async def one_call(ledger: Ledger, bound: Cost, outcome: str, pause_s: float) -> str:
    await ledger.reserve(bound)
    spent = Cost(calls=1)
    try:
        await asyncio.sleep(pause_s)
        if outcome == "error":
            raise ValueError
        if outcome == "timeout":
            async with asyncio.timeout(0):
                await asyncio.sleep(1)
        share = 0.5 if outcome == "less" else 1.0
        spent = Cost(1, int(bound.tokens * share), known_usd=bound.known_usd * share)
        return outcome
    finally:
        ledger.settle(bound, spent)


async def history(seed: int, budget: Budget, calls: int) -> tuple[Ledger, list[Any]]:
    chance = random.Random(seed)
    ledger = Ledger(budget)
    tasks = []
    for _ in range(calls):
        bound = Cost(1, chance.randint(1, 50), known_usd=chance.random() / 100)
        outcome = chance.choice(OUTCOMES)
        tasks.append(asyncio.create_task(one_call(ledger, bound, outcome, chance.random() / 1000)))
        if outcome == "cancel":
            asyncio.get_running_loop().call_later(chance.random() / 1000, tasks[-1].cancel)
    return ledger, await asyncio.gather(*tasks, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    tokens=st.integers(0, 600),
    usd=st.floats(0, 0.1),
    calls=st.integers(0, 30),
)
def test_random_histories_never_overspend_and_leave_nothing_reserved(
    seed: int, tokens: int, usd: float, calls: int
) -> None:
    ledger, outcomes = asyncio.run(history(seed, Budget(tokens=tokens, usd=usd, calls=calls), 25))
    assert ledger.reserved == NOTHING
    assert ledger.spent.calls <= calls
    assert ledger.spent.tokens <= tokens
    assert ledger.spent.known_usd <= usd + 1e-6
    known = (str, ValueError, TimeoutError, BudgetExceeded, asyncio.CancelledError)
    assert all(isinstance(outcome, known) for outcome in outcomes)


def test_200_at_once_make_exactly_as_many_calls_as_fit() -> None:
    ledger, outcomes = asyncio.run(history_of_equal_calls(200, Budget(calls=20)))
    assert ledger.spent.calls == 20
    assert sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes) == 180


async def history_of_equal_calls(number: int, budget: Budget) -> tuple[Ledger, list[Any]]:
    ledger = Ledger(budget)
    calls = (one_call(ledger, Cost(1, 10), "answer", 0.001) for _ in range(number))
    return ledger, await asyncio.gather(*calls, return_exceptions=True)


async def test_a_call_that_does_not_fit_now_waits_for_what_others_give_back() -> None:
    ledger = Ledger(Budget(tokens=100))
    outcomes = await asyncio.gather(*(one_call(ledger, Cost(1, 60), "less", 0.01) for _ in range(2)))
    assert outcomes == ["less", "less"]
    assert ledger.spent.tokens == 60


async def test_a_call_that_can_never_fit_is_refused_at_once() -> None:
    ledger = Ledger(Budget(tokens=100), Cost(1, 90))
    await ledger.reserve(Cost(1, 5))
    with pytest.raises(BudgetExceeded, match="tokens = 100") as told:
        await asyncio.wait_for(ledger.reserve(Cost(1, 20)), 30)
    assert told.value.limit == "tokens"
    assert told.value.spent["tokens"] == 90


async def test_the_clock_ends_a_wait() -> None:
    ledger = Ledger(Budget(tokens=10, seconds=2))
    await ledger.reserve(Cost(1, 10))
    with pytest.raises(BudgetExceeded, match="seconds"):
        await asyncio.wait_for(ledger.reserve(Cost(1, 10)), 30)


def test_threads_with_loops_of_their_own_share_a_ledger() -> None:
    ledger = Ledger(Budget(calls=30, tokens=1000))
    ended: list[Any] = []

    def work() -> None:
        async def calls() -> list[Any]:
            tries = (one_call(ledger, Cost(1, 40), "less", 0.001) for _ in range(20))
            return await asyncio.gather(*tries, return_exceptions=True)

        ended.extend(asyncio.run(calls()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ended) == 80
    assert ledger.spent.calls == 30
    assert ledger.reserved == NOTHING


def test_what_a_server_spends_beyond_its_bound_is_counted() -> None:
    ledger = Ledger(Budget(tokens=100))
    asyncio.run(ledger.reserve(Cost(1, 10)))
    ledger.settle(Cost(1, 10), Cost(1, 25))
    assert (ledger.spent.tokens, ledger.reserved) == (25, NOTHING)


def test_a_budget_survives_json_and_refuses_less_than_nothing() -> None:
    budget = Budget(tokens=5, usd=0.5)
    assert Budget.from_json(budget.to_json()) == budget
    with pytest.raises(ValueError, match="tokens=-1"):
        Budget(tokens=-1)


@pytest.mark.parametrize("own", [None, Budget(tokens=5)])
@pytest.mark.parametrize("shared", [(), (Budget(usd=1.0, scope="a"), Budget(calls=2, scope="b", per="day"))])
@pytest.mark.parametrize("ruled", [(), ("a", "c")])
def test_the_budgets_of_a_thread_survive_json(
    own: Budget | None, shared: tuple[Budget, ...], ruled: tuple[str, ...]
) -> None:
    budgets = ThreadBudgets(own, shared, ruled)
    assert ThreadBudgets.from_json(budgets.to_json()) == budgets
    assert ThreadBudgets.from_json(None) == ThreadBudgets.from_json("") == ThreadBudgets()


def test_tables_of_limits_are_read_one_or_many() -> None:
    one, many = (
        {"calls": 3},
        [{"calls": 3}, Budget(tokens=5, scope="user:ada"), {"usd": 1, "scope": "team:x"}],
    )
    assert read_budgets(one, "here") == Budget(calls=3)
    assert read_budgets(many, "here") == (
        Budget(calls=3),
        Budget(tokens=5, scope="user:ada"),
        Budget(usd=1, scope="team:x"),
    )
    with pytest.raises(SettingsError, match="here"):
        read_budgets([{"cals": 3}], "here")

"""The ledger: nothing beyond the limits, nothing left reserved, whatever happens to the calls."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from stepgraph.state.budget import Budget, Ledger, ThreadBudgets, limiting_supersteps, read_budgets
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


@pytest.mark.parametrize("limits", [{"calls": 0}, {"usd": 0.0}, {"supersteps": 0}, {"seconds": 0.0}])
def test_a_limit_of_nothing_is_a_limit(limits: dict[str, Any]) -> None:
    assert not Budget(**limits).lifts
    assert Budget(**limits).values() == {**limits, "answer_tokens": Budget().answer_tokens}


def test_a_scope_has_200_printable_characters_at_most_and_a_shared_budget_a_million_dollars() -> None:
    assert Budget(scope="x" * 200, usd=1_000_000).is_shared
    for wrong, why in [
        ({"scope": "x" * 201}, "200 printable characters at most"),
        ({"scope": "a\nb"}, "200 printable characters at most"),
        ({"scope": 7}, "expected a text such as user:ada"),
        ({"scope": " "}, "expected a text such as user:ada"),
        ({"scope": "ada "}, "expected a text such as user:ada"),
        ({"scope": "ada", "usd": 1_000_001}, "at most 1,000,000 dollars"),
        ({"scope": "ada", "seconds": 0}, "Give seconds in a budget of its own"),
        ({"scope": "ada", "supersteps": 0}, "Give supersteps in a budget of its own"),
        ({"scope": "ada", "per": "year"}, "expected one of hour, day, week, month"),
        ({"per": "day"}, "has no scope"),
    ]:
        with pytest.raises(ValueError, match=why):
            Budget(**wrong)  # type: ignore[arg-type]
    assert Budget(usd=1_000_001).usd == 1_000_001  # one that nobody shares may be larger


def test_a_budget_tells_whose_it_is_and_whether_it_limits_anything() -> None:
    own, ever, daily = Budget(), Budget(scope="user:ada"), Budget(calls=1, scope="user:ada", per="day")
    assert [each.name for each in (own, ever, daily)] == ["the run", "user:ada", "user:ada per day"]
    assert [each.is_shared for each in (own, ever, daily)] == [False, True, True]
    assert [each.lifts for each in (own, ever, daily)] == [True, True, False]


def test_an_answer_without_a_bound_of_its_own_has_1024_tokens() -> None:
    assert Budget().answer_tokens == 1024


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ("calls", "expected a table of limits"),
        ({"cals": 1}, "tokens, usd, calls"),
        ({"calls": -1}, "calls=-1"),
        ({"calls": "x", "scope": 5}, "scope=5"),
    ],
    ids=["no-table", "unknown", "negative", "wrong-type"],
)
def test_what_is_no_budget_is_refused_with_its_place(limits: Any, why: str) -> None:
    with pytest.raises(SettingsError, match=rf"^here: .*{why}"):
        Budget.read(limits, "here")
    with pytest.raises(SettingsError, match=rf"^here: .*{why}"):
        read_budgets([limits], "here")


def test_a_table_may_name_all_that_a_budget_has() -> None:
    shared = Budget(tokens=1, usd=2.0, calls=3, answer_tokens=4, scope="a", per="day")
    table = {**shared.values(), "seconds": None, "supersteps": None}
    assert Budget.read(table, "here") == shared


def test_what_a_thread_was_given_is_its_own_or_shared() -> None:
    own, shared = Budget(calls=1), Budget(usd=1.0, scope="a")
    assert ThreadBudgets.of(None) == ThreadBudgets.of([]) == ThreadBudgets()
    assert ThreadBudgets.of(own) == ThreadBudgets(own)
    assert ThreadBudgets.of([shared]) == ThreadBudgets(None, (shared,))
    assert ThreadBudgets.of([shared, own, shared]) == ThreadBudgets(own, (shared, shared))
    with pytest.raises(ValueError, match="one budget of its own"):
        ThreadBudgets.of([own, own])


def test_new_budgets_take_the_place_of_those_for_the_same_scope_and_period() -> None:
    a_day, a_week, b_day = (
        Budget(calls=1, scope=scope, per=per) for scope, per in [("a", "day"), ("a", "week"), ("b", "day")]
    )
    before = ThreadBudgets(Budget(calls=9), (a_day, a_week, b_day), ("r",))
    wider = Budget(calls=2, scope="a", per="day")
    assert before.changed(ThreadBudgets(None, (wider,))) == ThreadBudgets(
        Budget(calls=9), (a_week, b_day, wider), ("r",)
    )
    lifted = ThreadBudgets(Budget(calls=3), (Budget(scope="b", per="day"),))
    assert before.changed(lifted) == ThreadBudgets(Budget(calls=3), (a_day, a_week), ("r",))


@pytest.mark.parametrize(
    ("budget", "bounds_tokens"),
    [(Budget(), False), (Budget(calls=1), False), (Budget(tokens=0), True), (Budget(usd=0.0), True)],
    ids=["none", "calls", "tokens", "usd"],
)
def test_tokens_must_be_bounded_where_tokens_or_dollars_are_limited(
    budget: Budget, bounds_tokens: bool
) -> None:
    assert Ledger(budget).limits_tokens is bounds_tokens
    assert not Ledger(budget).is_shared


BOUND = Cost(1, 10, 5, known_usd=0.25)


@pytest.mark.parametrize(
    ("limit", "most", "fits"),
    [
        ("calls", 2, 2),
        ("tokens", 30, 2),
        ("tokens", 29, 1),
        ("usd", 0.5, 2),
        ("usd", 0.49, 1),
        ("calls", 0, 0),
    ],
)
async def test_a_call_fits_up_to_the_limit_itself(limit: str, most: float, fits: int) -> None:
    ledger = Ledger(Budget(**{limit: most}))  # type: ignore[arg-type]
    for _ in range(fits):
        await ledger.reserve(BOUND)
        ledger.settle(BOUND, BOUND)
    with pytest.raises(BudgetExceeded) as told:
        await ledger.reserve(BOUND)
    assert (told.value.limit, told.value.budget[limit], told.value.spent["calls"]) == (limit, most, fits)
    assert ledger.reserved == NOTHING


def test_the_end_of_a_budget_tells_its_limits_and_what_is_spent() -> None:
    spent = Cost(3, 10, 5, known_usd=0.25, unknown=1)
    ended = Ledger(Budget(calls=3, usd=0.5), spent, scope="the part").end("calls")
    assert str(ended).startswith("The budget of the part ended: calls = 3. 3 of it is spent. What was done")
    assert (ended.scope, ended.limit) == ("the part", "calls")
    assert ended.budget == {"calls": 3, "usd": 0.5, "answer_tokens": 1024}
    assert ended.spent == {"calls": 3, "tokens": 15, "usd": 0.25, "unknown": 1}
    exact = Ledger(Budget(usd=0.5), Cost(1, known_usd=0.123456789)).end("usd")
    assert "usd = 0.5. 0.123456789 of it is spent." in str(exact)
    supersteps = Ledger(Budget(supersteps=4), spent).end("supersteps")
    assert "The budget of the run ended: supersteps = 4. What was done is kept" in str(supersteps)


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (Cost(1, estimated_tokens=7), {"estimated_tokens": 7, "estimated_usd": 0.0}),
        (Cost(1, estimated_usd=0.5), {"estimated_tokens": 0, "estimated_usd": 0.5}),
    ],
    ids=["tokens", "usd"],
)
def test_what_was_only_estimated_is_told_apart_and_counts(cost: Cost, told: dict[str, float]) -> None:
    ended = Ledger(Budget(calls=1), cost).end("calls")
    assert told.items() <= ended.spent.items()
    assert ended.spent["tokens"] == cost.estimated_tokens
    assert ended.spent["usd"] == cost.estimated_usd


class TestSeconds:
    """Which run by a clock that the tests move."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr("stepgraph.state.budget.time.monotonic", lambda: now[0])
        return now

    def test_the_clock_starts_at_the_first_look_and_runs_on(self, clock: list[float]) -> None:
        ledger = Ledger(Budget(seconds=10))
        assert ledger.seconds_left() == 10
        clock[0] += 4
        assert ledger.seconds_left() == 6
        assert Ledger(Budget(calls=1)).seconds_left() is None

    def test_an_invocation_goes_on_from_what_earlier_ones_ran_and_spent(self, clock: list[float]) -> None:
        ledger = Ledger(Budget(seconds=10), Cost(2, 5))
        assert ledger.seconds_left() == 10
        clock[0] += 60  # nothing ran meanwhile
        ledger.begin(Cost(1, 7), 3.0)
        assert (ledger.seconds_left(), ledger.spent) == (7, Cost(2, 7))
        clock[0] += 1.5
        assert ledger.seconds_left() == 5.5
        assert Ledger(Budget(seconds=10), ran_s=4.0).seconds_left() == 6

    async def test_none_left_ends_it_and_the_error_tells_how_many_ran(self, clock: list[float]) -> None:
        ledger = Ledger(Budget(seconds=10, calls=9))
        ledger.begin(NOTHING, 8.0)
        clock[0] += 1.9
        await ledger.reserve(Cost(1))
        clock[0] = 102.0
        with pytest.raises(BudgetExceeded, match=r"seconds = 10\. 10 of it is spent"):
            await ledger.reserve(Cost(1))
        clock[0] += 0.0014
        with pytest.raises(BudgetExceeded) as told:
            await ledger.reserve(Cost(1))
        assert (told.value.limit, told.value.spent["seconds"]) == ("seconds", 10.001)
        assert "seconds" not in ledger.end("calls").spent


def test_the_fewest_supersteps_of_all_budgets_hold() -> None:
    few, many, none = (Ledger(Budget(supersteps=most)) for most in (3, 8, None))
    assert limiting_supersteps([none, many, few]) == (3, few)
    assert limiting_supersteps([few, none, Ledger(Budget(supersteps=3))]) == (3, few)
    assert limiting_supersteps([none]) is limiting_supersteps([]) is None

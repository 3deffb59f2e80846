"""Budgets that threads share: one account for all of them, in a file and in Postgres."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepgraph import Budget, ScriptedModel, Session, arun, chain, resume, run, using, within
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners.result import RunResult
from stepgraph.state.errors import BudgetExceeded
from stepgraph.state.journal import budget_holds, reservations
from stepgraph.state.journal.budget_accounts import AccountKey, Amount, Limits, Settlement
from stepgraph.state.journal.budget_holds import in_order, settling
from stepgraph.state.journal.budget_reads import BudgetAccount, accounts, release, reset_limits, set_limits
from stepgraph.state.session.shared_ledger import set_aside

from .shared_budget_cases import (
    APP,
    PRICE,
    Clock,
    Exact,
    Post,
    ada,
    database as database,
    opened,
    plan,
    write,
)


def account(session: Session, scope: str = "user:ada") -> BudgetAccount:
    (found,) = accounts(session.journal, scope)
    return found


@pytest.mark.parametrize(("limits", "spent"), [({"calls": 5}, 5), ({"usd": 10}, 10), ({"tokens": 11}, 10)])
def test_threads_share_a_limit_and_go_on_in_the_next_period(
    database: str, limits: dict[str, Any], spent: int
) -> None:
    clock = Clock()
    (name,) = limits
    with opened(database, clock) as session:
        results = [run(APP, Post(), session, f"t{n}", budget=ada(**limits)) for n in range(4)]
        assert [result.status for result in results] == ["done", "done", "partial", "partial"]
        ended = results[-1].budget_end
        assert ended is not None
        assert (ended.limit, ended.scope, ended.per, ended.is_shared) == (name, "user:ada", "day", True)
        assert ended.ends_at == datetime(2026, 11, 28, tzinfo=UTC).timestamp()
        for told in ("user:ada", "per day", f"{name} = ", "of it is spent", "2026-11-28 00:00 UTC"):
            assert told in ended.message
        assert resume(APP, session, "t3").status == "partial"
        assert sum(each.spent[name] for each in accounts(session.journal, past=True)) == spent
    clock.now += timedelta(days=1)
    with opened(database, clock) as session:  # another process, the next day
        assert [resume(APP, session, f"t{n}").status for n in (2, 3)] == ["done", "done"]
        days = accounts(session.journal, past=True)
    assert [day.spent["calls"] for day in days] == [3, 5]


def test_a_resume_with_a_larger_limit_goes_on_and_keeps_it(database: str) -> None:
    with opened(database) as session:
        assert run(APP, Post(), session, "t", budget=[Budget(calls=9), ada(calls=1)]).status == "partial"
        assert resume(APP, session, "t", budget=Budget(calls=8)).status == "partial"  # its own is another one
        result = resume(APP, session, "t", budget=ada(calls=2))
        assert (result.status, session.budget_of("t")) == ("done", Budget(calls=8))
        again = {"topic": "b"}
        assert run(APP, again, session, "t", budget=ada()).status == "done"  # no limit: it is lifted
        assert account(session).spent["calls"] == 2


def test_all_scopes_of_a_run_hold_and_of_one_scope_the_tightest(database: str) -> None:
    team = Budget(calls=3, scope="team:x")
    with opened(database) as session:
        assert run(APP, Post(), session, "a", budget=[ada(calls=9), team]).status == "done"
        result = run(APP, Post(), session, "b", budget=[ada(calls=9), team])
        assert (result.status, result.budget_end and result.budget_end.scope) == ("partial", "team:x")
        assert [each.spent["calls"] for each in accounts(session.journal)] == [3, 3]
        # What does not fit one of them is set aside in none.
        assert all(not sum(each.reserved.values()) for each in accounts(session.journal))
        result = run(APP, Post(), session, "c", budget=[ada(calls=9), ada(calls=4)])
        assert "calls = 4" in str(result.limit)
        result = run(APP, Post(), session, "d", budget=ada(calls=6))  # another run, another limit
        assert (result.status, account(session).spent["calls"]) == ("done", 6)


async def test_many_at_once_make_exactly_as_many_calls_as_fit(database: str) -> None:
    calls = 0

    def answer(request: Request, context: CallContext) -> str:
        nonlocal calls
        calls += 1
        return "ok"

    with using(ScriptedModel(answer, delay_s=0.001)), Session(database) as one, Session(database) as other:
        runs = [
            arun(APP, Post(str(n)), session, f"{n}-{number}", budget=ada(calls=25))
            for number, session in enumerate((one, other))
            for n in range(20)
        ]
        results: list[RunResult[Post]] = await asyncio.gather(*runs)
        done = sum(result.status == "done" for result in results)
        assert (calls, account(one).spent["calls"], account(one).left) == (25, 25, {"calls": 0})
        assert done <= 12


def test_a_failed_call_counts_as_one_and_gives_the_rest_back(database: str) -> None:
    with Session(database) as session:
        with using(Exact([ValueError("no")], price=PRICE)), pytest.raises(ValueError, match="no"):
            run(APP, Post(), session, "t", budget=ada(usd=100))
        found = account(session)
    assert (found.spent, found.reserved["usd"]) == ({"calls": 1, "tokens": 0, "usd": 0}, 0)


async def test_a_cancelled_call_gives_back_what_it_set_aside(database: str) -> None:
    asked = asyncio.Event()

    def answer(request: Request, context: CallContext) -> str:
        asked.set()
        return "ok"

    async with Session(database) as session:
        with using(Exact(answer, delay_s=60, price=PRICE)):
            task = asyncio.create_task(arun(APP, Post(), session, "t", budget=ada(usd=100)))
            await asked.wait()
            assert account(session).reserved["calls"] == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        found = account(session)
    assert (found.spent["calls"], found.spent["usd"], sum(found.reserved.values())) == (1, 0, 0)


def test_what_a_dead_process_set_aside_counts_as_spent_until_somebody_gives_it_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_holds, "LIFETIME_S", -1.0)  # as if it had died long ago
    with Session(database) as dead, opened(database) as session:
        ledger = dead.shared_ledger(ada(usd=4))
        asyncio.run(ledger.reserve(budget_cost(usd=3)))
        assert account(session).unsettled["usd"] == 3
        result = run(APP, Post(), session, "t", budget=ada(usd=4))
        assert (result.status, "$" in str(result.limit)) == ("partial", False)
        assert "set aside by processes that died" in str(result.limit)
        release(session.journal, "user:ada", "day")
        assert account(session).left == {"usd": 4}
        assert resume(APP, session, "t").status == "done"


def budget_cost(**spent: float) -> Any:
    from stepgraph.state.cost import Cost

    return Cost(1, known_usd=spent["usd"])


def test_limits_by_hand_take_the_place_of_what_runs_name(database: str) -> None:
    with opened(database) as session:
        set_limits(session.journal, "user:ada", "day", Limits(calls=1))
        assert account(session).limits == {"calls": 1}
        assert run(APP, Post(), session, "t", budget=ada(calls=9)).status == "partial"
        set_limits(session.journal, "user:ada", "day", Limits(calls=2))
        assert account(session).by_hand == ("calls",)
        assert resume(APP, session, "t").status == "done"
        reset_limits(session.journal, "user:ada", "day")
        assert account(session).limits == {"calls": 9}


def test_a_part_may_have_one(database: str) -> None:
    graph = chain(plan, within(write, [Budget(calls=9), ada(calls=1)])).compile()
    with opened(database) as session:
        assert run(graph, Post(), session, "a").status == "done"
        result = run(graph, Post(), session, "b")
        assert (result.status, result.values["plan"], "user:ada" in str(result.limit)) == (
            "partial",
            "ok",
            True,
        )


def test_langgraphs_own_calls_keep_it_too(session: Session) -> None:
    with using(ScriptedModel(lambda *_: "ok")):
        config = session.config("a", budget=ada(calls=3))
        assert APP.invoke(Post(), config)["draft"] == "ok"
        assert "__interrupt__" in APP.invoke(Post(), session.config("b", budget=ada(calls=3)))


def test_one_without_a_limit_of_its_own_is_refused_before_anything_is_paid() -> None:
    wrong: list[dict[str, Any]] = [
        {"per": "day", "usd": 1},
        {"scope": "x", "per": "year"},
        {"scope": ""},
        {"scope": " x"},
        {"scope": "a\0b"},
        {"scope": "x" * 201},
        {"scope": "x", "seconds": 5},
        {"scope": "x", "supersteps": 5},
        {"scope": "x", "usd": float("inf")},
        {"scope": "x", "usd": float("nan")},
        {"usd": float("nan")},
    ]
    for limits in wrong:
        with pytest.raises(ValueError, match="Budget"):
            Budget(**limits)


def test_two_budgets_of_its_own_are_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="one budget of its own"):
        session.config("t", budget=[Budget(calls=1), Budget(usd=1)])


def test_the_error_survives_a_pickle() -> None:
    error = BudgetExceeded(
        "m", limit="usd", scope="s", budget={}, spent={}, is_shared=True, per="day", ends_at=9
    )
    again = pickle.loads(pickle.dumps(error))
    assert (again.per, again.ends_at, again.is_shared, str(again)) == ("day", 9, True, "m")


def test_a_reservation_that_nobody_waits_for_any_more_is_given_back(session: Session) -> None:
    async def main() -> None:
        ledger = session.shared_ledger(ada(usd=5))
        task = asyncio.create_task(ledger.reserve(budget_cost(usd=5)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it stands in line
        task.cancel()
        await ledger.reserve(budget_cost(usd=5))

    asyncio.run(asyncio.wait_for(main(), 30))
    assert reservations.SLICE_S < 0.1


def test_what_settles_comes_last_and_in_one_order() -> None:
    ada_key, bo_key = (AccountKey(f"user:{name}", "day", 0) for name in ("ada", "bo"))
    one, other = (Settlement(key, "p", Amount(1, 9), Amount(1, 4)) for key in (bo_key, ada_key))
    other_statement = ("UPDATE calls SET problem = ?", ("x",))
    found = in_order([*settling([one]), *settling([one]), *settling([other]), other_statement])
    assert found[0] == other_statement
    assert [tuple(values) for _, values in found[1:]] == [
        (*ada_key, "p", -1, -9, 0, 1, 4, 0, 0.0),
        (*bo_key, "p", -2, -18, 0, 2, 8, 0, 0.0),
    ]
    assert in_order(found) == found
    assert in_order([other_statement]) == [other_statement]


async def test_a_call_that_outlives_its_process_takes_over_what_it_had_set_aside(database: str) -> None:
    with Session(database) as first, Session(database) as second:
        for session in (first, second):
            await set_aside([session.shared_ledger(ada(usd=4))], budget_cost(usd=3), "a call in a batch")
        held = account(second)
        assert held.reserved["usd"] + held.unsettled["usd"] == 3


async def test_many_users_of_many_workers_do_not_wait_for_each_other(database: str) -> None:
    """Each worker settles for the same users, in another order."""
    with Session(database) as one, Session(database) as other, using(ScriptedModel(lambda *_: "ok")):
        users = [f"user:{n}" for n in range(12)]
        runs = []
        for number, session in enumerate((one, other)):
            for user in users if number else reversed(users):
                budgets = [Budget(calls=5, scope=user), Budget(calls=99, scope="all of them")]
                runs.append(arun(APP, Post(), session, f"{number}-{user}", budget=budgets))
        results = await asyncio.wait_for(asyncio.gather(*runs), 60)
        assert {result.status for result in results} == {"done"}
        assert [each.spent["calls"] for each in accounts(one.journal)] == [48, *[4] * 12]

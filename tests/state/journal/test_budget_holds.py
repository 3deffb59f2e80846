"""What processes set aside and paid, each in a row of its own: nothing is lost, and no commit waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stepgraph import Session
from stepgraph.state.journal.budget_accounts import (
    AccountKey,
    Amount,
    Declined,
    Granted,
    Limits,
    Settlement,
    Wanted,
)
from stepgraph.state.journal.budget_holds import settling
from stepgraph.state.journal.budget_reads import BudgetAccount, accounts, release
from stepgraph.state.journal.budget_reserve import reserve
from stepgraph.state.journal.dialect import Transaction

from .test_journal import CALL

KEY = AccountKey("ada", "", 0)
ONE = Amount(1, 10, 0)
NOW = "100.0"  # by the database's clock, long ago: so whoever sets something aside counts as dead soon
LATER = "1000.0"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("cluster"))])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "runs.sqlite")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def session(database: str) -> Any:
    with Session(database) as session:
        yield session


def want(calls: int = 1, limit: int = 100, owner: str | None = None) -> Wanted:
    return Wanted(Amount(calls, 10 * calls), {KEY: (None, Limits(calls=limit))}, owner)


def ask(session: Session, *wanted: Wanted, owner: str, now: str = NOW) -> list[Granted | Declined]:
    return session.journal.transact(lambda db: reserve(db, wanted, owner, now, {})[0])


def settle(session: Session, owner: str, calls: int, spent: Amount) -> None:
    session.journal.write(settling([Settlement(KEY, owner, Amount(calls, 10 * calls), spent)]))


def stand(session: Session) -> BudgetAccount:
    (found,) = accounts(session.journal, "ada")
    return found


def rows(session: Session) -> list[str]:
    found = session.journal.query("SELECT owner FROM budget_holds ORDER BY owner")
    return [row["owner"] for row in found]


def test_what_is_paid_counts_wherever_it_is_kept(session: Session) -> None:
    for owner in ("one", "other", "third"):
        ask(session, want(3), owner=owner)
    settle(session, "one", 3, Amount(2, 20))
    settle(session, "other", 1, Amount(1, 5))
    before = stand(session)
    assert (before.spent["calls"], before.spent["tokens"], before.unsettled["calls"]) == (3, 25, 5)
    ask(
        session, want(1), owner="fourth", now=LATER
    )  # it adds what "one" has paid, who holds nothing, to the account
    assert rows(session) == ["fourth", "other", "third"]
    after = stand(session)
    assert (after.spent, after.unsettled["calls"]) == (before.spent, 6)
    for owner, calls in (("other", 2), ("third", 3), ("fourth", 1)):
        settle(session, owner, calls, Amount(calls, 1))
    ask(session, want(1), owner="fifth", now="5000.0")
    assert rows(session) == ["fifth"]
    assert (stand(session).spent["calls"], stand(session).unsettled["calls"]) == (9, 1)


def test_who_lives_keeps_a_row_that_holds_nothing(session: Session) -> None:
    ask(session, want(1), owner="one")
    settle(session, "one", 1, ONE)
    ask(session, want(1), owner="other")  # at the same moment: "one" may go on
    assert rows(session) == ["one", "other"]


def test_what_others_gave_back_is_not_given_back_twice(session: Session) -> None:
    """A process stands still, somebody gives back what it had set aside, and then it goes on and settles."""
    ask(session, want(4, 5), owner="stopped")
    settle(session, "stopped", 1, ONE)
    release(session.journal, "ada", None)
    assert (stand(session).spent["calls"], stand(session).unsettled["calls"]) == (1, 0)
    settle(session, "stopped", 3, Amount(3, 30))
    assert (stand(session).spent["calls"], stand(session).spent["tokens"]) == (4, 40)
    assert (stand(session).reserved["calls"], stand(session).unsettled["calls"], stand(session).left) == (
        0,
        0,
        {"calls": 1},
    )
    outcomes = ask(session, want(1, 5), want(1, 5), owner="other", now=LATER)
    assert [type(each) for each in outcomes] == [Granted, Declined]
    assert rows(session) == ["other"]
    assert stand(session).spent["calls"] == 4


def test_calls_of_a_batch_leave_no_rows_behind(session: Session) -> None:
    """Each holds what it set aside by itself, for it goes on without its process."""
    for number in range(50):
        ask(session, want(owner=f"call {number}"), owner="me")
        settle(session, f"call {number}", 1, ONE)
    ask(session, want(), owner="me", now=LATER)
    assert rows(session) == ["me"]
    assert (stand(session).spent["calls"], stand(session).spent["tokens"]) == (50, 500)


async def test_the_end_adds_what_was_paid_to_the_account(database: str) -> None:
    with Session(database) as session:
        with Session(database) as one:
            granted = await one.reservations.reserve(want())
            assert isinstance(granted, Granted)
            one.reservations.settle(one.reservations.settlements(granted, ONE))
        assert rows(session) == []
        assert session.journal.query("SELECT calls, tokens FROM budget_accounts") == [
            {"calls": 1, "tokens": 10}
        ]


def locking(session: Session, work: Callable[[Transaction], None]) -> threading.Thread:
    """Start a transaction of another process, which holds the account's lock until its work has ended."""
    locked = threading.Event()

    def whole(db: Transaction) -> None:
        reserve(db, [want(1, 1)], "other", session.journal.dialect.now, {})
        locked.set()
        work(db)

    thread = threading.Thread(target=lambda: session.journal.transact(whole, alone=False))
    thread.start()
    assert locked.wait(60)
    return thread


async def test_who_waited_for_an_account_sees_what_was_set_aside_meanwhile(database: str) -> None:
    with Session(database) as one, Session(database) as other:
        thread = locking(other, lambda _: time.sleep(0.5))
        outcome = await one.reservations.reserve(want(1, 1))
        thread.join(60)
        assert isinstance(outcome, Declined)
        assert (outcome.ended, outcome.account.reserved.calls) == (None, 1)


@pytest.mark.xdist_group("cluster")
async def test_a_commit_does_not_wait_for_what_others_set_aside(postgres_url: str) -> None:
    with Session(postgres_url) as one, Session(postgres_url) as other:
        granted = await one.reservations.reserve(want())
        assert isinstance(granted, Granted)
        committed, in_time = threading.Event(), []
        thread = locking(other, lambda _: in_time.append(committed.wait(30.0)))
        settlements = one.reservations.settlements(granted, ONE)
        await asyncio.wait_for(one.journal.commit_call(replace(CALL, thread_id="a"), *settlements), 60)
        committed.set()
        await asyncio.to_thread(thread.join, 60)
        assert in_time == [True]
        assert stand(one).spent["calls"] == 1


@pytest.mark.xdist_group("cluster")
@pytest.mark.parametrize("columns", ["held_calls", "*"])
def test_a_view_of_the_users_own_in_postgres_keeps_nobody_out(postgres_url: str, columns: str) -> None:
    """What it reads stays there, as zeros; an older process that still runs fails at it."""
    Session(postgres_url).close()
    former = ", ".join(f"ADD COLUMN held_{name} BIGINT NOT NULL DEFAULT 0" for name in Amount._fields)
    view = f"CREATE VIEW stepgraph.mine AS SELECT {columns} FROM stepgraph.budget_accounts"
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute("INSERT INTO stepgraph.budget_accounts (scope, per, starts_at) VALUES ('a', '', 0)")
        database.execute(f"ALTER TABLE stepgraph.budget_accounts {former}".encode())
        database.execute("UPDATE stepgraph.budget_accounts SET held_calls = 7")
        database.execute(view.encode())
        database.execute("UPDATE stepgraph.format SET version = 9")
    with Session(postgres_url) as session:
        ask(session, want(), owner="me")
        settle(session, "me", 1, ONE)
        ask(session, want(), owner="other", now=LATER)
        assert stand(session).spent["calls"] == 1
    with psycopg.connect(postgres_url, autocommit=True) as database:
        assert database.execute("SELECT * FROM stepgraph.mine").fetchall()
        with pytest.raises(psycopg.errors.CheckViolation):
            database.execute("UPDATE stepgraph.budget_accounts SET held_calls = held_calls + 1")

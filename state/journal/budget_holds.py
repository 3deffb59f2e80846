"""Who has set aside how much of a shared budget, and what it has paid since: a row for each process, in SQL.

A call's cost takes the place of what was set aside for it in the transaction that commits the call, and that
changes the process's own row alone: no commit waits for what another process commits. So an account has paid
for what is in its own row and in those of all who have set something aside. A row that holds nothing any more
is added to its account by whoever next has that locked.

What is set aside and never settled belongs to calls that were under way when their process died. The provider
may bill those, so they count as spent until their period ends, or somebody gives them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .budget_accounts import AccountKey, Amount, Settlement
from .dialect import Rows, Transaction
from .records import Statement

LIFETIME_S = 10.0
KEY = "scope = ? AND per = ? AND starts_at = ?"
_RENEW = (
    "UPDATE budget_holds SET expires_at = {now} + ? "
    "WHERE owner = ? AND (calls > 0 OR tokens > 0 OR picos > 0)"
)
HELD = Amount._fields
SPENT = tuple(f"spent_{name}" for name in Amount._fields)


def _positive(table: str, name: str) -> str:
    return f"CASE WHEN {table}{name} > 0 THEN {table}{name} ELSE 0 END"


_ALL = ", ".join((*HELD, *SPENT))
_COLUMNS = "scope, per, starts_at"
_SET_ASIDE = (
    "INSERT INTO budget_holds (scope, per, starts_at, owner, calls, tokens, picos, expires_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, {now} + ?) ON CONFLICT (scope, per, starts_at, owner) DO UPDATE SET "
    + ", ".join(f"{name} = {_positive('budget_holds.', name)} + excluded.{name}" for name in HELD)
    + ", expires_at = excluded.expires_at"
)
# A row that somebody else took away meanwhile comes back with less than nothing set aside, which is nothing.
_SETTLE = (
    f"INSERT INTO budget_holds (scope, per, starts_at, owner, {_ALL}, expires_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (scope, per, starts_at, owner) DO UPDATE SET "
    + ", ".join(f"{name} = budget_holds.{name} + excluded.{name}" for name in (*HELD, *SPENT))
)
_IDLE = " AND ".join(f"{name} <= 0" for name in HELD)
_ADD = f"UPDATE budget_accounts SET calls = calls + ?, tokens = tokens + ?, picos = picos + ? WHERE {KEY}"


class Holders(NamedTuple):
    """What all who pay from an account have set aside and spent, and what of it those left that died.

    `idle` rows hold nothing, and nobody keeps them.
    """

    held: Amount
    spent: Amount
    dead: Amount
    idle: int


def sums(table: str = "") -> dict[str, str]:
    """Return the SQL of sums over rows of holders, by their names; `table` is their alias with the dot."""
    held = {f"held_{name}": f"coalesce(sum({_positive(table, name)}), 0)" for name in HELD}
    return {**held, **{name: f"coalesce(sum({table}{name}), 0)" for name in SPENT}}


def sums_of_dead(now: str, table: str = "") -> dict[str, str]:
    """Return the SQL of sums over rows of those that died; `now` is the SQL of the database's clock."""
    return {
        f"dead_{name}": f"coalesce(sum({_positive(table, name)}) FILTER (WHERE {table}expires_at < {now}), 0)"
        for name in HELD
    }


def holders(db: Transaction, key: AccountKey, now: str) -> Holders:
    """Return the sums over an account's rows. They go with it only while that is locked."""
    named = ", ".join(f"{sql} AS {name}" for name, sql in {**sums(), **sums_of_dead(now)}.items())
    idle = f"count(*) FILTER (WHERE {_IDLE} AND expires_at < {now}) AS idle"
    (row,) = db.execute(f"SELECT {named}, {idle} FROM budget_holds WHERE {KEY}", key)
    return Holders(amount(row, "held_"), amount(row, "spent_"), amount(row, "dead_"), row["idle"])


def renew(db: Transaction, owners: Iterable[str], now: str) -> None:
    """Take these owners for alive, from now on."""
    for owner in owners:
        db.execute(_RENEW.format(now=now), (LIFETIME_S, owner))


def set_aside(db: Transaction, key: AccountKey, owner: str, more: Amount, now: str) -> None:
    """Set more aside for an owner, and take it for alive."""
    db.execute(_SET_ASIDE.format(now=now), (*key, owner, *more, LIFETIME_S))


def fold(db: Transaction, key: AccountKey, now: str, owner: str | None = None) -> None:
    """Add to an account, which is locked, what rows have paid that hold nothing: an owner's, or dead ones.

    Those rows are gone then.
    """
    whose, values = (f"expires_at < {now}", ()) if owner is None else ("owner = ?", (owner,))
    _move_to_account(db, key, f"{_IDLE} AND {whose}", values)


def give_back(db: Transaction, key: AccountKey, now: str) -> None:
    """Give back what those set aside in an account, which is locked, that died; what they paid stays paid."""
    _move_to_account(db, key, f"expires_at < {now}")


def _move_to_account(db: Transaction, key: AccountKey, which: str, values: Sequence[Any] = ()) -> None:
    """Delete rows of an account, and add what they have paid to it."""
    sql = f"DELETE FROM budget_holds WHERE {KEY} AND {which} RETURNING {', '.join(SPENT)}"
    spent = Amount()
    for row in db.execute(sql, (*key, *values)):
        spent = spent.plus(amount(row, "spent_"))
    if any(spent):
        db.execute(_ADD, (*spent, *key))


def accounts_of(query: Callable[[str, Sequence[Any]], Rows], owner: str) -> list[AccountKey]:
    """Return the accounts in which an owner has a row."""
    return [_key(row) for row in query(f"SELECT {_COLUMNS} FROM budget_holds WHERE owner = ?", (owner,))]


def forget(db: Transaction, keys: Iterable[AccountKey], owner: str, for_update: str) -> None:
    """Leave no row of an owner's behind that holds nothing; keys are in the order in which all lock them."""
    for key in keys:
        db.execute(f"SELECT calls FROM budget_accounts WHERE {KEY}{for_update}", key)
        fold(db, key, "0", owner)


def _key(row: Mapping[str, Any]) -> AccountKey:
    return AccountKey(row["scope"], row["per"], row["starts_at"])


def left_by(db: Transaction, owner: str) -> Iterator[tuple[AccountKey, str, Amount]]:
    """Yield what an owner has set aside, in each account."""
    sql = f"SELECT {_COLUMNS}, calls, tokens, picos FROM budget_holds WHERE owner = ? AND calls > 0"
    for row in db.execute(sql, (owner,)):
        yield _key(row), owner, amount(row)


def amount(row: Mapping[str, Any], prefix: str = "") -> Amount:
    """Return an amount of a row's columns, whose names begin with `prefix`."""
    return Amount(*[int(row[f"{prefix}{name}"]) for name in Amount._fields])


def settling(settlements: Sequence[Settlement]) -> list[Statement]:
    """Return the statements that settle: one for each account and owner."""
    if len(settlements) < 2:
        return [_statement(*each) for each in settlements]
    totals: dict[tuple[AccountKey, str], tuple[Amount, Amount]] = {}
    for key, owner, bound, spent in settlements:
        bounds, all_spent = totals.get((key, owner), (Amount(), Amount()))
        totals[key, owner] = bounds.plus(bound), all_spent.plus(spent)
    return [_statement(key, owner, *totals[key, owner]) for key, owner in sorted(totals)]


def _statement(key: AccountKey, owner: str, bound: Amount, spent: Amount) -> Statement:
    calls, tokens, picos = bound
    return _SETTLE, (*key, owner, -calls, -tokens, -picos, *spent, 0.0)


def in_order(statements: Iterable[Statement]) -> list[Statement]:
    """Return statements with what settles at their end, and together.

    Many commits become one transaction on Postgres, most of them of calls that are paid by the same budgets.
    """
    listed = list(statements)
    settle = [each for each in listed if each[0] == _SETTLE]
    if len(settle) < 2:
        return listed
    others = [each for each in listed if each[0] != _SETTLE]
    return [*others, *settling([_settlement(values) for _, values in settle])]


def _settlement(values: Sequence[Any]) -> Settlement:
    scope, per, starts_at, owner, calls, tokens, picos, *spent, _ = values
    bound = Amount(-calls, -tokens, -picos)
    return Settlement(AccountKey(scope, per, starts_at), owner, bound, Amount(*spent))

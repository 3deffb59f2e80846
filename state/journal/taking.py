"""The statements that claim threads: those that begin together in an event loop are claimed by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .dialect import Rows
from .new_threads import IS_NEW, touched_if
from .records import Statement

if TYPE_CHECKING:
    from .journal import Journal

# The turn that the thread's job has now, as `JobRecord.turn` names it; NULL where it has none.
_TURN = (
    "(SELECT j.owner || ' ' || j.epoch FROM jobs j WHERE j.thread_id = claims.thread_id "
    "AND j.status = 'running')"
)


def worker_of(turn: str) -> str:
    """Return whose turn it is."""
    return turn.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Wish:
    """A thread that is to be claimed, under the name of its owner."""

    thread_id: str
    owner: str


def taking(
    wishes: Sequence[Wish], mine: Mapping[str, object], lifetime_s: float, now: str, dead: str = ""
) -> Statement:
    """Return what claims threads that nobody holds, or that `dead` held, and returns which it has claimed.

    `now` is the SQL of the database's clock, `mine` what a claim tells of its owner. A claim that has this
    very name is ours: the connection was lost before the answer came, and it is sent again.
    """
    names = ("thread_id", "owner", *mine)
    row = f"({', '.join('?' * len(names))}, 1, {now} + ?)"
    changes = ", ".join(f"{column} = excluded.{column}" for column in (*names[1:], "expires_at"))
    # In one order for everybody, so that two who claim the same threads do not wait for each other.
    ordered = sorted(wishes, key=lambda wish: wish.thread_id)
    values = [v for wish in ordered for v in (wish.thread_id, wish.owner, *mine.values(), lifetime_s)]
    sql = (
        f"INSERT INTO claims ({', '.join(names)}, epoch, expires_at) VALUES {', '.join([row] * len(wishes))} "
        f"ON CONFLICT (thread_id) DO UPDATE SET {changes}, epoch = claims.epoch + 1 "
        f"WHERE claims.expires_at <= {now} OR claims.owner = excluded.owner OR claims.owner = ? "
        f"RETURNING thread_id, owner, epoch, {IS_NEW}, {_TURN} AS turn"
    )
    return sql, [*values, dead]


def taking_with_turn(
    wish: Wish, turn: tuple[str, int], mine: Mapping[str, object], lifetime_s: float, now: str
) -> Statement:
    """Return what claims a new thread for a turn of its job, and returns the claim's epoch.

    It claims nothing unless the job has that turn, by owner and epoch, and no turn before it may still run.
    """
    names = ("thread_id", "owner", *mine)
    sql = (
        f"INSERT INTO claims ({', '.join(names)}, epoch, expires_at) "
        f"SELECT {', '.join('?' * len(names))}, 1, {now} + ? FROM jobs WHERE thread_id = ? AND owner = ? "
        "AND epoch = ? AND status = 'running' AND coalesce(former, owner) = owner "
        f"AND NOT ({touched_if('jobs.thread_id', 'AND t.owner <> ?')}) "
        "ON CONFLICT (thread_id) DO UPDATE SET expires_at = excluded.expires_at "
        "WHERE claims.owner = excluded.owner RETURNING epoch"
    )
    values = (wish.thread_id, wish.owner, *mine.values(), lifetime_s, wish.thread_id, *turn, wish.owner)
    return sql, values


def ending(wish: Wish) -> Statement:
    """Return what ends a claim of which nobody has heard whether it was made."""
    return "UPDATE claims SET expires_at = 0 WHERE thread_id = ? AND owner = ?", (wish.thread_id, wish.owner)


def ending_of_session(thread_id: str, session: str, turn: str | None) -> Statement:
    """Return what ends the claim of a session, with a `turn` only while the thread's job has that one."""
    sql = "UPDATE claims SET expires_at = 0, epoch = epoch + 1 WHERE thread_id = ? AND owner LIKE ?"
    values = (thread_id, f"{session}.%")
    return (sql, values) if turn is None else (f"{sql} AND {_TURN} = ?", (*values, turn))


async def take_all(
    journal: Journal, wishes: Sequence[Wish], mine: Mapping[str, object], lifetime_s: float
) -> list[dict[str, Any] | None]:
    """Claim threads, and return for each wish the row, None if somebody else holds the thread."""
    first = {wish.thread_id: wish for wish in reversed(wishes)}  # who wants it too comes too late
    try:
        statement = taking(list(first.values()), mine, lifetime_s, journal.dialect.now)
        rows: Rows = await journal.store.aexecute(*statement)
    except asyncio.CancelledError:  # the loop ends: nobody is there to hold them
        journal.add_later(*map(ending, first.values()))
        raise
    by_owner = {row["owner"]: row for row in rows}
    return [by_owner.get(wish.owner) for wish in wishes]


async def take_aside(take: Callable[[], bool], give_back: Callable[[], None]) -> bool:
    """Claim a thread in another one of this process; what nobody waits for any more then is given back."""
    lock, is_taken, is_left = threading.Lock(), False, False

    def taken() -> bool:
        nonlocal is_taken
        is_new = take()
        with lock:
            is_taken = True
            comes_late = is_left
        if comes_late:
            give_back()
        return is_new

    try:
        return await asyncio.to_thread(taken)
    except asyncio.CancelledError:
        with lock:
            is_left = True
            is_held = is_taken
        if is_held:
            give_back()
        raise

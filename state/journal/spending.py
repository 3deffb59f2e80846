"""What a thread was allowed, and what it has spent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..cost import NOTHING, Cost
from ..statuses import CUT, Lane
from .dialect import Rows
from .new_threads import AQuery
from .sums import cost_columns, cost_in
from .tables import running_time

_BELOW = "(? IS NULL OR task = ? OR substr(task, 1, length(?) + 1) = ? || '|')"


# A thread with all that is part of it, and of its parts.
FAMILY: Final = (
    "WITH RECURSIVE family(id) AS (SELECT CAST(? AS TEXT) UNION "
    "SELECT p.thread_id FROM job_parts p JOIN family f ON p.parent = f.id) "
)

_TERMS: Final = "SELECT budget, lane FROM runs WHERE thread_id = ?"
_OF_FAMILY: Final = "WHERE source = 'model' AND thread_id IN (SELECT id FROM family)"
_SPENT: Final = f"{FAMILY}SELECT {cost_columns()} FROM calls {_OF_FAMILY}"
_CUT: Final = "FROM calls k WHERE k.thread_id = {} AND k.status = 'answered' AND k.finish_reason = ?"
_RAN: Final = running_time(f"WHERE thread_id = ? AND {_BELOW}")


@dataclass(frozen=True)
class Terms:
    """Under which budget and in which lane a thread ran last; None for what nobody chose.

    `spent` and `ran_s` are what it has had of its budget, where that was read, too.
    """

    budget: str | None = None
    lane: Lane | None = None
    spent: Cost | None = None
    ran_s: float | None = None


NEW_THREAD: Final = Terms(spent=NOTHING, ran_s=0.0)
Spent = tuple[Cost, tuple[str, ...]]


async def spent_and_cut(aquery: AQuery, threads: Sequence[str]) -> list[Spent]:
    """Return what `Spending.spent` does of each thread, with the tokens that the providers read from caches.

    And the paths of the steps that took a text which was cut at its limit of tokens.
    """
    marks = ", ".join("?" * len(threads))
    # The threads by their names, so that a database surely goes by the index: their sums, and what is rare.
    sums = (
        f"SELECT thread_id, {cost_columns()}, coalesce(sum(cached_tokens), 0) AS cached FROM calls "
        f"WHERE source = 'model' AND thread_id IN ({marks}) GROUP BY thread_id"
    )
    sql = (
        f"WITH asked (id) AS (VALUES {', '.join(['(?)'] * len(threads))}) SELECT a.id AS root, s.*, "
        "EXISTS (SELECT 1 FROM job_parts p WHERE p.parent = a.id) AS has_parts, "
        f"EXISTS (SELECT 1 {_CUT.format('a.id')}) AS is_cut "
        f"FROM asked a LEFT JOIN ({sums}) s ON s.thread_id = a.id"
    )
    spent: dict[str, Spent] = {}
    for row in await aquery(sql, (*threads, CUT, *threads)):
        root, paths = row["root"], ()
        cost = NOTHING if row["thread_id"] is None else cost_in(row)
        if row["has_parts"]:
            (whole,) = await aquery(_SPENT, (root,))
            cost = cost_in(whole)
        if row["is_cut"]:
            rows = await aquery(f"SELECT DISTINCT path {_CUT.format('?')} ORDER BY path", (root, CUT))
            paths = tuple(each["path"] for each in rows)
        spent[root] = replace(cost, cached_tokens=int(row["cached"] or 0)), paths
    return [spent[thread] for thread in threads]


class Spending:
    """Reads it from the record."""

    query: Callable[..., Rows]
    aquery: Callable[..., Awaitable[Rows]]

    def budget_of(self, thread_id: str) -> str | None:
        return self.terms_of(thread_id).budget

    def terms_of(self, thread_id: str) -> Terms:
        """Return the terms under which a thread ran last."""
        return _terms_in(self.query(_TERMS, (thread_id,)))

    async def aterms_of(self, thread_id: str, *, is_limited: bool = False) -> Terms:
        """Like `terms_of`; with what the thread has had, if `is_limited`, or if it was by then."""
        terms = _terms_in(await self.aquery(_TERMS, (thread_id,)))
        if not is_limited and terms.budget is None:
            return terms
        (spent,) = await self.aquery(_SPENT, (thread_id,))
        ran_s = _seconds_in(await self.aquery(_RAN, (thread_id, None, None, None, None)))
        return replace(terms, spent=cost_in(spent), ran_s=ran_s)

    def spent(self, thread_id: str, task: str | None = None) -> Cost:
        """Return what a thread's paid calls cost, and what its budget was charged where nobody counted.

        With a task, only the calls below that node execution count.
        """
        if task is None:  # what it has given to workers counts too
            return cost_in(self.query(_SPENT, (thread_id,))[0])
        (row,) = self.query(
            f"SELECT {cost_columns()} FROM calls WHERE thread_id = ? AND source = 'model' AND {_BELOW}",
            (thread_id, task, task, task, task),
        )
        return cost_in(row)

    def ran_s(self, thread_id: str, task: str | None = None) -> float:
        """Return the seconds that a thread ran, or what is below one of its node executions."""
        return _seconds_in(self.query(_RAN, (thread_id, task, task, task, task)))


def _terms_in(rows: Rows) -> Terms:
    return Terms(rows[0]["budget"], rows[0]["lane"]) if rows else Terms()


def _seconds_in(rows: Rows) -> float:
    return float(rows[0]["seconds"]) if rows else 0.0

"""What a thread was allowed, and what it has spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..cost import Cost
from ..statuses import CUT
from .dialect import Rows
from .sums import cost_columns, cost_in
from .tables import running_time

_BELOW = "(? IS NULL OR task = ? OR substr(task, 1, length(?) + 1) = ? || '|')"


# A thread with all that is part of it, and of its parts.
FAMILY: Final = (
    "WITH RECURSIVE family(id) AS (SELECT CAST(? AS TEXT) UNION "
    "SELECT p.thread_id FROM job_parts p JOIN family f ON p.parent = f.id) "
)


class Spending:
    """Reads it from the record."""

    query: Callable[..., Rows]

    def budget_of(self, thread_id: str) -> str | None:
        rows = self.query("SELECT budget FROM runs WHERE thread_id = ?", (thread_id,))
        return rows[0]["budget"] if rows else None

    def spent(self, thread_id: str, task: str | None = None) -> Cost:
        """Return what a thread's paid calls cost, and what its budget was charged where nobody counted.

        With a task, only the calls below that node execution count.
        """
        if task is None:  # what it has given to workers counts too
            family = f"{FAMILY}SELECT {cost_columns()} FROM calls WHERE source = 'model' AND thread_id IN "
            return cost_in(self.query(f"{family}(SELECT id FROM family)", (thread_id,))[0])
        (row,) = self.query(
            f"SELECT {cost_columns()} FROM calls WHERE thread_id = ? AND source = 'model' AND {_BELOW}",
            (thread_id, task, task, task, task),
        )
        return cost_in(row)

    def cut_answers(self, thread_id: str) -> list[str]:
        """Return the paths of the steps that took a text which was cut at its limit of tokens."""
        where = "thread_id = ? AND status = 'answered' AND finish_reason = ?"
        rows = self.query(f"SELECT DISTINCT path FROM calls WHERE {where} ORDER BY path", (thread_id, CUT))
        return [row["path"] for row in rows]

    def ran_s(self, thread_id: str, task: str | None = None) -> float:
        """Return the seconds that a thread ran, or what is below one of its node executions."""
        sql = running_time(f"WHERE thread_id = ? AND {_BELOW}")
        rows = self.query(sql, (thread_id, task, task, task, task))
        return float(rows[0]["seconds"]) if rows else 0.0

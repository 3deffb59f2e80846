"""Which threads a reader asks for, as a condition in SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...state.journal.journal import Journal
from ...state.journal.run_states import run_state
from ...state.journal.tables import running_time
from ...state.json_text import json_text
from ...state.money import picos
from ...state.statuses import RUNNING, UNFINISHED

RAN = f"""coalesce((SELECT seconds FROM ({running_time(thread="r.thread_id")}) AS ran), 0.0)"""
COST = "coalesce((SELECT sum(cost_picos) FROM calls WHERE thread_id = r.thread_id), 0)"
_INVOKED = "r.thread_id IN (SELECT i.thread_id FROM invocations i WHERE {})"
ALL = "1 = 1"
_SLACK_S = 1.0  # clocks of two machines differ by less


@dataclass(frozen=True)
class Search:
    """Which threads: those with `text` in their id, graph or error, or as a user or tag, that fit the rest.

    A thread has each user, tag and graph of its invocations. It began at `since` or later, and before
    `until`, in Unix time. Costs are in dollars, as far as they are known; `seconds` are those in which nodes
    ran. `threads` are the only ones to look at.
    """

    text: str = ""
    status: str | None = None
    user: str = ""
    tag: str = ""
    graph: str = ""
    since: float | None = None
    until: float | None = None
    min_cost: float | None = None
    max_cost: float | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    threads: tuple[str, ...] | None = None

    def where(self, journal: Journal) -> tuple[str, list[Any]]:
        """Return the condition on the table `runs AS r`, and its values."""
        conditions, values = [ALL], []
        for condition, parameters in self._conditions(journal):
            conditions.append(condition)
            values += parameters
        return " AND ".join(conditions), values

    def _conditions(self, journal: Journal) -> Iterator[tuple[str, list[Any]]]:
        """Yield each condition, the cheap ones first."""
        if self.status:
            stands = run_state(journal) if self.status in (RUNNING, UNFINISHED) else "r.status"
            yield f"{stands} = ?", [self.status]
        if self.since is not None:
            yield "r.started_at >= ?", [self.since]
        if self.until is not None:
            yield "r.started_at < ?", [self.until]
        if self.threads is not None:
            yield f"r.thread_id IN ({', '.join('?' * len(self.threads)) or 'NULL'})", [*self.threads]
        if self.user:
            yield _INVOKED.format('i."user" = ?'), [self.user]
        if self.tag:  # found by its JSON, whose quotes stand nowhere else
            yield _INVOKED.format("replace(i.tags, ?, '') <> i.tags"), [json_text(self.tag)]
        if self.graph:
            yield f"(r.graph = ? OR {_INVOKED.format('i.graph = ?')})", [self.graph] * 2
        if self.min_cost is not None:
            yield f"{COST} >= ?", [picos(self.min_cost)]
        if self.max_cost is not None:
            yield f"{COST} <= ?", [picos(self.max_cost)]
        # Nodes ran no longer than it took in all, which is quick to see; what runs is not as old as it looks.
        took = "CASE WHEN r.status IN ('running', 'queued') THEN {} ELSE r.updated_at - r.started_at END"
        if self.min_seconds is not None:
            over = f"({took.format('?')} >= ? AND {RAN} >= ?)"
            yield over, [self.min_seconds, self.min_seconds - _SLACK_S, self.min_seconds]
        if self.max_seconds is not None:
            under = f"({took.format('?')} <= ? OR {RAN} <= ?)"
            yield under, [self.max_seconds, self.max_seconds - _SLACK_S, self.max_seconds]
        if self.text:
            # One database tells capitals from small letters in LIKE, the other does not.
            found_in = (
                f"lower(r.{name}) LIKE lower(?) ESCAPE '^'" for name in ("thread_id", "graph", "error")
            )
            yield (
                f"({' OR '.join(found_in)} "
                "OR EXISTS (SELECT 1 FROM invocations i WHERE i.thread_id = r.thread_id AND "
                "(i.\"user\" = ? OR replace(i.tags, ?, '') <> i.tags)))",
                [*[like(self.text)] * 3, self.text, json_text(self.text)],
            )


EVERYTHING = Search()


def like(text: str) -> str:
    """Return the pattern for LIKE … ESCAPE '^' of what holds a text."""
    return "%" + re.sub(r"([%_^])", r"^\1", text) + "%"

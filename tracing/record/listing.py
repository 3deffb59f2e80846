"""The list of threads, page by page: what stands on a page, and what all that fit come to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...state.cost import NOTHING, Cost
from ...state.errors import InputError
from ...state.journal.journal import Journal
from ...state.journal.run_states import run_state
from ...state.journal.sums import cost_columns, cost_in
from .reads import among
from .search import ALL, COST, RAN, Search
from .spans import Row
from .threads import Order, Thread, count_statuses, ran_longest, select_threads, thread_of

_VALUES: dict[Order, str] = {"latest": "r.updated_at", "costliest": COST, "longest": RAN}


@dataclass(frozen=True)
class Cursor:
    """A place in the list: behind the thread with this value of the order, and this row."""

    value: float
    row: int

    def __str__(self) -> str:
        return f"{self.value!r}_{self.row}"

    @classmethod
    def of(cls, text: str) -> Cursor | None:
        """Return the cursor that a text says, None for an empty one. Raises InputError for another text."""
        if not text:
            return None
        value, _, row = text.rpartition("_")
        try:
            cursor = cls(int(value) if value.isdecimal() else float(value), int(row))
            if not all(abs(number) < 2**63 for number in (cursor.value, cursor.row)):
                raise ValueError  # no database has such a number
            return cursor
        except ValueError:
            raise InputError(f"{text!r} is no place in the list of runs. Begin at its first page.") from None


@dataclass(frozen=True)
class ThreadPage:
    """Threads in their order, and the places before and behind them, where there are more."""

    threads: Sequence[Thread]
    before: Cursor | None
    after: Cursor | None


@dataclass(frozen=True)
class Totals:
    """What threads come to together."""

    threads: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    cost: Cost = NOTHING


@dataclass
class Summary:
    """What a thread was given last and what it returned, as JSON, and who asked."""

    input: str | None = None
    output: str | None = None
    interrupts: str | None = None
    users: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


def page_of_threads(
    journal: Journal,
    search: Search,
    order: Order,
    limit: int,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
) -> ThreadPage:
    """Return the threads that a search finds, behind a place in the list or just before one."""
    value, back = _VALUES[order], before is not None
    place = before or after
    if order == "longest" and place is None:
        search = ran_longest(journal, search, limit + 1)
    where, values = search.where(journal)
    if place is not None:
        sign = ">" if back else "<"
        where += f" AND {value} {sign}= ? AND ({value} {sign} ? OR r.rowid {sign} ?)"
        values += [place.value, place.value, place.row]
    way = "ASC" if back else "DESC"
    rows = journal.query(
        f"SELECT r.thread_id, r.rowid AS at, {value} AS value FROM runs r WHERE {where} "
        f"ORDER BY {value} {way}, r.rowid {way} LIMIT ?",
        (*values, limit + 1),
    )
    more, rows = len(rows) > limit, rows[:limit]
    if back:
        rows.reverse()
    ends = [Cursor(row["value"], row["at"]) for row in (rows[:1] + rows[-1:])]
    return ThreadPage(
        threads=read_threads(journal, [row["thread_id"] for row in rows]),
        before=ends[0] if ends and (more if back else place is not None) else None,
        after=ends[-1] if ends and (more or back) else None,
    )


def read_threads(journal: Journal, thread_ids: Sequence[str]) -> list[Thread]:
    """Return threads in the order of their ids; one that was deleted meanwhile is left out."""
    sql = select_threads(journal) + " WHERE r.thread_id IN ({}) GROUP BY r.thread_id"
    by_id: dict[str, Thread] = {}
    for start in range(0, len(thread_ids), 500):
        part = thread_ids[start : start + 500]
        for row in journal.query(sql.format(", ".join("?" * len(part))), part):
            by_id[row["thread_id"]] = thread_of(row)
    return [by_id[thread_id] for thread_id in thread_ids if thread_id in by_id]


def unended_threads(journal: Journal) -> list[Thread]:
    """Return all threads that have not ended, the oldest first."""
    sql = "SELECT thread_id FROM runs WHERE status <> 'done' ORDER BY started_at, thread_id"
    return read_threads(journal, [row["thread_id"] for row in journal.query(sql)])


def totals_of(journal: Journal, search: Search) -> Totals:
    """Return what all threads that a search finds come to."""
    where, values = search.where(journal)
    if where == ALL:  # then each table's own index is read from its beginning to its end
        statuses = count_statuses(journal)
        cost = cost_in(journal.query(f"SELECT {cost_columns('c.')} FROM calls c")[0])
    else:  # what a thread has to fit may take long to see, and is looked at once
        rows = journal.query(
            f"SELECT {run_state(journal)} AS stands, count(DISTINCT r.thread_id) AS n, {cost_columns('c.')} "
            f"FROM runs r LEFT JOIN calls c ON c.thread_id = r.thread_id WHERE {where} GROUP BY stands",
            values,
        )
        cost = sum(map(cost_in, rows), NOTHING)
        statuses = {row["stands"]: int(row["n"]) for row in sorted(rows, key=lambda row: -row["n"])}
    return Totals(sum(statuses.values()), statuses, cost)


def summaries_of(journal: Journal, threads: Sequence[Thread]) -> dict[str, Summary]:
    """Return what each thread was given last, what it returned or asks, and its users and tags."""
    thread_ids = [thread.thread_id for thread in threads]
    summaries = {thread_id: Summary() for thread_id in thread_ids}
    if not summaries:
        return summaries
    marks = _marks(thread_ids)
    for row in among(journal.query, "SELECT thread_id, input FROM runs WHERE thread_id IN", thread_ids):
        summaries[row["thread_id"]].input = row["input"]
    for row in journal.query(
        'SELECT thread_id, "user" AS asker, tags, min(id) AS first FROM invocations '
        f"WHERE thread_id IN {marks} "
        'GROUP BY thread_id, "user", tags ORDER BY first',
        thread_ids,
    ):
        summary = summaries[row["thread_id"]]
        for have, more in ((summary.users, [row["asker"]]), (summary.tags, _texts(row["tags"]))):
            have += [each for each in more if each and each not in have]
    # The input of the last trace is that of its first invocation; the others went on with it.
    for row in journal.query(
        f"SELECT i.thread_id, i.input FROM invocations i WHERE i.id IN (SELECT min(f.id) FROM invocations f "
        f"WHERE f.thread_id IN {marks} AND f.trace = (SELECT max(t.trace) FROM invocations t "
        "WHERE t.thread_id = f.thread_id) GROUP BY f.thread_id)",
        thread_ids,
    ):
        summaries[row["thread_id"]].input = row["input"] or summaries[row["thread_id"]].input
    for row in _last(journal, "invocations", "output", thread_ids):
        summaries[row["thread_id"]].output = row["output"]
    asking = [thread.thread_id for thread in threads if thread.status == "interrupted"]
    for row in _last(journal, "node_runs", "interrupts", asking):
        summaries[row["thread_id"]].interrupts = row["interrupts"]
    return summaries


def _last(journal: Journal, table: str, column: str, thread_ids: Sequence[str]) -> list[Row]:
    if not thread_ids:
        return []
    return journal.query(
        f"SELECT thread_id, {column} FROM {table} WHERE id IN (SELECT max(id) FROM {table} "
        f"WHERE thread_id IN {_marks(thread_ids)} AND {column} IS NOT NULL GROUP BY thread_id)",
        thread_ids,
    )


def _marks(values: Sequence[Any]) -> str:
    return f"({', '.join('?' * len(values))})"


def labels_of(journal: Journal, most: int) -> dict[str, list[str]]:
    """Return the graphs, users and tags on record, the most frequent first, at most so many of each."""
    counts: dict[str, dict[str, int]] = {
        "graph": defaultdict(int),
        "user": defaultdict(int),
        "tag": defaultdict(int),
    }
    for row in journal.query("SELECT graph, count(*) AS n FROM runs GROUP BY graph"):
        counts["graph"][row["graph"] or ""] += row["n"]
    for row in journal.query(
        'SELECT graph, "user" AS asker, tags, count(*) AS n FROM invocations GROUP BY graph, "user", tags '
        "ORDER BY n DESC LIMIT ?",
        (100 * most,),
    ):
        counts["graph"][row["graph"] or ""] += row["n"]
        counts["user"][row["asker"] or ""] += row["n"]
        for tag in _texts(row["tags"]):
            counts["tag"][tag] += row["n"]
    return {
        kind: [name for name in sorted(by_name, key=lambda name: (-by_name[name], name)) if name][:most]
        for kind, by_name in counts.items()
    }


def _texts(text: str | None) -> list[str]:
    """Return the texts in a JSON list, none for anything else: a file may come from anywhere."""
    try:
        content = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [each for each in content if isinstance(each, str)] if isinstance(content, list) else []

"""A search through what threads were asked, answered and returned, the newest first, while there is time.

No index is kept of these texts. SQL picks what may hold the words, and each text is then looked at by itself:
so the names of JSON's members are not found, and both databases find the same.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...state.journal.journal import Journal
from ...state.json_text import json_text
from .listing import Cursor
from .search import Search, like
from .spans import Row

AT_ONCE = 500
LOOKED_AT = (
    "prompts, answers, tool calls, inputs, results, errors, and the names of runs, graphs, users and tags"
)
_AROUND = 60
# The columns of each table: as text, and as JSON.
_TEXTS = {
    "runs": (("thread_id", "graph", "error"), ()),
    "invocations": (("user", "graph"), ("tags", "input", "output")),
    "calls": (("answer", "reasoning"), ("messages", "tool_calls")),
}
_SAID = {
    "messages": "prompt",
    "answer": "answer",
    "reasoning": "reasoning",
    "tool_calls": "tool call",
    "output": "result",
    "thread_id": "run",
}


@dataclass(frozen=True)
class Hit:
    """The words in a thread: where they stand, and the text around them."""

    place: str
    before: str
    words: str
    after: str


@dataclass
class Found:
    """The threads that hold the words among those looked at, the newest first, and a place to go on."""

    hits: dict[str, Hit] = field(default_factory=dict)
    places: dict[str, Cursor] = field(default_factory=dict)
    looked_at: int = 0
    rest: Cursor | None = None


def find(
    journal: Journal,
    search: Search,
    *,
    after: Cursor | None = None,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Return the threads that a search finds and whose texts hold its words, from a place in the list on.

    It stops when its time is over; at least AT_ONCE threads are looked at. The words are found in any
    capitals, as far as ASCII goes.
    """
    words, began, result = search.text, clock(), Found(rest=after)
    finder = _Finder(journal, words)
    for rows in _portions(journal, replace(search, text=""), after):
        hits = finder.hits([row["thread_id"] for row in rows])
        for row in rows:
            if row["thread_id"] in hits:
                result.hits[row["thread_id"]] = hits[row["thread_id"]]
                result.places[row["thread_id"]] = _place(row)
        result.looked_at += len(rows)
        result.rest = _place(rows[-1]) if len(rows) == AT_ONCE else None
        if result.rest is not None and clock() - began > seconds:
            return result
    result.rest = None
    return result


def _portions(journal: Journal, search: Search, after: Cursor | None) -> Iterator[list[Row]]:
    where, values = search.where(journal)
    while True:
        place = [] if after is None else [after.value, after.value, after.row]
        behind = " AND r.updated_at <= ? AND (r.updated_at < ? OR r.rowid < ?)" if place else ""
        rows = journal.query(
            f"SELECT r.thread_id, r.updated_at, r.rowid AS at FROM runs r WHERE {where}{behind} "
            "ORDER BY r.updated_at DESC, r.rowid DESC LIMIT ?",
            (*values, *place, AT_ONCE),
        )
        if rows:
            yield rows
        if len(rows) < AT_ONCE:
            return
        after = _place(rows[-1])


def _place(row: Row) -> Cursor:
    return Cursor(row["updated_at"], row["at"])


class _Finder:
    def __init__(self, journal: Journal, words: str) -> None:
        self._journal = journal
        self._words = lowered(words)
        self._plain, self._quoted = like(words), like(json_text(words)[1:-1])
        contains = journal.dialect.contains
        self._tests = {
            table: " OR ".join(contains(_quoted(column)) for column in (*plain, *quoted))
            for table, (plain, quoted) in _TEXTS.items()
        }

    def hits(self, thread_ids: Sequence[str]) -> dict[str, Hit]:
        """Return where the words stand in these threads, in one place of each."""
        by_thread: dict[str, Hit] = {}
        marks = ", ".join("?" * len(thread_ids))
        for table, (plain, quoted) in _TEXTS.items():
            columns = dict.fromkeys(("thread_id", *(("path",) if table == "calls" else ()), *plain, *quoted))
            rows = self._journal.query(
                f"SELECT {', '.join(map(_quoted, columns))} FROM {table} "
                f"WHERE thread_id IN ({marks}) AND ({self._tests[table]})",
                (*thread_ids, *[self._plain] * len(plain), *[self._quoted] * len(quoted)),
            )
            for row in rows:
                if row["thread_id"] not in by_thread and (hit := self._hit(row, plain, quoted)):
                    by_thread[row["thread_id"]] = hit
        return by_thread

    def _hit(self, row: Row, plain: Sequence[str], quoted: Sequence[str]) -> Hit | None:
        for column in (*plain, *quoted):
            for text in texts_in(row[column], column in quoted):
                at = lowered(text).find(self._words)
                if at >= 0:
                    where = _SAID.get(column, column)
                    return _hit(
                        f"{where} of {row['path']}" if "path" in row else where, text, at, len(self._words)
                    )
        return None


def _hit(place: str, text: str, at: int, length: int) -> Hit:
    end = at + length
    before, after = text[max(0, at - _AROUND) : at], text[end : end + _AROUND]
    return Hit(
        place,
        ("…" if at > _AROUND else "") + _spaced(before),
        _spaced(text[at:end]),
        _spaced(after) + ("…" if len(text) > end + _AROUND else ""),
    )


def _spaced(text: str) -> str:
    """Return a text on one line, the spaces at its ends kept."""
    return re.sub(r"\s+", " ", text)


def texts_in(value: str | None, is_json: bool) -> Iterator[str]:
    """Yield the texts of a column: itself, or those in its JSON, numbers as they are written."""
    if not value:
        return
    if not is_json:
        yield value
        return
    try:
        todo: list[Any] = [json.loads(value)]
    except (ValueError, RecursionError):
        yield value
        return
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, (dict, list)):
            todo.extend(reversed(list(each.values()) if isinstance(each, dict) else each))
        elif isinstance(each, (int, float)) and not isinstance(each, bool):
            yield repr(each)


def lowered(text: str) -> str:
    """Return a text with the capitals of ASCII made small, as long as it was."""
    return text.translate(_SMALL)


_SMALL = {ord(capital): capital.lower() for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _quoted(column: str) -> str:
    return f'"{column}"' if column == "user" else column

"""Finds what stepgraph did not write in a record, once it could not be read: the table, the row, the column.

Reading does not pay for this. It is asked when a command has ended with an error that a damaged cell leads
to, wherever that shows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from ...state.journal.journal import Journal
from ...state.journal.tables import TABLES
from ...state.statuses import (
    BatchStatus,
    CallSource,
    CallStatus,
    EffectStatus,
    NodeStatus,
    RetrievalStatus,
    RunStatus,
    WaitStatus,
)
from .plain_checkpoints import PlainSerializer
from .spans import Row

Columns = Mapping[str, tuple[str, bool]]  # the type of each, and whether it must have a value
# What a cell of another type or form than ours leads to, wherever it is read.
SYMPTOMS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,  # of a time that no calendar has
    RecursionError,
    TypeError,
    ValueError,
)
_WORDS: Mapping[str, Any] = {
    "runs": RunStatus,
    "invocations": RunStatus,
    "node_runs": NodeStatus,
    "calls": CallStatus,
    "retrievals": RetrievalStatus,
    "waits": WaitStatus,
    "effects": EffectStatus,
    "batches": BatchStatus,
}
_TIMES = re.compile(r"(_at|^due)$")
COLUMN = "a column"
_LAST_TIME = 253_402_300_799  # the year 9999
_MOST = 2**53  # what every reader of JSON takes
# Columns that hold JSON, and what it is: an object, a list of objects, a list of texts, a list, or anything.
_JSON = {
    "models": dict,
    "budget": {"": float},
    "fingerprint": "shape",
    "params": "params",
    "metadata": dict,
    "reserved": dict,
    "cost_parts": {"": float},
    "messages": [dict],
    "tool_calls": [dict],
    "passages": [dict],
    "media": [dict],
    "tags": [str],
    "interrupts": list,
    "input": object,
    "output": object,
    "result": object,
    "reply_state": object,
}
_TEXTS_OF_CHECKPOINTS = {"checkpoint_ns", "checkpoint_id", "task_id", "channel", "type"}
_SAID: Mapping[Any, str] = {
    dict: "an object in JSON",
    list: "a list in JSON",
    object: "JSON",
}


@dataclass(frozen=True)
class Damage:
    """A cell of a record that holds what stepgraph never writes there."""

    table: str
    thread_id: str | None
    column: str
    value: Any
    expected: str

    def __str__(self) -> str:
        of = f" of the thread {self.thread_id!r}" if self.thread_id is not None else ""
        if self.expected == COLUMN:
            return f"the table {self.table} has no column {self.column}"
        where = f"a row{of}, column {self.column}" if self.column else f"a row{of}"
        return f"the table {self.table} has in {where}: {self.value!r:.60} in the place of {self.expected}"


def find_damage(journal: Journal) -> Damage | None:
    """Return the first damaged cell of the file, None where there is none; thread by thread."""
    return next(_damages(journal), None)


def _damages(journal: Journal) -> Iterator[Damage]:
    declared = _declared()
    for table in ("runs", "batches", "claims"):
        yield from _damages_in(journal, table, declared[table])
    for row in journal.query("SELECT thread_id FROM runs ORDER BY started_at"):
        thread = row["thread_id"]
        for table, columns in declared.items():
            if "thread_id" in columns and table not in ("runs", "claims"):
                yield from _damages_in(journal, table, columns, thread)
        yield from _damaged_checkpoints(journal, thread)


def _damages_in(journal: Journal, table: str, columns: Columns, thread: Any = None) -> Iterator[Damage]:
    where, values = (" WHERE thread_id = ?", (thread,)) if thread is not None else ("", ())
    try:
        rows = journal.query(f"SELECT * FROM {table}{where}", values)
    except UnicodeDecodeError as error:
        yield Damage(table, thread, "", error.object, "text in UTF-8")
        return
    for row in rows:
        yield from _damaged(table, row, columns)


def _damaged_checkpoints(journal: Journal, thread: Any) -> Iterator[Damage]:
    """Yield what LangGraph's tables hold for a thread that cannot be read, not even as plain data."""
    read = PlainSerializer(journal.blob).loads_typed
    for table, column in (("checkpoints", "checkpoint"), ("writes", "value")):
        for row in journal.query(f"SELECT * FROM {table} WHERE thread_id = ?", (thread,)):
            data = row.get(column)
            try:
                value = read((row["type"], bytes(memoryview(data or b""))))
                fits = table == "writes" or _is_checkpoint(value)
            except Exception:  # whatever is made of bytes that nobody wrote so
                fits = False
            if not fits:
                yield Damage(table, thread, column, data, "what LangGraph wrote")
            metadata = row.get("metadata", b"{}")
            if _expected_json(dict, metadata):
                yield Damage(table, thread, "metadata", metadata, "an object in JSON")
            for name in _TEXTS_OF_CHECKPOINTS & row.keys():
                if not isinstance(row[name], str):
                    yield Damage(table, thread, name, row[name], "a text")


def _is_checkpoint(value: Any) -> bool:
    """Tell whether a value has the fields of LangGraph's `Checkpoint`; raise what a strange one causes."""
    datetime.fromisoformat(value["ts"])
    tables = (value[name] for name in ("channel_values", "channel_versions", "versions_seen"))
    return isinstance(value["id"], str) and all(isinstance(table, dict) for table in tables)


def _declared() -> dict[str, dict[str, tuple[str, bool]]]:
    """Return the columns of each table, with their type and whether they must have a value."""
    by_table: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, body in re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\n\)", TABLES, re.DOTALL):
        lines = re.findall(r'^ +"?(\w+)"? +(TEXT|INTEGER|REAL|BLOB)\b([^,\n]*)', body, re.MULTILINE)
        by_table[table] = {
            name: (kind, "NOT NULL" in rest or "PRIMARY KEY" in rest) for name, kind, rest in lines
        }
    return by_table


def _damaged(table: str, row: Row, columns: Columns) -> Iterator[Damage]:
    thread = row.get("thread_id")
    for column, (kind, needed) in columns.items():
        if column not in row:
            yield Damage(table, None, column, None, COLUMN)
            return
        value = row[column]
        expected = _expected(table, column, kind, value) if value is not None else "a value" if needed else ""
        if expected:
            yield Damage(table, thread if isinstance(thread, str) else None, column, value, expected)


def _expected(table: str, column: str, kind: str, value: Any) -> str:
    """Return what was expected in the place of a value, "" where it fits."""
    if kind in ("INTEGER", "REAL"):
        return _expected_number(column, kind, value)
    if kind == "BLOB":
        return "" if isinstance(value, (bytes, memoryview)) else "bytes"
    if not isinstance(value, str):
        return "a text"
    words = _WORDS.get(table) if column == "status" else CallSource if (table, column) == _SOURCE else None
    if words is not None:
        return "" if value in get_args(words) else f"one of {', '.join(get_args(words))}"
    return _expected_json(_JSON[column], value) if column in _JSON else ""


_SOURCE = ("calls", "source")


def _expected_number(column: str, kind: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int if kind == "INTEGER" else (int, float)):
        return "a whole number" if kind == "INTEGER" else "a number"
    if _TIMES.search(column):
        return "" if 0 <= value <= _LAST_TIME else "a time in seconds since 1970"
    return "" if math.isfinite(value) and abs(value) <= _MOST else "a number in the range that JSON has"


def _expected_json(form: Any, value: Any) -> str:
    try:
        content = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return "JSON"
    if form == "shape":
        return "" if _is_shape(content) else "the shape of a graph in JSON"
    if form == "params":
        fits = isinstance(content, dict) and all(
            isinstance(content.get(n) or {}, dict) for n in ("settings", "dials")
        )
        return "" if fits else "an object in JSON, with objects as its settings and dials"
    if isinstance(form, dict):
        fits = isinstance(content, dict) and all(isinstance(each, (int, float)) for each in content.values())
        return "" if fits else "an object with numbers in JSON"
    if isinstance(form, list):
        fits = isinstance(content, list) and all(isinstance(each, form[0]) for each in content)
        return "" if fits else f"a list of {'objects' if form[0] is dict else 'texts'} in JSON"
    return "" if isinstance(content, form) else _SAID[form]


def _is_shape(shape: Any) -> bool:
    """Tell whether this is the shape of a graph, with those of its nested graphs."""
    if not isinstance(shape, dict) or not isinstance(nodes := shape.get("nodes"), dict):
        return False
    lists = [shape.get("edges"), shape.get("choices")]
    return all(_is_list_of_texts(each) for each in lists) and all(
        inner is None or _is_shape(inner) for inner in nodes.values()
    )


def _is_list_of_texts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(each, str) for each in content)

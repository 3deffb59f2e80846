"""The record of side effects: each key is begun before it happens, and done once its result is kept."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol
from pydantic_core import to_jsonable_python

from ..errors import EffectUnknown, InputError, did_you_mean
from .journal import Journal


@dataclass(frozen=True)
class EffectRecord:
    """One row: `status` is begun or done; times are Unix seconds.

    `result` is JSON: what the node wrote, or, while it is begun, the error that left it open.
    """

    key: str
    thread_id: str
    path: str
    status: str
    result: str | None
    started_at: float
    ended_at: float | None

    @property
    def error(self) -> str | None:
        """What went wrong, of an effect whose end is not on record."""
        return self._told.get("error") if self.status == "started" else None

    @property
    def to_decide(self) -> bool:
        """Whether a person may say what happened: the node itself never did."""
        return self.status == "started" or "data" not in self._told

    @property
    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.result or "{}")
        return told


def find_effect(journal: Journal, key: str) -> EffectRecord | None:
    """Return the record of a key."""
    rows = journal.query("SELECT * FROM effects WHERE key = ?", (key,))
    return EffectRecord(**rows[0]) if rows else None


def open_effects(journal: Journal) -> list[EffectRecord]:
    """Return the effects that were begun and whose end is not on record, the oldest first."""
    rows = journal.query("SELECT * FROM effects WHERE status = 'started' ORDER BY started_at")
    return [EffectRecord(**row) for row in rows]


async def begin_effect(
    journal: Journal, key: str, thread_id: str, path: str, *, again: bool
) -> EffectRecord | None:
    """Put it on record that an effect begins. Returns the record of the one that is in the way, if any.

    `again` lets an effect that was begun before begin anew. The record survives a loss of power.
    """
    began = time.time()
    sql = (
        "INSERT INTO effects (key, thread_id, path, status, started_at) VALUES (?, ?, ?, 'started', ?) "
        "ON CONFLICT (key) DO UPDATE SET thread_id = excluded.thread_id, path = excluded.path, "
        "started_at = excluded.started_at, result = NULL WHERE status = 'started' AND ?"
    )
    await journal.awrite([(sql, (key, thread_id, path, began, again))], durable=True)
    found = find_effect(journal, key)
    if found is None or (found.status, found.thread_id, found.started_at) == ("started", thread_id, began):
        return None
    return found


async def end_effect(journal: Journal, key: str, result: str) -> None:
    """Put it on record that an effect happened, and what its node wrote."""
    sql = "UPDATE effects SET status = 'done', result = ?, ended_at = ? WHERE key = ?"
    await journal.awrite([(sql, (result, time.time(), key))])


async def leave_effect(journal: Journal, key: str, error: str) -> None:
    """Note for whoever decides about an effect why its end is not known."""
    sql = "UPDATE effects SET result = ? WHERE key = ? AND status = 'started'"
    await journal.awrite([(sql, (json.dumps({"error": journal.mask.text(error)}), key))])


async def forget_effect(journal: Journal, key: str) -> None:
    """Let an effect that was begun happen again."""
    await journal.awrite([("DELETE FROM effects WHERE key = ? AND status = 'started'", (key,))])


def decide_effect(
    journal: Journal, key: str, *, happened: bool, update: Mapping[str, Any] | None = None
) -> EffectRecord:
    """Say of an effect whose end is not on record whether it happened, and return its record.

    If it did, the thread goes on with what it would have written, as plain data: `update`, by default
    nothing. If it did not, it is done again. A decision can be changed. Raises InputError for an
    effect whose end is on record.
    """
    found = find_effect(journal, key)
    if found is None or not found.to_decide:
        known = [effect.key for effect in open_effects(journal)]
        state = "is on record as done" if found else f"is not on record. {did_you_mean(key, known)}"
        raise InputError(f"The effect {key!r} {state}; only an effect that was begun can be decided.")
    if update and not happened:
        raise InputError("An effect that did not happen wrote nothing: say that it did, or give no update.")
    if happened:
        done = "UPDATE effects SET status = 'done', result = ?, ended_at = ? WHERE key = ?"
        journal.write([(done, (json.dumps({"update": dict(update or {})}), time.time(), key))])
    else:
        journal.write([("DELETE FROM effects WHERE key = ?", (key,))])
    return found


def unknown(effect: EffectRecord) -> EffectUnknown:
    """Return the error that says that nobody knows whether the effect happened."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(effect.started_at))
    failed = f" It failed with {effect.error}." if effect.error else ""
    return EffectUnknown(
        f"The effect {effect.key!r} was begun on {when} by {effect.path or 'a call'} in the thread "
        f"{effect.thread_id!r}, and its end is not on record: nobody knows whether it happened.{failed} Look "
        f"it up at the receiver; then say so: stepgraph effect {shlex.quote(effect.key)} --done (or --again, "
        "to do it again), or in Python session.decide_effect(key, happened=True).",
        key=effect.key,
    )


def lineage_of(journal: Journal, thread_id: str) -> str:
    """Return the thread that this one was forked from, or that one, and so on; a fork keeps its effects."""
    sql = (
        "WITH RECURSIVE line (id, depth) AS (SELECT ?, 0 UNION SELECT r.parent_thread, depth + 1 FROM runs r "
        "JOIN line ON r.thread_id = line.id WHERE r.parent_thread IS NOT NULL AND depth < 1000) "
        "SELECT id FROM line ORDER BY depth DESC LIMIT 1"
    )
    return str(journal.query(sql, (thread_id,))[0]["id"])


def packed(update: Any, serde: SerializerProtocol) -> str:
    """Return a state update as JSON: to be read by people, and exactly as it was."""
    kind, data = serde.dumps_typed(update)
    shown = to_jsonable_python(update, fallback=repr, serialize_unknown=True)
    return json.dumps({"update": shown, "type": kind, "data": base64.b64encode(data).decode()})


def unpacked(result: str | None, serde: SerializerProtocol) -> tuple[dict[str, Any], bool]:
    """Return a state update, and whether it is exactly as it was: not if a person gave it as plain data."""
    row = json.loads(result or "{}")
    if "data" not in row:
        return row.get("update", {}), False
    return serde.loads_typed((row["type"], base64.b64decode(row["data"]))), True

"""The record of side effects: `started` before one happens, `done` once its result is kept."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..blobs import Referring, blobs_of, referring
from ..errors import EffectUnknown, InputError, did_you_mean
from ..json_text import json_text
from ..statuses import EffectStatus
from .journal import Journal
from .records import ThreadStatement


@dataclass(frozen=True)
class EffectRecord:
    """One row; times are Unix seconds.

    `result` is JSON: what the node wrote, or, while the effect is open, the error that left it open.
    """

    key: str
    thread_id: str
    path: str
    status: EffectStatus
    result: str | None
    started_at: float
    ended_at: float | None
    epoch: int | None = None  # of the claim under which it started

    @property
    def error(self) -> str | None:
        """The error of an effect that did not end."""
        return self._result.get("error") if self.status == "started" else None

    @property
    def to_decide(self) -> bool:
        """Whether a person may say what happened, because the node did not."""
        return self.status == "started" or "data" not in self._result

    @property
    def decision(self) -> str:
        """Who decided about it, when and what, in a sentence; empty where nobody did."""
        if self.status == "started" or not self.to_decide or self.ended_at is None:
            return ""
        by = f" by {self._result['by']}" if self._result.get("by") else ""
        what = "it happened" if self.status == "done" else "it did not happen"
        return f"It was decided{by} on {_when(self.ended_at)} that {what}."

    @property
    def _result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.result or "{}")
        return result


_NAMES = ", ".join(field.name for field in fields(EffectRecord))


def find_effect(journal: Journal, key: str) -> EffectRecord | None:
    """Return the record of a key."""
    rows = journal.query(f"SELECT {_NAMES} FROM effects WHERE key = ?", (key,))
    return EffectRecord(**rows[0]) if rows else None


def is_of_an_earlier_input(journal: Journal, effect: EffectRecord, thread_id: str) -> bool:
    """Tell whether an effect ended before its thread was given the input that it runs with now."""
    if effect.thread_id != thread_id or effect.status != "done" or effect.ended_at is None:
        return False
    sql = "SELECT trace, min(started_at) AS began FROM invocations WHERE thread_id = ? GROUP BY trace"
    began = max(
        (row["began"] for row in journal.query(f"{sql} ORDER BY trace DESC LIMIT 1", (thread_id,))), default=0
    )
    return bool(effect.ended_at < began)


def open_effects(journal: Journal) -> list[EffectRecord]:
    """Return the effects that started and did not end, the oldest first."""
    rows = journal.query(f"SELECT {_NAMES} FROM effects WHERE status = 'started' ORDER BY started_at")
    return [EffectRecord(**row) for row in rows]


@dataclass(frozen=True)
class Started:
    """An effect that one run has started, told from the same one if another run starts it anew.

    What came of it is put on record by whoever started it last, even if that run has lost its claim by then:
    it says what happened. A run that lost its claim starts none.
    """

    key: str
    thread_id: str
    started_at: float
    epoch: int | None

    @property
    def where(self) -> str:
        return (
            "key = ? AND status = 'started' AND thread_id = ? AND started_at = ? "
            "AND epoch IS NOT DISTINCT FROM ?"
        )

    def is_in(self, effect: EffectRecord) -> bool:
        mine = ("started", self.thread_id, self.started_at, self.epoch)
        return (effect.status, effect.thread_id, effect.started_at, effect.epoch) == mine


async def begin_effect(
    journal: Journal, key: str, thread_id: str, path: str, *, again: bool, epoch: int | None = None
) -> Started | EffectRecord:
    """Record that an effect starts, so that a loss of power does not undo it.

    Returns the record that is in the way, if any: the effect started or happened before. `again` lets one
    that started before start anew. `epoch` is that of the run's claim, which it must hold.
    """
    mine = Started(key, thread_id, time.time(), epoch)
    sql = (
        "INSERT INTO effects (key, thread_id, path, status, started_at, epoch) "
        "VALUES (?, ?, ?, 'started', ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET thread_id = excluded.thread_id, path = excluded.path, "
        "started_at = excluded.started_at, epoch = excluded.epoch, result = NULL, status = 'started', "
        "ended_at = NULL WHERE effects.status = 'undone' OR effects.status = 'started' AND ? = 1"
    )
    values = (key, thread_id, path, mine.started_at, epoch, int(again))
    await journal.awrite([ThreadStatement((sql, values), thread_id)], durable=True)
    effect = find_effect(journal, key)
    return mine if effect is None or mine.is_in(effect) else effect


async def end_effect(journal: Journal, started: Started, result: str) -> None:
    """Record that an effect happened, and what its node wrote."""
    sql = f"UPDATE effects SET status = 'done', result = ?, ended_at = ? WHERE {started.where}"
    await journal.awrite([(sql, (result, time.time(), *astuple(started)))])


async def leave_effect(journal: Journal, started: Started, error: str) -> None:
    """Record the error that left an effect open, for the person who decides about it."""
    sql = f"UPDATE effects SET result = ? WHERE {started.where}"
    await journal.awrite([(sql, (json.dumps({"error": journal.mask.text(error)}), *astuple(started)))])


async def forget_effect(journal: Journal, started: Started) -> None:
    """Let an effect that started happen again."""
    await journal.awrite([(f"DELETE FROM effects WHERE {started.where}", astuple(started))])


def decide_effect(
    journal: Journal,
    key: str,
    *,
    happened: bool,
    update: Mapping[str, Any] | None = None,
    by: str | None = None,
    change: bool = False,
    started_at: float | None = None,
) -> EffectRecord:
    """Decide whether an open effect happened, and return its record: see `Session.decide_effect`.

    With `started_at` the decision holds for what was started then, and for no later start.
    """
    effect = find_effect(journal, key)
    if effect is None or not effect.to_decide:
        known = [item.key for item in open_effects(journal)]
        state = "ended by itself" if effect else f"is not on record. {did_you_mean(key, known)}"
        raise InputError(f"The effect {key!r} {state}; only an effect that started can be decided.")
    if update and not happened:
        raise InputError("An effect that did not happen wrote nothing: pass happened=True, or no update.")
    if effect.decision and not change:
        raise InputError(
            f"The effect {key!r}: {effect.decision} Your decision was not taken. To change it, give --change "
            "(in Python: change=True)."
        )
    result = {"by": by} if by else {}
    values = (
        "done" if happened else "undone",
        json.dumps({"update": dict(update or {}), **result} if happened else result),
        time.time(),
        *(key, effect.status, effect.started_at if started_at is None else started_at, effect.ended_at),
    )
    # Nobody else may have decided since the record was read, and no run may have started it anew.
    rows = journal.store.execute(
        "UPDATE effects SET status = ?, result = ?, ended_at = ? WHERE key = ? AND status = ? "
        "AND started_at = ? AND ended_at IS NOT DISTINCT FROM ? RETURNING key",
        values,
    )
    if not rows:
        now = find_effect(journal, key)
        why = (now and now.decision) or "It was started again, or it ended, since you looked at it."
        raise InputError(f"The effect {key!r}: {why} Your decision was not taken.")
    return effect


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def unknown(effect: EffectRecord) -> EffectUnknown:
    """Return the error for an effect that may or may not have happened."""
    when = _when(effect.started_at)
    failed = f" It failed with {effect.error}." if effect.error else ""
    return EffectUnknown(
        f"The effect {effect.key!r} was started on {when} by {effect.path or 'a call'} in the thread "
        f"{effect.thread_id!r}, and its end is not on record: it may have happened or not.{failed} Look it "
        f"up at the receiver, then decide: stepgraph effect {shlex.quote(effect.key)} --done (or --again, to "
        "do it again), or in Python session.decide_effect(key, happened=True).",
        key=effect.key,
    )


def lineage_of(journal: Journal, thread_id: str) -> str:
    """Return the first thread in the line of forks that this one comes from; a fork keeps its effects."""
    sql = (
        "WITH RECURSIVE line (id, depth) AS (SELECT ?, 0 UNION SELECT r.parent_thread, depth + 1 FROM runs r "
        "JOIN line ON r.thread_id = line.id WHERE r.parent_thread IS NOT NULL AND depth < 1000) "
        "SELECT id FROM line ORDER BY depth DESC LIMIT 1"
    )
    return str(journal.query(sql, (thread_id,))[0]["id"])


def packed(update: Any, serde: SerializerProtocol) -> str:
    """Return a state update as JSON: readable, and beside it exactly as it was."""
    kind, data = serde.dumps_typed(update)
    shown = referring(json_text(update, addresses=True))
    row = {
        "update": json.loads(shown),
        "type": kind,
        "data": base64.b64encode(data).decode(),
        "blobs": [blob.reference for blob in blobs_of(data)],
    }
    return Referring.of(json.dumps(row), {*blobs_of(shown), *blobs_of(data)})


def unpacked(result: str | None, serde: SerializerProtocol) -> tuple[dict[str, Any], bool]:
    """Return a state update, and whether it is exact; plain data from a person is not."""
    row = json.loads(result or "{}")
    if "data" not in row:
        return row.get("update", {}), False
    return serde.loads_typed((row["type"], base64.b64decode(row["data"]))), True

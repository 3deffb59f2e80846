"""The record of retrievals: what was asked once in a node execution is not asked again by a resume."""

from __future__ import annotations

import json
from typing import Any

from .journal import Journal
from .records import ThreadStatement


async def find_retrieval(
    journal: Journal, thread_id: str, task: str, step: str, request_hash: str
) -> list[dict[str, Any]] | None:
    """Return the passages on record of this very retrieval, and count the replay; None if there are none."""
    where = "thread_id = ? AND task = ? AND step = ? AND request_hash = ? AND status = 'found'"
    values = (thread_id, task, step, request_hash)
    await journal.aflush()
    rows = journal.query(f"SELECT passages FROM retrievals WHERE {where}", values)
    if not rows:
        return None
    again = (f"UPDATE retrievals SET replays = replays + 1 WHERE {where}", values)
    journal.add_later(ThreadStatement(again, thread_id))
    passages: list[dict[str, Any]] = json.loads(journal.whole(rows[0]["passages"]))
    return passages

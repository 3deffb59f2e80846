"""Values as the record has them: as JSON, the long ones cut, the patterns' own bookkeeping among them."""

from __future__ import annotations

import json
from typing import Any

from ...state.names import without_private
from .spans import Row


def public(text: str | None) -> Any:
    """Return what a JSON text says, without the patterns' own bookkeeping."""
    value = json.loads(text) if text else None
    return without_private(value) if isinstance(value, dict) else value


def changed_fields(row: Row) -> list[str] | None:
    """Return the fields that a node gave another value than it was given; None if nobody knows."""
    try:
        before, after = json.loads(row.get("input") or "null"), json.loads(row.get("output") or "null")
    except ValueError:
        return None
    if not isinstance(after, dict) or cut_text(after) or cut_text(before):
        return None
    before = before if isinstance(before, dict) else {}
    return [name for name, value in without_private(after).items() if not _same(before.get(name), value)]


def cut_text(value: Any) -> tuple[str, int] | None:
    """Return the beginning and the length of what was too long for the record, None for all else."""
    if isinstance(value, dict) and value.keys() == {"cut", "start"} and isinstance(value["start"], str):
        return value["start"], int(value["cut"])
    return None


def _same(before: Any, after: Any) -> bool:
    """Tell whether a field was not changed, as far as the record of it goes."""
    cut = cut_text(before)
    if cut is None or cut_text(after):
        return bool(before == after)
    text = json.dumps(after, ensure_ascii=False, separators=(",", ":"))
    return len(text) == cut[1] and text.startswith(cut[0])

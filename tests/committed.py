"""What another process would see of a session: what is committed, in a file or in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgraph import Session


def committed(session: Session, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT over a connection of its own."""
    reader = session.journal.store.reader()
    try:
        return [tuple(row.values()) for row in reader.query(sql, values)]
    finally:
        reader.close()

"""Says which cell of a record a command failed at."""

from __future__ import annotations

import sqlite3

from ...state.database import Database, is_missing
from ...state.errors import StepgraphError, StoreError
from ...state.session.session import Session
from ...state.tracebacks import place_of
from ...tracing.record.damage import SYMPTOMS, find_damage


def explain_damage(database: Database | None, error: Exception) -> None:
    """Raise StoreError with the damaged cell, if the record that a command read has one; else return."""
    if database is None or is_missing(database):
        return
    if isinstance(error, sqlite3.Error) and "decode" in str(error):  # LangGraph reads its tables itself
        raise StoreError(
            f"{database} cannot be read: {error}. It is damaged, or stepgraph did not write it; a copy of "
            "the file from before helps."
        ) from error
    if not isinstance(error, SYMPTOMS):
        return
    try:
        with Session(database) as session:
            damage = find_damage(session.journal)
    except StoreError as other:  # more is damaged than the cell that the command met
        raise other from error
    except StepgraphError:
        return
    if damage is None:
        return
    thread = damage.thread_id
    advice = (
        "`stepgraph prune --status …` or a copy of the file from before helps"
        if thread is None
        else f"`stepgraph prune --thread {thread} --yes` deletes that thread and keeps the others"
    )
    raise StoreError(
        f"{database} cannot be read: {damage}. It is damaged, or stepgraph did not write it; {advice}. "
        f"({type(error).__name__} in {place_of(error)})"
    ) from error

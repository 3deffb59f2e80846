"""Sessions of programs that only hand threads to workers: one for each database, closed when they end."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path

from ..state.database import Database, PostgresAddress, database_of
from ..state.session.session import Session

_opened: dict[Database, Session] = {}
_lock = threading.Lock()


def session_at(db: str | Path | PostgresAddress | Session) -> Session:
    """Return the session of a database; one that was given as a session stays its owner's."""
    if isinstance(db, Session):
        return db
    database = database_of(db)
    database = database.absolute() if isinstance(database, Path) else database
    with _lock:
        if database not in _opened:
            _opened[database] = Session(database)
        return _opened[database]


def close_sessions() -> None:
    """Close them all."""
    with _lock:
        for session in _opened.values():
            session.close()
        _opened.clear()


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _opened.clear()


atexit.register(close_sessions)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

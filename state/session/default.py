"""The session of runs that were given none: it is named by the settings, or lies beside an InMemorySaver.

So a thread's calls, budget, effects and trace are kept wherever LangGraph runs its graph, and whoever
keeps its checkpoints.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, ConfigDict, ValidationError

from ..budget import Budget
from ..database import VARIABLE, Database, PostgresAddress, database_of, is_postgres
from ..errors import InputError, SettingsError, StoreError
from ..event_loops import aside
from ..settings_file import FILE_NAME, read_tables, working_folders_file
from .session import Session, Tracer

HOW = (
    f'Name a database for it: [session] url = "runs.sqlite" in {FILE_NAME}, or the variable {VARIABLE}; or '
    "run with session.config(thread_id)."
)


class NotKeptWarning(UserWarning):
    """A run has a thread and a checkpointer, but no session: what its models answer is not kept."""


class SessionTable(BaseModel):
    """The table `[session]`: the database, the budget of threads that are given none, and `Session`'s own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = ""
    budget: Budget | None = None
    heartbeat_s: float | None = None


@cache
def session_table() -> SessionTable:
    """Return what the settings file of the working folder says. It is read once in a process."""
    path = working_folders_file()
    if path is None:
        return SessionTable()
    try:
        table = SessionTable.model_validate(read_tables(path).get("session", {}))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_url=False)
        )
        known = ", ".join(SessionTable.model_fields)
        raise SettingsError(f"{path}, [session]: {problems}. Known: {known}.") from None
    if not table.url:
        return table
    database = named_database(table.url, f"{path}, [session] url")
    if isinstance(database, PostgresAddress):
        return table
    # What the file names is meant from where the file lies.
    return table.model_copy(update={"url": str(path.parent / database)})


def named_database(url: str, where: str) -> Database:
    """Return the database that a session's url stands for. Raises SettingsError for what is none."""
    if is_postgres(url):
        try:
            return database_of(url)
        except StoreError as error:
            raise SettingsError(f"{where}: {error}") from None
    if url.startswith("sqlite:"):
        name = url.removeprefix("sqlite:").removeprefix("///")
        if name and not name.startswith("//"):
            return Path(name)
    elif not urlsplit(url).scheme or "://" not in url:
        return Path(url)
    scheme = url.partition(":")[0]
    raise SettingsError(
        f"{where}: {scheme}: is no session. Expected: a SQLite file, that is a path such as runs.sqlite, or "
        "sqlite:///runs.sqlite (with four slashes, an absolute path); or postgresql://user@host/name."
    )


def default_database() -> Database | None:
    """Return the database that the environment or the settings file names, None without one."""
    named = os.environ.get(VARIABLE)
    if named:
        return named_database(named, f"the variable {VARIABLE}")
    # A server may forbid its event loop to read files.
    table = session_table() if session_table.cache_info().currsize else aside(session_table)
    return database_of(table.url) if table.url else None


class DefaultSessions:
    """The default sessions of this process: one for each database, and one for each InMemorySaver."""

    def __init__(self) -> None:
        self.tracing: Callable[[], Tracer] | None = None
        self._lock = threading.RLock()
        self._by_database: dict[Database, Session] = {}
        self._by_saver: weakref.WeakKeyDictionary[InMemorySaver, Session] = weakref.WeakKeyDictionary()

    def find(self, saver: Any) -> Session | None:
        """Return the session that goes with a run whose checkpoints a saver keeps, None where there is none.

        A session's own checkpointer brings its session. Another is opened when it is first asked for, and
        closed with the process, or with its InMemorySaver.
        """
        own: Session | None = getattr(saver, "session", None)
        if own is not None:
            return own
        database = default_database()
        if database is not None:
            held = self._by_database.get(database)
            return held or aside(lambda: self._open(database))
        if type(saver) is InMemorySaver:
            return self._by_saver.get(saver) or aside(lambda: self._open_beside(saver))
        return None

    def _open(self, database: Database) -> Session:
        with self._lock:
            session = self._by_database.get(database)
            if session is None:
                tracer = None if self.tracing is None else self.tracing()
                place = database.absolute() if isinstance(database, Path) else database
                session = self._by_database[database] = Session(
                    place, tracing=tracer, heartbeat_s=session_table().heartbeat_s
                )
            return session

    def _open_beside(self, saver: InMemorySaver) -> Session:
        """Open a session that lives as long as what it belongs to: it is in a folder that nobody knows."""
        with self._lock:
            session = self._by_saver.get(saver)
            if session is None:
                folder = tempfile.mkdtemp(prefix="stepgraph-")
                session = self._by_saver[saver] = Session(Path(folder, "memory.sqlite"))
                weakref.finalize(saver, _drop, session, folder, os.getpid())
            return session

    def close(self) -> None:
        with self._lock:
            sessions = [*self._by_database.values()]
            self._by_database.clear()
        for session in sessions:
            session.close()

    def forget(self) -> None:
        """Drop everything, unclosed: a forked child has its parent's connections, and may not use them."""
        self._lock = threading.RLock()
        self._by_database.clear()
        self._by_saver.clear()


def _drop(session: Session, folder: str, pid: int) -> None:
    if os.getpid() == pid:
        session.close()
        shutil.rmtree(folder, ignore_errors=True)


def not_kept(promise: str, saver: Any) -> InputError:
    """Return the error for a run that has a checkpointer but no session, and promises what needs one."""
    return InputError(
        f"{promise}, which needs a session, and this run has none: only "
        f"{type(saver).__name__} keeps it. Nothing was asked or done. {HOW}"
    )


_warned: set[type[Any]] = set()


def warn_not_kept(saver: Any) -> None:
    """Say once that a saver keeps the checkpoints of a run, and nobody the answers that are paid for."""
    if type(saver) in _warned:
        return
    _warned.add(type(saver))
    warnings.warn(
        f"{type(saver).__name__} keeps this run's checkpoints, but nothing keeps the answers of its models: "
        f"there is no session, so a resume pays for them again, and no budget, trace or claim holds. {HOW}",
        NotKeptWarning,
        stacklevel=4,
    )


default_sessions = DefaultSessions()
atexit.register(default_sessions.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=default_sessions.forget)

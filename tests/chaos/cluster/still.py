"""Tells why a process of the kill matrix stands still: what its tasks, its threads and its database wait for.

It is written into the trial's own folder, which `--keep` keeps where there was a fault.
"""

from __future__ import annotations

import asyncio
import faulthandler
import threading
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO
from weakref import WeakSet

import psycopg

from stepgraph.state.journal.claims import Claims
from stepgraph.state.journal.postgres.traffic import Traffic

_DATABASE = (
    "SELECT pid, state, wait_event_type, wait_event, pg_blocking_pids(pid), now() - query_start, "
    "left(query, 200) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_KINDS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def tell_after(seconds: float, address: str | Path, told: Path) -> None:
    """Have this process write into a file what it waits for, each time that it has lived so much longer."""
    never, made = threading.Event(), note_made()

    def work() -> None:
        while not never.wait(seconds):
            with told.open("a") as file:
                tell(address, made, file)

    threading.Thread(target=work, name="tells", daemon=True).start()


def note_made(patch: Callable[[type, str, Any], None] = setattr) -> WeakSet[Any]:
    """Return a set with the loops, claims and connections that are made from now on.

    To ask the garbage collector for them would break what runs meanwhile: a tuple to which somebody else
    refers while it is built is a SystemError.
    """
    made: WeakSet[Any] = WeakSet()
    for kind in (asyncio.BaseEventLoop, Claims, Traffic):
        patch(kind, "__init__", _noting(kind.__init__, made))  # type: ignore[misc]
    return made


def _noting(make: Callable[..., None], made: WeakSet[Any]) -> Callable[..., None]:
    def noted(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        made.add(self)

    return noted


def tell(address: str | Path, made: WeakSet[Any], file: TextIO) -> None:
    """Write what this process waits for."""
    for task in (task for loop in _all_of(asyncio.BaseEventLoop, made) for task in asyncio.all_tasks(loop)):
        print(f"{task.get_name()} of loop {id(task.get_loop()):x}: {_stands(task)}", file=file)
    for claims in _all_of(Claims, made):
        print(f"claims: held {claims._held}, lost {claims._lost}, released {claims._released}", file=file)
    for traffic in _all_of(Traffic, made):
        told = {name: value for name, value in vars(traffic).items() if name not in ("_address", "_waiting")}
        print(f"traffic: {len(traffic._waiting)} wait, {told!s:.3000}", file=file)
    if isinstance(address, str):
        print(*_database(address), sep="\n", file=file)
    file.flush()
    faulthandler.dump_traceback(file)


def _all_of(kind: type[Any], made: WeakSet[Any]) -> list[Any]:
    while True:
        try:
            return [each for each in made if isinstance(each, kind)]
        except RuntimeError:  # another thread makes one
            continue


def _stands(task: asyncio.Task[Any]) -> str:
    """Return where a task stands, and where what it awaits does, from the outermost to the innermost."""
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        attributes = next((pair for pair in _KINDS if hasattr(awaited, pair[0])), None)
        if attributes is None:
            break
        frame, inner = (getattr(awaited, name) for name in attributes)
        if frame is not None:
            places.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = inner
    return f"{' > '.join(places)} > {getattr(task, '_fut_waiter', None)!r:.300}"


def _database(address: str) -> list[str]:
    try:
        with closing(psycopg.connect(address, autocommit=True, connect_timeout=5)) as connection:
            return [f"database: {row}" for row in connection.execute(_DATABASE).fetchall()]
    except psycopg.Error:
        return [traceback.format_exc(limit=1)]

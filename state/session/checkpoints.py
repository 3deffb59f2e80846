"""LangGraph's SQLite checkpointer, for sync and async runs alike, over one connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from ..errors import NotSerializable
from ..journal.sqlite import aretrying, connect, retrying
from ..names import STARTER_KEY
from ..serde import AllowListSerializer

P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate["SqliteCheckpointer", P], R]


class Starter(Protocol):
    """What begins a run that had to wait for the file's lock.

    LangGraph begins every run by asking for its checkpoint, and it is the first thing that it awaits.
    """

    @property
    def waits(self) -> bool: ...

    def start_late(self) -> None: ...


def _waiting(method: Callable[Concatenate[Any, P], R]) -> Method[P, R]:
    """Return a saver's method as one that waits for the file's lock."""

    @wraps(method)  # LangGraph looks at its parameters
    def waits(self: SqliteCheckpointer, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return retrying(partial(method, self, *args, **kwargs), self.path)

    return waits


def _awaiting(method: Callable[Concatenate[Any, P], R]) -> Method[P, Coroutine[Any, Any, R]]:
    """Return a saver's method as an async one, which writes in place."""

    @wraps(method)
    async def awaits(self: SqliteCheckpointer, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await aretrying(partial(method, self, *args, **kwargs), self.path)

    return awaits


def _put_writes(
    saver: SqliteCheckpointer,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str = "",
) -> None:
    """Like the base class's, but a value that cannot be kept is named with its node and field."""
    try:
        SqliteSaver.put_writes(saver, config, writes, task_id, task_path)
    except NotSerializable as problem:
        field = next((channel for channel, value in writes if not _is_kept(saver, value)), "")
        node = task_path.split(", ")[1] if ", " in task_path else ""
        saver.refused[field] = problem.within(field, node)
        raise saver.refused[field] from None


def _put(
    saver: SqliteCheckpointer,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> RunnableConfig:
    """Like the base class's. A run waits for it, so it also tells which node wrote what cannot be kept."""
    try:
        return SqliteSaver.put(saver, config, checkpoint, metadata, new_versions)
    except NotSerializable:
        for field, value in checkpoint["channel_values"].items():
            own = _problem_of(saver, field, value)
            if own is not None:
                raise saver.refused.pop(field, own) from None
        raise


def _is_kept(saver: SqliteSaver, value: Any) -> bool:
    return _problem_of(saver, "", value) is None


def _problem_of(saver: SqliteSaver, field: str, value: Any) -> NotSerializable | None:
    try:
        saver.serde.dumps_typed(value)
    except NotSerializable as problem:
        return problem.within(field)
    return None


class SqliteCheckpointer(SqliteSaver):
    """A `SqliteSaver` that also serves `ainvoke`, waits for locks, and revives known types only.

    The async methods write in place: a commit in WAL mode costs less than a hop to a thread and
    back. When another process holds the lock they wait in a thread.
    """

    def __init__(self, path: str | Path, *, serde: SerializerProtocol | None = None) -> None:
        self.path = Path(path)
        self.refused: dict[str, NotSerializable] = {}
        super().__init__(connect(self.path), serde=serde or AllowListSerializer())
        with self.lock:
            retrying(self.setup, self.path)

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Like the base class's, but a failed transaction is undone, not committed."""
        with self.lock:
            cursor = self.conn.cursor()
            try:
                yield cursor
                if transaction:
                    self.conn.commit()
            except BaseException:
                if transaction and self.conn.in_transaction:
                    self.conn.rollback()
                raise
            finally:
                cursor.close()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        starter: Starter | None = config["configurable"].get(STARTER_KEY)
        if starter is not None and starter.waits:
            starter.start_late()
        return retrying(lambda: super(SqliteCheckpointer, self).get_tuple(config), self.path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        starter: Starter | None = config["configurable"].get(STARTER_KEY)
        if starter is not None and starter.waits:
            await asyncio.to_thread(starter.start_late)
        get_tuple = super().get_tuple
        return await aretrying(lambda: get_tuple(config), self.path)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        listed = super().list
        for item in await aretrying(
            lambda: list(listed(config, filter=filter, before=before, limit=limit)), self.path
        ):
            yield item

    put = _waiting(_put)
    put_writes = _waiting(_put_writes)
    delete_thread = _waiting(SqliteSaver.delete_thread)
    aput = _awaiting(_put)
    aput_writes = _awaiting(_put_writes)
    adelete_thread = _awaiting(SqliteSaver.delete_thread)

    def close(self) -> None:
        self.conn.close()

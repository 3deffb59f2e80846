"""LangGraph's SQLite checkpointer, for sync and async runs alike, over one connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from ..journal.sqlite import aretrying, connect, retrying
from ..names import STARTER_KEY
from ..serde import AllowListSerializer


class Starter(Protocol):
    """What begins a run that had to wait for the file's lock.

    LangGraph begins every run by asking for its checkpoint, and it is the first thing that it awaits.
    """

    @property
    def waits(self) -> bool: ...

    def start_late(self) -> None: ...


class SqliteCheckpointer(SqliteSaver):
    """A `SqliteSaver` that also serves `ainvoke`, waits for locks, and revives known types only.

    The async methods write in place: a commit in WAL mode costs less than a hop to a thread and
    back. When another process holds the lock they wait in a thread.
    """

    def __init__(self, path: str | Path, *, serde: SerializerProtocol | None = None) -> None:
        self.path = Path(path)
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

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        put = super().put
        return retrying(lambda: put(config, checkpoint, metadata, new_versions), self.path)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        put_writes = super().put_writes
        retrying(lambda: put_writes(config, writes, task_id, task_path), self.path)

    def delete_thread(self, thread_id: str) -> None:
        delete = super().delete_thread
        retrying(lambda: delete(thread_id), self.path)

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

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        put = super().put
        return await aretrying(lambda: put(config, checkpoint, metadata, new_versions), self.path)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        put_writes = super().put_writes
        await aretrying(lambda: put_writes(config, writes, task_id, task_path), self.path)

    async def adelete_thread(self, thread_id: str) -> None:
        delete = super().delete_thread
        await aretrying(lambda: delete(thread_id), self.path)

    def close(self) -> None:
        self.conn.close()

"""The checkpointer over a store that is not a file: LangGraph's own statements, run by the store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from ..blobs import ReadBlob
from ..journal.dialect import Row
from ..journal.records import Statement
from ..journal.store import Store
from ..serde import AllowListSerializer
from .checkpoints import SqliteCheckpointer, start_late


class StoreCursor:
    """Stands for a cursor of sqlite3: reads at once, and keeps what writes for the end of a transaction."""

    def __init__(self, store: Store) -> None:
        self.statements: list[Statement] = []
        self._store = store
        self._rows: Iterator[Row] = iter(())

    def execute(self, sql: str, values: Sequence[Any] = ()) -> StoreCursor:
        if sql.lstrip()[:6].upper() in ("SELECT", "WITH R"):
            self._rows = iter(self._store.rows(sql, values))
        else:
            self.statements.append((sql, values))
        return self

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.statements += [(sql, row) for row in rows]

    def fetchone(self) -> Row | None:
        return next(self._rows, None)

    def fetchall(self) -> list[Row]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def close(self) -> None:
        self._rows = iter(())


class StoreConnection:
    """Stands for a connection of sqlite3."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def cursor(self) -> StoreCursor:
        return StoreCursor(self._store)


class StoreCheckpointer(SqliteCheckpointer):
    """Keeps checkpoints through a store, in the same tables as SQLite's, so that all SQL on them is one."""

    def __init__(
        self, store: Store, *, serde: Callable[[ReadBlob], SerializerProtocol] | None = None
    ) -> None:
        self.path = Path()
        self.session: object = None
        self.refused = {}
        self._store = store
        self._unread = None
        self._collecting = threading.local()
        self._connection = StoreConnection(store)
        serializer = serde(store.blob) if serde else AllowListSerializer(read_blob=store.blob, refer=True)
        connection: Any = self._connection
        SqliteSaver.__init__(self, connection, serde=serializer)
        self.is_setup = True

    @property
    def conn(self) -> Any:
        return self._connection

    @conn.setter
    def conn(self, connection: Any) -> None:
        """Nothing to do: the base class sets what it was given."""

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[Any]:
        collector = getattr(self._collecting, "collector", None)
        if collector is not None:
            yield collector
            return
        if self._is_waiting():
            self._store.flush()
        cursor = StoreCursor(self._store)
        yield cursor
        if cursor.statements:
            self._store.write(cursor.statements)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        await start_late(config)
        if self._has_none(config):
            return None
        return await asyncio.to_thread(SqliteSaver.get_tuple, self, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        def listed() -> list[CheckpointTuple]:
            return list(self.list(config, filter=filter, before=before, limit=limit))

        for item in await asyncio.to_thread(listed):
            yield item

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await asyncio.to_thread(lambda: self.prune(thread_ids, strategy=strategy))

    def close(self) -> None:
        """Nothing to close: the store is the journal's."""

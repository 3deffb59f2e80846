"""LangGraph's SQLite checkpointer, for sync and async runs alike, over one connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.sqlite import SqliteSaver

from ..blobs import ReadBlob
from ..errors import NotSerializable
from ..journal.blobs import BlobReader
from ..journal.forking import track
from ..journal.records import Statement, ThreadStatement
from ..journal.sqlite import Reopened, aretrying, retrying
from ..journal.store import Store
from ..journal.upkeep import UpkeepSaver
from ..names import STARTER_KEY
from ..serde import AllowListSerializer
from .internals import CONFIG_KEY_RUNTIME

R = TypeVar("R")


class Starter(Protocol):
    """What begins a run that had to wait for the file's lock.

    LangGraph begins every run by asking for its checkpoint, and it is the first thing that it awaits.
    """

    @property
    def waits(self) -> bool: ...

    def start_late(self) -> None: ...

    async def astart_late(self) -> None: ...


class Collector:
    """Stands for a cursor, and keeps the statements that it is given."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def execute(self, sql: str, values: Sequence[Any]) -> None:
        self.statements.append((sql, values))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.statements += [(sql, row) for row in rows]


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
        field = next((channel for channel, value in writes if _problem_of(saver, "", value)), "")
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


def _problem_of(saver: SqliteSaver, field: str, value: Any) -> NotSerializable | None:
    try:
        saver.serde.dumps_typed(value)
    except NotSerializable as problem:
        return problem.within(field)
    return None


class SqliteCheckpointer(UpkeepSaver):
    """A `SqliteSaver` that also serves `ainvoke`, waits for locks, and revives known types only.

    The async methods write in place: a commit in WAL mode costs less than a hop to a thread and
    back. When another process holds the lock they wait in a thread.

    Checkpoints go through the queue of the journal's `store`: in one order with the answers of calls, and
    many in one commit. What may not get lost is committed when LangGraph has awaited it: the checkpoint
    before each superstep. That of an input waits for the next one, which follows before any node runs.
    What a run writes is refused once it has lost its claim, what anybody else writes while a thread is run.
    """

    def __init__(
        self, store: Store, *, serde: Callable[[ReadBlob], SerializerProtocol] | None = None
    ) -> None:
        self.path = store.file
        self.session: object = None  # the one whose checkpointer it is
        self.refused: dict[
            str, NotSerializable
        ] = {}  # by field: what a node wrote, until a checkpoint tells it
        self._store = store
        self._unread: Statement | None = None  # the last one that went into the store's queue
        self._collecting = threading.local()
        self._opened = Reopened(self.path.absolute(), lambda: self.lock, self._begin)
        track(self._opened)
        read_blob = BlobReader(lambda sql, values: self.conn.execute(sql, values).fetchall())
        own = AllowListSerializer(read_blob=read_blob, refer=True)
        super().__init__(self._opened.connection, serde=serde(read_blob) if serde else own)
        with self.lock:
            retrying(self.setup, self.path)

    @property
    def conn(self) -> sqlite3.Connection:
        return self._opened.connection

    @conn.setter
    def conn(self, connection: sqlite3.Connection) -> None:
        """Nothing to do: the base class sets what it was given."""

    def _begin(self) -> None:
        self.lock = threading.Lock()

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[Any]:
        """Like the base class's, but a failed transaction is undone, not committed."""
        collector = getattr(self._collecting, "collector", None)
        if collector is not None:
            yield collector
            return
        if self._is_waiting():
            self._store.flush()
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

    def _is_waiting(self) -> bool:
        return self._unread is not None and self._store.is_waiting(self._unread)

    def _statements(
        self, thread_id: Any, of_run: bool, method: Callable[..., R], *args: Any
    ) -> tuple[R, list[Statement]]:
        """Return what a method of the base class gives, and the statements that it would have run."""
        self._collecting.collector = collector = Collector()
        try:
            result = method(self, *args)
        finally:
            del self._collecting.collector
        thread = str(thread_id)
        return result, [ThreadStatement(item, thread, of_run=of_run) for item in collector.statements]

    def _put_statements(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new: ChannelVersions,
    ) -> tuple[RunnableConfig, list[Statement]]:
        thread, of_run = _writer(config)
        self._store.new_threads.add_checkpoint(thread, config["configurable"].get("checkpoint_ns", ""))
        of_run = of_run and metadata.get("source") != "update"
        return self._statements(thread, of_run, _put, config, checkpoint, metadata, new)

    def put_statements(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> list[Statement]:
        """Return what writes a checkpoint."""
        thread = config["configurable"]["thread_id"]
        return self._statements(thread, True, _put, config, checkpoint, metadata, {})[1]

    def write_statements(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> list[Statement]:
        """Return what writes the writes of a task."""
        thread = config["configurable"]["thread_id"]
        return self._statements(thread, True, _put_writes, config, writes, task_id, task_path)[1]

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place, statements = self._put_statements(config, checkpoint, metadata, new_versions)
        self._store.write(statements)
        return place

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place, statements = self._put_statements(config, checkpoint, metadata, new_versions)
        if metadata.get("source") == "input":
            self._add_later(statements)
        else:
            await self._store.awrite(statements)
        return place

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        _, statements = self._statements(*_writer(config), _put_writes, config, writes, task_id, task_path)
        self._store.write(statements)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        _, statements = self._statements(*_writer(config), _put_writes, config, writes, task_id, task_path)
        if not statements:
            return
        self._add_later(statements)
        await self._store.until_written(statements[-1])

    def _has_none(self, config: RunnableConfig) -> bool:
        """Tell whether there is surely no checkpoint where a config looks for one."""
        values = config["configurable"]
        known = self._store.new_threads
        return not known.may_have_checkpoint(str(values["thread_id"]), values.get("checkpoint_ns", ""))

    def _add_later(self, statements: list[Statement]) -> None:
        self._unread = statements[-1]
        self._store.add_later(*statements)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        starter: Starter | None = config["configurable"].get(STARTER_KEY)
        if starter is not None and starter.waits:
            starter.start_late()
        if self._has_none(config):
            return None
        return retrying(lambda: super(SqliteCheckpointer, self).get_tuple(config), self.path)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        await start_late(config)
        if self._has_none(config):
            return None
        if self._is_waiting():
            await self._store.aflush()
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

    def delete_thread(self, thread_id: str) -> None:
        self._store.write(self._statements(thread_id, False, SqliteSaver.delete_thread, thread_id)[1])

    async def adelete_thread(self, thread_id: str) -> None:
        deleted = self._statements(thread_id, False, SqliteSaver.delete_thread, thread_id)[1]
        await self._store.awrite(deleted)

    def close(self) -> None:
        self._opened.close()


def _writer(config: RunnableConfig) -> tuple[str, bool]:
    """Return the thread that a config writes to, and whether a run does so, not a call of update_state."""
    return str(config["configurable"]["thread_id"]), CONFIG_KEY_RUNTIME in config["configurable"]


async def start_late(config: RunnableConfig) -> None:
    """Begin the run of a config, if it had to wait until an event loop may wait for the database."""
    starter: Starter | None = config["configurable"].get(STARTER_KEY)
    if starter is not None and starter.waits:
        begins = asyncio.ensure_future(starter.astart_late())
        begins.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(begins)  # a run that is cancelled meanwhile begins all the same, and ends

"""What LangGraph asks of a checkpointer beyond runs: copies of threads, and what is cleared away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langgraph.checkpoint.sqlite import SqliteSaver

from .sqlite import aretrying

TABLES = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "writes": "checkpoint_ns, checkpoint_id, task_id, idx, channel, type, value",
}


class UpkeepSaver(SqliteSaver):
    """A `SqliteSaver` with LangGraph's extended operations, each in one transaction."""

    path: Path

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread's checkpoints and pending writes; what the target has under other ids stays."""
        with self.cursor() as cursor:
            for table, columns in TABLES.items():
                cursor.execute(
                    f"INSERT OR REPLACE INTO {table} (thread_id, {columns}) "
                    f"SELECT ?, {columns} FROM {table} WHERE thread_id = ?",
                    (target_thread_id, source_thread_id),
                )

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs wrote, with their pending writes."""
        if not run_ids:
            return
        marks = ", ".join("?" * len(run_ids))
        written = f"json_extract(CAST(metadata AS TEXT), '$.run_id') IN ({marks})"
        with self.cursor() as cursor:
            cursor.execute(
                "DELETE FROM writes WHERE (thread_id, checkpoint_ns, checkpoint_id) IN "
                f"(SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE {written})",
                [*run_ids],
            )
            cursor.execute(f"DELETE FROM checkpoints WHERE {written}", [*run_ids])

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of threads but the latest of each namespace; with "delete", all of them."""
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"prune(strategy={strategy!r}): expected 'keep_latest' or 'delete'.")
        if not thread_ids:
            return
        marks = ", ".join("?" * len(thread_ids))
        with self.cursor() as cursor:
            for table in TABLES:
                old = (
                    ""
                    if strategy == "delete"
                    else (
                        f" AND checkpoint_id < (SELECT max(c.checkpoint_id) FROM checkpoints c WHERE "
                        f"c.thread_id = {table}.thread_id AND c.checkpoint_ns = {table}.checkpoint_ns)"
                    )
                )
                cursor.execute(f"DELETE FROM {table} WHERE thread_id IN ({marks}){old}", [*thread_ids])

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await aretrying(lambda: self.copy_thread(source_thread_id, target_thread_id), self.path)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await aretrying(lambda: self.delete_for_runs(run_ids), self.path)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await aretrying(lambda: self.prune(thread_ids, strategy=strategy), self.path)

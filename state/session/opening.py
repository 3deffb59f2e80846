"""The checkpointer that goes with a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..blobs import ReadBlob
from ..journal.store import Store
from .checkpoints import SqliteCheckpointer
from .store_checkpoints import StoreCheckpointer


def checkpointer_of(
    store: Store, serde: Callable[[ReadBlob], SerializerProtocol] | None = None
) -> SqliteCheckpointer:
    """Return what keeps LangGraph's checkpoints in the database of a store."""
    if isinstance(store.database, Path):
        return SqliteCheckpointer(store, serde=serde)
    return StoreCheckpointer(store, serde=serde)

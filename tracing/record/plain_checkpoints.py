"""Checkpoints as plain data: readable without the graph, and without importing what they name."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...state.blobs import ReadBlob
from ...state.codec.decode import Decoder
from ...state.names import PRIVATE
from ...state.run_context import checkpoint_at
from ...state.serde import KIND
from ...state.session.checkpoints import SqliteCheckpointer
from ...state.session.internals import DeltaSnapshot
from ...state.session.opening import checkpointer_of
from ...state.session.session import Session

START = "__start__"
INTERNAL = ("__", "branch:to:", "join:", PRIVATE)

_quiet = threading.local()
jsonplus.logger.addFilter(lambda _: not getattr(_quiet, "on", False))


class PlainSerializer(SerializerProtocol):
    """Reads any checkpoint; what it holds of unknown types becomes dictionaries and lists."""

    def __init__(self, read_blob: ReadBlob | None = None) -> None:
        self._read_blob = read_blob
        self._inner = jsonplus.JsonPlusSerializer(allowed_msgpack_modules=None)

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        return self._inner.dumps_typed(obj)

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] == KIND:
            return Decoder(as_data=True, read_blob=self._read_blob).value(data[1])
        _quiet.on = True
        try:
            return self._inner.loads_typed(data)
        finally:
            _quiet.on = False


@contextmanager
def plain_checkpoints(session: Session) -> Iterator[SqliteCheckpointer]:
    """Open a session's checkpoints for reading as plain data."""
    checkpointer = checkpointer_of(session.journal.store, PlainSerializer)
    try:
        yield checkpointer
    finally:
        checkpointer.close()


def is_field(channel: str) -> bool:
    """Tell whether a channel is a field of the state, not bookkeeping of LangGraph or a pattern."""
    return not channel.startswith(INTERNAL)


def fields_in(saved: CheckpointTuple) -> dict[str, Any]:
    """Return the state's fields as one checkpoint holds them; delta fields between snapshots are absent."""
    values: Mapping[str, Any] = saved.checkpoint["channel_values"]
    return {
        name: value.value if isinstance(value, DeltaSnapshot) else value
        for name, value in values.items()
        if is_field(name)
    }


def final_state(checkpointer: SqliteCheckpointer, thread_id: str) -> dict[str, Any]:
    """Return the fields of a thread's last checkpoint.

    A delta field is given as its last snapshot and what was written since: only the graph can join them.
    """
    saved = checkpointer.get_tuple(checkpoint_at(thread_id))
    if saved is None:
        return {}
    state = fields_in(saved)
    deltas = [name for name in saved.metadata.get("counters_since_delta_snapshot", {}) if name not in state]
    histories = checkpointer.get_delta_channel_history(config=saved.config, channels=deltas)
    for name, history in histories.items():
        seed = history.get("seed")
        seed = seed.value if isinstance(seed, DeltaSnapshot) else seed
        state[name] = {"snapshot": seed, "since": [write[2] for write in history["writes"]]}
    return state

"""Whether, and when, a thread began with an input that it is given once more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from .dialect import Rows

_BEGUN: Final = (
    "SELECT started_at FROM invocations i WHERE thread_id = ? AND input_digest = ? AND trace = ("
    "SELECT trace FROM invocations WHERE thread_id = i.thread_id AND status <> 'done' AND id = ("
    "SELECT max(id) FROM invocations WHERE thread_id = i.thread_id)) ORDER BY id LIMIT 1"
)


def was_given(query: Callable[..., Rows], thread_id: str, input_digests: Collection[str], since: int) -> bool:
    """Tell whether a thread has been given one of these inputs `since` one of its traces."""
    sql = (
        "SELECT 1 FROM invocations WHERE thread_id = ? AND trace >= ? AND input_digest IN "
        f"({', '.join('?' * len(input_digests))}) LIMIT 1"
    )
    return bool(query(sql, (thread_id, since, *input_digests)))


def begun_at(query: Callable[..., Rows], thread_id: str, input_digest: str | None) -> float | None:
    """Return when a thread began with this input, if it has not ended with it; else None."""
    return _start_in(query(_BEGUN, (thread_id, input_digest)))


async def abegun_at(
    aquery: Callable[..., Awaitable[Rows]], thread_id: str, input_digest: str | None
) -> float | None:
    """Like `begun_at`, and the event loop does not stand still for it."""
    return _start_in(await aquery(_BEGUN, (thread_id, input_digest)))


def _start_in(rows: Rows) -> float | None:
    return float(rows[0]["started_at"]) if rows else None

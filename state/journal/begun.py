"""When a thread began with an input that it is given once more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from .dialect import Rows

_BEGUN: Final = (
    "SELECT started_at FROM invocations i WHERE thread_id = ? AND input_digest = ? AND trace = ("
    "SELECT trace FROM invocations WHERE thread_id = i.thread_id AND status <> 'done' AND id = ("
    "SELECT max(id) FROM invocations WHERE thread_id = i.thread_id)) ORDER BY id LIMIT 1"
)


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

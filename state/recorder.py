"""Notes every node visit of a LangGraph run in the journal; works on any LangGraph graph."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from pydantic_core import PydanticSerializationError, to_json

from .claims import Claims
from .fingerprint import GRAPH_KEY, GraphMark, check_unchanged
from .journal import Journal, Visit
from .pauses import budget_end

MAX_OUTPUT = 20_000


def path_of(task: str) -> str:
    """Return the names of the nested nodes in a checkpoint namespace, joined by "/"."""
    return "/".join(part.split(":", 1)[0] for part in task.split("|"))


class Recorder(BaseCallbackHandler):
    """A LangChain callback handler that writes node visits and the run's status."""

    run_inline = True
    raise_error = True
    ignore_llm = True
    ignore_chat_model = True
    ignore_retriever = True
    ignore_agent = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, journal: Journal, claims: Claims, thread_id: str, *, insist: bool = False) -> None:
        self._journal = journal
        self._claims = claims
        self._thread = thread_id
        self._insist = insist
        self._root: UUID | None = None
        self._open: dict[UUID, tuple[dict[str, Any], float]] = {}
        self._ended = "done"

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata and tags and any(tag.startswith("graph:step:") for tag in tags):
            self._open[run_id] = (metadata, time.time())
        elif parent_run_id is None or self._root is None:
            self._claims.acquire(self._thread)
            fingerprint = self._fingerprint((metadata or {}).get(GRAPH_KEY))
            self._root = run_id
            self._ended = "done"
            self._journal.start_run(self._thread, fingerprint)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        if run_id == self._root:
            self._end(self._ended)
        elif run_id in self._open:
            self._leave(run_id, "done", output=outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)
        told = "stopped before it ended" if cancelled else f"{type(error).__name__}: {error}"
        if run_id == self._root:
            self._end("failed", told)
        elif run_id not in self._open:
            return
        elif isinstance(error, GraphInterrupt):
            interrupts = error.args[0] if error.args else ()
            self._ended = "partial" if budget_end(interrupts) else "interrupted"
            self._leave(run_id, "interrupted")
        elif isinstance(error, GraphBubbleUp):
            self._leave(run_id, "done")
        else:
            self._leave(run_id, "failed", error=told)

    def _fingerprint(self, mark: Any) -> str | None:
        """Return the graph's shape, if it is known; refuse one that the thread cannot go on with."""
        if not isinstance(mark, GraphMark):
            return None
        if not self._insist:
            try:
                check_unchanged(self._journal, self._thread, mark.fingerprint)
            except BaseException:
                self._claims.release(self._thread)
                raise
        return mark.fingerprint

    def _end(self, status: str, error: str | None = None) -> None:
        self._root = None
        self._open.clear()
        self._journal.end_run(self._thread, status, error)
        self._claims.release(self._thread)

    def _leave(self, run_id: UUID, status: str, *, output: Any = None, error: str | None = None) -> None:
        metadata, started = self._open.pop(run_id)
        task = metadata["langgraph_checkpoint_ns"]
        self._journal.add(
            Visit(
                thread_id=self._thread,
                task=task,
                path=path_of(task),
                node=metadata["langgraph_node"],
                superstep=metadata["langgraph_step"],
                status=status,
                output=None if output is None else as_json(output),
                error=error,
                started_at=started,
                ended_at=time.time(),
            )
        )


def json_text(value: Any) -> str:
    """Return any value as JSON, whatever is in it."""
    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, UnicodeError, ValueError):
        return json.dumps(value, default=repr)


def as_json(value: Any) -> str:
    """Return any state value as JSON for a reader; what JSON cannot say is shown by its repr."""
    text = json_text(value)
    if len(text) > MAX_OUTPUT:
        return to_json({"cut": len(text), "start": text[:MAX_OUTPUT]}).decode()
    return text

"""All that stepgraph uses of LangGraph's private parts; tests/state/session/test_internals.py guards it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_TASK_ID,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot
from langgraph.pregel._loop import PregelLoop
from langgraph.pregel._task_status import read_task_statuses
from langgraph.types import _interrupt_id as interrupt_id

__all__ = [
    "CONFIG_KEY_CHECKPOINTER",
    "CONFIG_KEY_CHECKPOINT_MAP",
    "CONFIG_KEY_DURABILITY",
    "CONFIG_KEY_RUNTIME",
    "DeltaSnapshot",
    "attempt_of",
    "execution_of",
    "hears_tokens",
    "interrupt_id",
    "is_nested",
    "node_of",
    "read_task_statuses",
]


def execution_of(configurable: Mapping[str, Any]) -> Any:
    """Return an object that is the same throughout one execution of a node, and new for the next.

    LangGraph hands each node execution a reader of its own; a node that runs again after an
    interrupt or a crash keeps its task id but gets a new reader.
    """
    return configurable.get(CONFIG_KEY_READ)


def attempt_of(configurable: Mapping[str, Any]) -> int:
    """Return how often LangGraph's RetryPolicy has begun this node execution: 1 for the first time."""
    info = getattr(configurable.get(CONFIG_KEY_RUNTIME), "execution_info", None)
    return getattr(info, "node_attempt", 1)


def node_of(
    function: Callable[..., Any] | None, afunction: Callable[..., Any] | None = None
) -> Runnable[Any, Any]:
    """Return functions as a node that gets `config`, `runtime` and the like injected, untraced."""
    return RunnableCallable(function, afunction, trace=False)


def hears_tokens(handler: Any) -> bool:
    """Tell whether a callback handler wants an answer's words as they come, as LangGraph's streams do."""
    return isinstance(handler, _StreamingCallbackHandler)


def is_nested(configurable: Mapping[str, Any]) -> bool:
    """Tell whether a graph with this config runs as a node of another graph."""
    return CONFIG_KEY_TASK_ID in configurable


class _NothingToWrite:
    """The writing of the checkpoint of a graph that keeps none."""

    def result(self) -> None:
        return None

    def __await__(self) -> Iterator[Any]:
        return iter(())


# With durability "sync", LangGraph waits for it in a subgraph with checkpointer=False too, where it never is.
setattr(PregelLoop, "_put_checkpoint_fut", _NothingToWrite())  # noqa: B010

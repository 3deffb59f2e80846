"""All that stepgraph uses of LangGraph's private parts; tests/state/test_internals.py guards it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
)
from langgraph._internal._runnable import RunnableCallable
from langgraph.checkpoint.serde.types import _DeltaSnapshot as DeltaSnapshot

__all__ = [
    "CONFIG_KEY_CHECKPOINTER",
    "CONFIG_KEY_DURABILITY",
    "DeltaSnapshot",
    "attempt_of",
    "execution_of",
    "node_of",
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


def node_of(function: Callable[..., Any], afunction: Callable[..., Any] | None = None) -> Runnable[Any, Any]:
    """Return functions as a node that gets `config`, `runtime` and the like injected, untraced."""
    return RunnableCallable(function, afunction, trace=False)

"""Plain functions as nodes: what they write is checked, which LangGraph does not do."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from langgraph.types import Command

from ...state.event_loops import in_thread, run_sync
from ...state.fitting import fitted
from ...state.schema import StateType, check_fields, values_of
from ...state.session.internals import node_of
from ...state.session.pauses import leader_of


def checked(function: Callable[..., Any], state: StateType, name: str) -> Any:
    """Return a node whose updates are checked: LangGraph drops unknown fields, and takes wrong types.

    An async function serves sync callers too, which it would not in LangGraph.
    """
    writer = f"Node {name!r}"

    def check(update: Any) -> Any:
        if isinstance(update, Mapping):
            check_fields(state, update, writer)
            return {field: fitted(state, field, value, writer) for field, value in update.items()}
        if isinstance(update, Command) and not update.graph and update.update is not None:
            return replace(update, update=check(update.update))
        if isinstance(update, list) and any(isinstance(one, Command) for one in update):
            return [check(one) for one in update]
        if type(update) is state:
            for field, value in values_of(update).items():
                fitted(state, field, value, writer)
        return update

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            try:
                return check(await function(*args, **kwargs))
            except ExceptionGroup as group:
                leader = leader_of(group)
                if leader is None:
                    raise
                raise leader from group

        @functools.wraps(function)
        def from_sync(*args: Any, **kwargs: Any) -> Any:
            return run_sync(acall(*args, **kwargs))

        return node_of(from_sync, acall)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return check(function(*args, **kwargs))

    @functools.wraps(function)
    async def from_async(*args: Any, **kwargs: Any) -> Any:
        return await in_thread(call, *args, **kwargs)

    return node_of(call, from_async)

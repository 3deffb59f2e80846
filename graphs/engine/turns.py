"""The next thing that is said on a thread: it keeps what the thread knows.

LangGraph writes every field of a state that it is given, also those that nobody set: what a thread knows
would be gone with the second input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.channels import LastValue
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from pydantic import BaseModel

from ...state.errors import InputError
from ...state.run_context import RunContext, checkpoint_at
from ...state.schema import values_of
from ...state.session.keeping import saver_of
from ...state.session.redelivery import aundelivered, is_untouched, undelivered
from .writes import reduced, same

NOTHING: Final = object()


def delivered(graph: Any, input: Any, config: RunnableConfig) -> Any:
    """Return what a run is given: None to go on, where its thread has the input already, else what is new.

    Raises InputError where an input would reset what the thread knows.
    """
    state = undelivered(input, config)
    saver = _saver_of(graph, state, config)
    if saver is None:
        return state
    new = _new(graph, state, saver.get_tuple(_place(config)), config)
    return state if new is state else undelivered(new, config)


async def adelivered(graph: Any, input: Any, config: RunnableConfig) -> Any:
    """Like `delivered`, for checkpointers that are async; whoever has called it already is given the same."""
    if RunContext.of(config).has_checked_input:
        return input
    if await is_untouched(config):
        return input
    state = await aundelivered(input, config)
    saver = _saver_of(graph, state, config)
    if saver is None:
        return state
    new = _new(graph, state, await saver.aget_tuple(_place(config)), config)
    return state if new is state else await aundelivered(new, config)


def _saver_of(graph: Any, state: Any, config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Return who knows what the thread knows, if the input is a whole state, and not to begin anew."""
    whole = isinstance(state, BaseModel) or (dataclasses.is_dataclass(state) and not isinstance(state, type))
    if not whole or RunContext.of(config).restarts:
        return None
    return saver_of(graph, config)


def _place(config: RunnableConfig) -> RunnableConfig:
    context = RunContext.of(config)
    return checkpoint_at(context.thread_id, context.task, context.checkpoint_id or None)


def _new(graph: Any, state: Any, checkpoint: CheckpointTuple | None, config: RunnableConfig) -> Any:
    known: Mapping[str, Any] = {} if checkpoint is None else checkpoint.checkpoint["channel_values"]
    known = {name: value for name, value in known.items() if name in values_of(state)}
    if not known:
        return state
    if isinstance(state, BaseModel):
        fields = {name: value for name, value in values_of(state).items() if name in state.model_fields_set}
    else:
        fields = {
            f.name: getattr(state, f.name) for f in dataclasses.fields(state) if not _is_default(f, state)
        }
    if not fields:  # LangGraph takes an empty input for none, so fields are told what they are
        return {name: v for name, v in known.items() if isinstance(graph.channels.get(name), LastValue)}
    if isinstance(state, BaseModel) or all(same(known.get(n, NOTHING), v) for n, v in fields.items()):
        return fields
    reset = [
        field.name
        for field in dataclasses.fields(state)
        if field.name in known and _resets(graph, field, getattr(state, field.name), known[field.name])
    ]
    if not reset:
        return state
    raise InputError(
        f"The thread {RunContext.of(config).thread_id!r} knows {', '.join(reset)} already, and a whole "
        f"{type(state).__name__} would reset that to the default. Give only what is new, as a dict: "
        f"{fields!r:.300}. To reset a field, name it in the dict; to begin anew, restart=True."
    )


def _resets(graph: Any, field: dataclasses.Field[Any], value: Any, known: Any) -> bool:
    """Tell whether a field that may not have been set would put its default in the place of what is known."""
    if not same(value, _default(field)) or same(value, known):
        return False
    channel = graph.channels.get(field.name)
    return isinstance(channel, LastValue) or not same(reduced(channel, known, value), known)


def _is_default(field: dataclasses.Field[Any], state: Any) -> bool:
    return same(getattr(state, field.name), _default(field))


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default if field.default is not dataclasses.MISSING else NOTHING

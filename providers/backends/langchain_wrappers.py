"""LangChain chat models under wrappers: what `.bind`, `.with_config` and `.with_fallbacks` made of them.

A wrapper is taken apart where the result asks the very same: bound arguments and the config go with each
call, fallbacks become models that are asked in turn, configurable fields take the values that `.with_config`
gave them. All else is refused, with what to do instead: nobody could say what answers, or what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry

from ...state.errors import DefinitionError
from ...state.run_context import fields_in, without_fields

_OF_STEPS = {
    "tools": "agent(…, tools=[…])",
    "functions": "agent(…, tools=[…])",
    "tool_choice": "agent(…, tools=[…])",
    "function_call": "agent(…, tools=[…])",
    "response_format": "a step that returns Ask[YourType]",
}


@dataclass(frozen=True)
class PlainChat:
    """A chat model, and what its wrappers add to each call."""

    chat: BaseChatModel
    arguments: Mapping[str, Any] = field(default_factory=dict)
    config: RunnableConfig | None = None


def plain_chats(model: Runnable[Any, Any], where: str) -> list[PlainChat]:
    """Return the chat models under a runnable, as they are asked in turn. Raises DefinitionError."""
    return list(_unwrapped(model, {}, {}, where))


def _unwrapped(
    model: Runnable[Any, Any], arguments: Mapping[str, Any], config: RunnableConfig, where: str
) -> Iterator[PlainChat]:
    if isinstance(model, BaseChatModel):
        for name in _OF_STEPS.keys() & arguments.keys():
            _refuse(where, f"{name!r} is bound to {type(model).__name__}", f"use {_OF_STEPS[name]}")
        yield PlainChat(model, arguments, without_fields(config) or None)
    elif isinstance(model, RunnableBinding):
        if model.config_factories:
            _refuse(where, "listeners are bound to the model", "give the session, or the call, callbacks")
        merged = merge_configs(model.config, config)
        yield from _unwrapped(model.bound, {**model.kwargs, **arguments}, merged, where)
    elif isinstance(model, DynamicRunnable):
        merged = merge_configs(model.config, config)
        known = fields_in(merged)
        missing = [spec.id for spec in model.config_specs if spec.id not in known]
        if missing:
            fields = ", ".join(f"{name!r}: …" for name in missing)
            _refuse(
                where,
                f"what the model is depends on the config of each call ({', '.join(missing)})",
                f"decide it: model.with_config(configurable={{{fields}}})",
            )
        inner, _ = model.prepare(merged)
        yield from _unwrapped(inner, arguments, config, where)
    elif isinstance(model, RunnableWithFallbacks):
        if tuple(model.exceptions_to_handle) != (Exception,) or model.exception_key is not None:
            _refuse(
                where,
                "its fallbacks are for some exceptions only",
                'give the models themselves, and for what: {"models": [first, second], "on": ["busy", …]}',
            )
        for one in model.runnables:
            yield from _unwrapped(one, arguments, config, where)
    elif isinstance(model, RunnableRetry):
        _refuse(
            where, "it retries by itself", "give the chat model; stepgraph retries, and counts each attempt"
        )
    else:
        _refuse(
            where,
            f"{type(model).__name__} is a LangChain runnable, but no chat model",
            "give the chat model; the prompt is what a step asks, the answer's schema is its type",
        )


def _refuse(where: str, what: str, instead: str) -> NoReturn:
    raise DefinitionError(f"{where}: {what}. Instead, {instead}.")

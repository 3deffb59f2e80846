"""Asks a recorded call once more, with another prompt or another model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic_core import to_json

from ...nodes.prefixes import joined
from ...providers.model import CallContext, Message, PrefixEnd, Request
from ...providers.stack.roles import Bindable, as_model, find_model
from ...runners.bindings import using_named
from ...state.budget import Budgets
from ...state.errors import InputError
from ...state.journal.earlier import OF_THE_MODEL
from ...state.run_context import RunContext, with_ledgers
from ...state.session.session import Session
from ...tracing.forks.copies import ForkPoint


async def ask_again(
    session: Session,
    call: Mapping[str, Any],
    thread_id: str,
    *,
    prompt: str | None = None,
    model: Bindable | None = None,
    models: Mapping[str, str] | None = None,
    budget: Budgets | None = None,
    run: RunContext | None = None,
) -> ForkPoint:
    """Ask what a recorded call asked, on the account of `thread_id`, and return the answer for `fork`.

    `prompt` replaces the last message of the user; `model` is a model, or a spec such as
    "openai:gpt-5-mini", for this call alone; without one the call's role is looked up, in `models`
    first, then in the `run`, which knows those that the graph was compiled with. It must fit the
    `budget`, by default that of the call's thread. Raises a ModelError or BudgetExceeded.
    """
    messages, params = tuple(json.loads(session.journal.whole(call["messages"]))), json.loads(call["params"])
    for name in OF_THE_MODEL:  # of the model that was asked; who is asked now has its own
        params.pop(name, None)
    if prompt is not None:
        messages = _reworded(messages, prompt, params.get("prefix"))
        params.pop("prompt", None)  # it is no longer what a managed prompt says
    with using_named(models or {}):
        where = run or RunContext.of(None)
        stack = as_model(model, f"model={model}") if model is not None else find_model(call["role"], where)
    config: RunnableConfig = session.config(thread_id, checkpoint_ns=call["task"])
    # The fork will have them, and this call is the first that counts there.
    budgets, _ = session.budgets_for(call["thread_id"], budget, ())
    config = with_ledgers(config, *session.ledgers(thread_id, budgets))
    context = CallContext(step=call["step"], role=call["role"], config=config)
    reply = await stack.complete(Request(messages, **params), context)
    return ForkPoint(
        answer=reply.text,
        model=stack.name,
        messages=to_json(messages, fallback=repr).decode(),
        origin=reply.call_id,
    )


def _reworded(messages: tuple[Message, ...], prompt: str, prefix: PrefixEnd | None) -> tuple[Message, ...]:
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if message["role"] == "user":
            content: Any = prompt
            if prefix is not None and prefix[0] == number:  # what the question shares with others stays
                content, _ = joined(message["content"][: prefix[1]], prompt)
            return (*messages[:number], {**message, "content": content}, *messages[number + 1 :])
    raise InputError("The call has no message of the user that --prompt could replace.")

"""An input that is delivered again: a thread that has not ended with it goes on, and pays nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Command

from ..journal.begun import abegun_at, begun_at
from ..journal.journal import Journal
from ..json_text import json_text
from ..names import CHECKED_KEY, RESTART_KEY, SESSION_KEY, UNTOUCHED_KEY
from .internals import CONFIG_KEY_CHECKPOINTER


def digest_of(thread_id: str, inputs: Any) -> str:
    """Return a text by which an input of a thread is known again, and from which it cannot be read."""
    if isinstance(inputs, Mapping):
        inputs = dict(sorted(inputs.items(), key=lambda item: str(item[0])))
    content = json_text([thread_id, inputs])
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()


async def is_untouched(config: RunnableConfig) -> bool:
    """Tell whether a run's thread is surely new, so that there is nothing to look for."""
    values = config.get("configurable", {})
    session = values.get(SESSION_KEY)
    if session is None or values.get(CONFIG_KEY_CHECKPOINTER) is not session.checkpointer:
        return False
    return bool(values.get(UNTOUCHED_KEY)) or not await session.journal.is_touched(str(values["thread_id"]))


def undelivered(input: Any, config: RunnableConfig) -> Any:
    """Return the input that a run begins with: None, to go on, if its thread has it already."""
    asked = _asked(input, config)
    if asked is None:
        return input
    journal, *named = asked
    begun = begun_at(journal.query, *named)
    saver = config["configurable"][CONFIG_KEY_CHECKPOINTER]
    return input if begun is None or not _holds(saver.get_tuple(_place(config)), begun) else None


async def aundelivered(input: Any, config: RunnableConfig) -> Any:
    """Like `undelivered`, for checkpointers that are async."""
    asked = _asked(input, config)
    if asked is None:
        return input
    journal, *named = asked
    begun = await abegun_at(journal.aquery, *named)
    saver = config["configurable"][CONFIG_KEY_CHECKPOINTER]
    return input if begun is None or not _holds(await saver.aget_tuple(_place(config)), begun) else None


def _asked(input: Any, config: RunnableConfig) -> tuple[Journal, str, str] | None:
    """Return where to look for whether a run's thread has this input, and for what; None if nobody cares."""
    values = config.get("configurable", {})
    session = values.get(SESSION_KEY)
    new = input is not None and not isinstance(input, Command) and CHECKED_KEY not in values
    if session is None or not new or values.get(RESTART_KEY) or values.get("checkpoint_id"):
        return None
    thread = str(values["thread_id"])
    return session.journal, thread, digest_of(thread, input)


def _place(config: RunnableConfig) -> RunnableConfig:
    return {"configurable": {"thread_id": config["configurable"].get("thread_id"), "checkpoint_ns": ""}}


def _holds(checkpoint: CheckpointTuple | None, begun: float) -> bool:
    """Tell whether a checkpoint was written since then, so that it holds the input."""
    return checkpoint is not None and datetime.fromisoformat(checkpoint.checkpoint["ts"]).timestamp() >= begun

"""What a model is asked when its answer did not fit: the same, with what is wrong, or with more room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..providers.model import Message, Model, Reply, Request
from ..providers.stack.stack import ModelStack
from ..state.statuses import CUT

MORE = 2  # times the tokens, for an answer whose tokens went into reasoning


def asked_again(
    question: tuple[Message, ...], last: Request, replies: Sequence[Reply], problems: str, model: Model
) -> Request | None:
    """Return the next request, None where it would only be paid for: it would be the one before.

    `question` are the messages of the first one, `last` is the one that got the last of the replies.
    """
    reply = replies[-1]
    if reply.finish_reason == CUT and (reply.usage.reasoning or not reply.text.strip()):
        limit = last.max_tokens or _set(model, "max_tokens") or reply.usage.output
        return None if not limit else replace(last, max_tokens=int(limit * MORE))
    if len(replies) > 1 and replies[-2].text == reply.text:
        temperature = last.temperature if last.temperature is not None else _set(model, "temperature")
        if temperature == 0:
            return None
    return replace(last, messages=(*question, *correction(reply.text, problems)))


def correction(answer: str, problems: str) -> tuple[Message, ...]:
    """Return the messages that show a model its answer, and say what is wrong with it."""
    return (
        {"role": "assistant", "content": answer or "(nothing)"},
        {"role": "user", "content": f"That answer does not fit: {problems}\nAnswer again, correctly."},
    )


def _set(model: Model, name: str) -> float | None:
    """Return what the settings of a model say; of several models, the greatest."""
    members = model.members if isinstance(model, ModelStack) else ()
    values = [value for member in members if (value := getattr(member.settings, name)) is not None]
    return max(values) if values and len(values) == len(members) else None

"""Images that a tool gives back: OpenAI's chat completions take them in a message of the user only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..model import Message
from .standard_blocks import is_medium, standard_block

MOVED: Final = "The tools gave these files back, in this order:"


def with_media_beside(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with what tools gave back, beside text, in a message of the user after theirs."""
    if not any(_media_of(message) for message in messages):
        return messages
    found: list[Message] = []
    waiting: list[Any] = []
    for message in messages:
        if message["role"] != "tool" and waiting:
            found.append(_of_user(waiting))
            waiting = []
        media = _media_of(message)
        if media:
            waiting += media
            told = [part for part in message["content"] if part not in media]
            message = {**message, "content": told or f"{len(media)} files, in the next message of the user"}
        found.append(message)
    if waiting:
        found.append(_of_user(waiting))
    return found


def _media_of(message: Message) -> list[Any]:
    content = message.get("content")
    if message["role"] != "tool" or not isinstance(content, list | tuple):
        return []
    return [part for part in content if isinstance(part, Mapping) and is_medium(standard_block(part))]


def _of_user(media: list[Any]) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": MOVED}, *media]}

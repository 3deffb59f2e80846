"""Images that a tool or a model gave back: OpenAI's chat completions take them from the user only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..model import Message
from .standard_blocks import is_medium, standard_block

MOVED: Final = {"tool": "The tools gave these files back:", "assistant": "Your last answer held these files:"}


def with_media_beside(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with the media of tools and answers at the beginning of the user's next message.

    What a model said is told by its text, which goes without the sound.
    """
    if not any(map(_media_of, messages)):
        return messages
    result: list[Message] = []
    waiting: list[Any] = []
    for message in messages:
        role, media = message["role"], _media_of(message)
        if waiting and role == "user":
            message = {**message, "content": [*waiting, *_parts(message.get("content"))]}
            waiting = []
        elif waiting and role != "tool":
            result.append({"role": "user", "content": waiting})
            waiting = []
        if media:
            rest = [part for part in message["content"] if part not in media]
            if role == "assistant" and rest:
                media = [part for part in media if standard_block(part)["type"] != "audio"]
            waiting += [{"type": "text", "text": MOVED[role]}, *media] if media else []
            message = {**message, "content": rest or "(files)"}
        result.append(message)
    if waiting:
        result.append({"role": "user", "content": waiting})
    return result


def _media_of(message: Message) -> list[Any]:
    content = message.get("content")
    if message["role"] not in MOVED or not isinstance(content, list | tuple):
        return []
    return [part for part in content if isinstance(part, Mapping) and is_medium(standard_block(part))]


def _parts(content: Any) -> list[Any]:
    return [*content] if isinstance(content, list | tuple) else [{"type": "text", "text": content or ""}]

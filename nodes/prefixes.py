"""What questions share, put in front of each: byte for byte the same, so that a provider's cache knows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from ..providers.model import Message, PrefixEnd
from ..state.errors import InputError
from .openai_messages import prompt_messages

BETWEEN = "\n\n"


def with_prefix(
    prefix: str | Sequence[BaseMessage | Mapping[str, Any] | str],
    system: str | None,
    prompt: tuple[Message, ...],
) -> tuple[tuple[Message, ...], PrefixEnd]:
    """Return the messages of a question with its prefix at the very front, and where the prefix ends.

    A text is the beginning of the system message, before what else the system says. Messages stay what they
    are; one of the user is joined with the question after it, since many servers want the roles in turn.
    """
    if isinstance(prefix, str):
        shared: list[Any] = [{"role": "system", "content": prefix}]
        if system:
            prompt = ({"role": "system", "content": system}, *prompt)
    else:
        shared = list(prompt_messages(prefix))
        if system and shared[0]["role"] == "system":
            raise InputError(
                "Ask(prefix=…, system=…): the prefix has a system message of its own. Put what differs into "
                "the prompt, or the whole system message into the prefix."
            )
        if system:
            shared.insert(0, {"role": "system", "content": system})
        if prompt and prompt[0]["role"] == "system":
            raise InputError(
                "Ask(prefix=[…]): the prompt begins with a system message, which must stand before all "
                "others. Put it into the prefix, or give the prefix as text."
            )
    last = shared[-1]
    content = last.get("content") or ""
    end = (len(shared) - 1, len(content))
    if prompt and last["role"] == prompt[0]["role"] and last["role"] in ("system", "user"):
        both, amount = joined(content, prompt[0]["content"])
        shared[-1] = {**prompt[0], **last, "content": both}
        end, prompt = (end[0], amount), prompt[1:]
    return (*shared, *prompt), end


def joined(first: Any, second: Any) -> tuple[Any, int]:
    """Return two contents as one, and how much of it is the first: characters of a text, or parts."""
    if isinstance(first, str) and isinstance(second, str):
        return first + BETWEEN + second, len(first)
    parts = [*_parts(first), *_parts(second)]
    return parts, len(_parts(first))


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)

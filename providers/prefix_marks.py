"""The prefix that requests share: what of a request it is, and its end marked where a provider wants that.

Anthropic caches up to a part that has `cache_control`, also behind OpenRouter; Bedrock's Converse API up to a
part of its own. OpenAI, DeepSeek, vLLM and others do it by themselves, for whatever is equal at the front:
OpenAI finds the machine that has it by `prompt_cache_key`.

- https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
- https://openrouter.ai/docs/guides/features/prompt-caching
- https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html
- https://developers.openai.com/docs/guides/prompt-caching
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from .model import Message, Request

Mark = Literal["cache_control", "cache_point"]
"""How the end of a prefix is marked: on its last part, or by a part of its own."""

MOST_MARKS: Final = 4  # Anthropic refuses a fifth
_CACHE_CONTROL: Final = {"cache_control": {"type": "ephemeral"}}
_CACHE_POINT: Final = {"cachePoint": {"type": "default"}}


def mark_for(classes: Collection[str], model: str, address: str = "") -> Mark | None:
    """Return the mark that a LangChain class sends on, None where its provider wants none."""
    if "ChatBedrockConverse" in classes:
        return "cache_point" if re.search("anthropic|nova", model) else None
    if "ChatBedrock" in classes:
        return "cache_control" if "anthropic" in model else None
    routed = "ChatOpenRouter" in classes or (urlsplit(address).hostname or "").endswith("openrouter.ai")
    return "cache_control" if routed or any("Anthropic" in name for name in classes) else None


def front_of(request: Request, *, with_schema: bool = False) -> str:
    """Return a digest of all that a provider reads until the prefix ends; tools come first.

    So does the schema with some, who then share nothing between requests of different types.
    """
    before = [request.tools, request.schema if with_schema else None, *_front(request)]
    return hashlib.sha256(json.dumps(before, default=repr).encode("utf-8", "replace")).hexdigest()


def cache_key(request: Request) -> str:
    """Return the name by which requests with this prefix find each other at OpenAI."""
    return f"stepgraph-{front_of(request)[:32]}"


def marked(request: Request, mark: Mark | None) -> tuple[Message, ...]:
    """Return the messages, with the end of the prefix marked."""
    messages = request.messages
    if mark is None or request.prefix is None or len(messages) <= request.prefix[0]:
        return messages
    if json.dumps(messages, default=repr).count('"cache_control"') >= MOST_MARKS:
        return messages
    index, amount = request.prefix
    content = messages[index].get("content")
    if not content or not amount:
        return messages
    first, rest = _split(content, amount)
    if mark == "cache_point":
        first.append(_CACHE_POINT)
    elif "cache_control" not in first[-1]:  # else it is the user's own
        first[-1] = {**first[-1], **_CACHE_CONTROL}
    return (*messages[:index], {**messages[index], "content": [*first, *rest]}, *messages[index + 1 :])


def _front(request: Request) -> list[Any]:
    if request.prefix is None:
        return []
    index, amount = request.prefix
    if index >= len(request.messages):  # a conversation that was cut since
        return list(request.messages)
    last = request.messages[index]
    first, _ = _split(last.get("content") or "", amount)
    return [*request.messages[:index], {**last, "content": first}]


def _split(content: Any, amount: int) -> tuple[list[Any], list[Any]]:
    """Return the parts of a content that belong to the prefix, and the others."""
    if not isinstance(content, str):
        return list(content[:amount]), list(content[amount:])
    rest = content[amount:]
    return [{"type": "text", "text": content[:amount]}], [{"type": "text", "text": rest}] if rest else []

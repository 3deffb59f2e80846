"""How what a run streams is written for clients: JSON, with the record's own bytes for all but words.

Each event is a list whose first member says what it is. A message is told of once, with its metadata; then
its words come under its id.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from langchain_core.messages import AIMessageChunk, BaseMessage

from ...providers.stack.streaming import MARKS
from ...state.errors import StepgraphError
from ...state.names import GRAPH_KEY
from ...state.serde import AllowListSerializer

BEGIN: Final = "begin"  # name, ns, metadata: a message begins
TEXT: Final = "text"  # name, text, reasoning: more of it
SO_FAR: Final = "so far"  # name, ns, metadata, text, reasoning: all of it until now, for who comes late
WHOLE: Final = "whole"  # name, bytes: a chunk with more than words, or another message
TORN: Final = "torn"  # name, reason: the rest does not come
PART: Final = "part"  # mode, ns, bytes: an update, or what a node wrote
NODE: Final = "node"  # ns, name, task, what: a node begins or ends
MOST_BYTES: Final = 1_000_000  # of one part

_SERIALIZER: Final = AllowListSerializer()


def packed(value: Any) -> str | None:
    """Return a value as the record keeps it, None for one that it cannot keep, or that is too large."""
    try:
        _, content = _SERIALIZER.dumps_typed(value)
    except StepgraphError:
        return None
    return base64.b64encode(content).decode() if len(content) <= MOST_BYTES else None


def unpacked(text: str) -> Any:
    """Return what was packed. Raises StoreError for what nobody in this process declares."""
    kind, _ = _SERIALIZER.dumps_typed(0)
    return _SERIALIZER.loads_typed((kind, base64.b64decode(text)))


def words_of(message: BaseMessage) -> tuple[str, str] | None:
    """Return the text and the reasoning of a chunk that has nothing else; None for any other message."""
    if type(message) is not AIMessageChunk or not isinstance(message.content, str):
        return None
    extra = message.additional_kwargs
    if message.response_metadata or message.usage_metadata or message.tool_call_chunks:
        return None
    if message.chunk_position is not None or not {*extra} <= {"reasoning_content"}:
        return None
    return message.content, str(extra.get("reasoning_content", ""))


def chunk_of(name: str, text: str, reasoning: str = "", **more: Any) -> AIMessageChunk:
    """Return words as a chunk of their message."""
    extra = {"reasoning_content": reasoning} if reasoning else {}
    return AIMessageChunk(content=text, id=name, additional_kwargs=extra, **more)


def broken(name: str, reason: str) -> AIMessageChunk:
    """Return the chunk that ends a message without an answer: what it said is void."""
    return AIMessageChunk(content="", id=name, response_metadata={MARKS: {"broken": reason}})


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can say of a message's metadata."""
    return {n: v for n, v in metadata.items() if n != GRAPH_KEY and not n.startswith("__") and _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float, bool))

"""Long results of tools as an agent's model sees them: the lines that the question at hand needs.

Which lines these are depends on the conversation up to the result alone. So they stay the same in all later
turns and after a resume: the beginning of the prompt can be cached, and no call is paid twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from ..coding.compressing.compressor import compress
from ..coding.ranges import Read
from ..state.json_text import json_text

__all__ = ["CHARS_PER_TOKEN", "MOST", "Excerpts", "excerpt_of"]

CHARS_PER_TOKEN: Final = (4, 6, 10)  # one after the other, until the lines are short enough
MOST: Final = 2_000  # excerpts that are kept
_FILE_NAME: Final = re.compile(r"[^\s\x00]{1,300}\.\w{1,8}")


class Excerpts:
    """The excerpts of the results of a conversation, each made once."""

    def __init__(self) -> None:
        self._known: dict[bytes, str | None] = {}

    def of(self, message: ToolMessage, text: str, before: Sequence[AnyMessage], chars: int) -> str | None:
        """Return what is shown of a result in at most so many characters; None if no whole line fits."""
        call, remark = _call_of(message, before)
        questions = [_plain(other) for other in before if str(other.id).startswith("question-")]
        query = "\n".join([*questions[-1:], remark, json_text(call)])
        file = next((value for value in call.values() if _is_file(value)), message.name or "result")
        parts = (query, file, str(message.tool_call_id), str(chars), text)
        key = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()
        known = self._known
        if key not in known:
            if len(known) >= MOST:
                self._known = known = {}  # threads that use the old one go on with it
            known[key] = excerpt_of(query, file, text, chars)
        return known[key]


def excerpt_of(query: str, file: str, text: str, chars: int) -> str | None:
    """Return the lines of a text that a question needs, in at most so many characters, under their numbers.

    The first line says how many there are. None if not one whole line fits.
    """
    for size in CHARS_PER_TOKEN:
        result = compress(query, [Read(file, 1, text)], tokens=max(1, chars // size))
        lines = result.text.split("\n")[1:]  # without the name of the only file
        shown = "\n".join(lines)
        if result.ranges and len(shown) <= chars:
            count = sum(range_.end - range_.start + 1 for range_ in result.ranges)
            return f"{count:,} of {text.count(chr(10)) + 1:,} lines\n{shown}"
    return None


def _call_of(message: ToolMessage, before: Sequence[AnyMessage]) -> tuple[Mapping[str, Any], str]:
    """Return the arguments of the call that a result is of, and what was said with it."""
    for other in reversed(before):
        if isinstance(other, AIMessage):
            for call in other.tool_calls:
                if call["id"] == message.tool_call_id:
                    return call["args"], _plain(other)
    return {}, ""


def _plain(message: AnyMessage) -> str:
    content = message.content
    return content if isinstance(content, str) else json_text(content)


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None

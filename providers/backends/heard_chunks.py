"""What LangChain hands on of an answer while it comes in, read as it came.

LangChain puts the chunks together itself, and loses by that: arguments of a tool that were cut become none,
a reason that comes twice becomes one that nobody knows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk

from ..model import Reply, TokenSink
from ..provider_table import Capabilities
from .finish import checked_calls, is_known
from .langchain_replies import ChunkedMessage, read_message, told_finish
from .tool_calls import without_cut


class HeardChunks:
    """The chunks of one answer, if there are any. `can` is None for a class that nobody knows."""

    def __init__(self, model: str, can: Capabilities | None, sink: TokenSink | None) -> None:
        self._model = model
        self._can = can
        self._sink = sink
        self._draft = ChunkedMessage(model, can or Capabilities())

    async def take(self, chunk: Any) -> None:
        """Add a generation's chunk, None for one that cannot be read; tell the sink that there is one."""
        message = getattr(chunk, "message", None)
        text = ""
        if isinstance(message, AIMessageChunk):
            text, _ = self._draft.add(chunk)
            if not message.content and not message.tool_call_chunks:
                return
        if self._sink is not None:
            await self._sink.emit(text)

    def reply(self, message: AIMessage) -> Reply:
        """Return the reply that a whole message holds. Raises MalformedBody or HTTPStatusError if it is not
        whole, as far as its class is known to say so.
        """
        metadata = {**message.response_metadata, **self._draft.metadata}
        can = self._can
        if can is None:
            finish = told_finish(metadata)
            can = Capabilities(finish=() if finish is None or is_known(finish) else (finish,))
        reply = read_message(message, metadata, self._model, can)
        calls = without_cut(reply.finish_reason, self._draft.calls()) or reply.tool_calls
        checked_calls(reply.finish_reason, calls)
        return reply if calls is reply.tool_calls else replace(reply, tool_calls=calls)

"""Answers streamed while they come, to whoever listens to a run by LangGraph's `stream_mode="messages"`.

Every attempt at a call is a chat model run for LangChain's callbacks, so tracers see it too. A message has
an id of its own for each attempt. Its chunks may carry marks under `response_metadata["stepgraph"]`:
`attempt` for a second one, `broken` where it ended without an answer and what it said is void, and
`replayed` or `source` where no model was asked. The last chunk has the usage.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
)
from langchain_core.messages import AIMessage, AIMessageChunk, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from ...state.journal.records import CallKey
from ...state.session.foreign_calls import OWN_TYPE, CallObserver, handlers_of, is_langfuses
from ...state.session.internals import hears_tokens
from ..model import CallContext, Layer, Reply, Request, TokenSink, Usage

LOGGER = logging.getLogger("stepgraph")
MARKS = "stepgraph"
CALL = "stepgraph_call"  # in a message's metadata: which call it answers
_NOTHING: Final = (BaseCallbackHandler.on_llm_new_token, AsyncCallbackHandler.on_llm_new_token)


class StreamingLayer(Layer):
    """Streams an answer to whoever listens: token by token if the model can, else as a whole."""

    async def complete(self, request: Request, context: CallContext) -> Reply:
        if not _handlers(context):
            return await self.inner.complete(request, context)
        marks = {"attempt": context.attempt} if context.attempt > 1 else {}
        emitter = await TokenEmitter.begin(request, context, self.name, marks)
        try:
            sink = emitter if context.sink is None else _Both(emitter, context.sink)
            reply = await self.inner.complete(request, replace(context, sink=sink))
        except BaseException as error:
            await emitter.fail(error)
            raise
        await emitter.end(reply)
        return reply


class _Both:
    """Two sinks for one answer."""

    def __init__(self, *sinks: TokenSink) -> None:
        self.listened = any(sink.listened for sink in sinks)
        self._sinks = sinks

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        for sink in self._sinks:
            await sink.emit(text, reasoning=reasoning)


class ReplayStreamingLayer(Layer):
    """Streams an answer that comes from the journal, the cache or an equal call: at once, and marked."""

    async def complete(self, request: Request, context: CallContext) -> Reply:
        reply = await self.inner.complete(request, context)
        if (reply.replayed or reply.source != "model") and is_listened(context):
            marks = {"replayed": True} if reply.replayed else {"source": reply.source}
            emitter = await TokenEmitter.begin(
                request, context, self.name, marks, tokens_only=True, call=reply.call_id
            )
            await emitter.end(replace(reply, usage=Usage()))
        return reply


class TokenEmitter:
    """The token sink of one attempt."""

    def __init__(
        self, run: AsyncCallbackManagerForLLMRun, marks: Mapping[str, Any], *, listened: bool
    ) -> None:
        self.listened = listened
        self._run = run
        self._inline, self._others = _takers(run)
        self._id = f"run-{run.run_id}"
        self._marks = dict(marks)
        self._sent = False

    @classmethod
    async def begin(
        cls,
        request: Request,
        context: CallContext,
        model: str,
        marks: Mapping[str, Any],
        *,
        tokens_only: bool = False,
        call: str | None = None,
    ) -> TokenEmitter:
        """Notify all handlers that a model is asked; with `tokens_only`, only those that want tokens.

        `call` is what names the call on record, where it has a row.
        """
        config = context.config or {}
        about = {"ls_model_name": model, "ls_model_type": "chat", "stepgraph_step": context.step}
        call = call or (None if context.key is None else named(context.key))
        if call is not None:
            about[CALL] = call
        manager = AsyncCallbackManager.configure(
            config.get("callbacks"),
            inheritable_tags=config.get("tags"),
            inheritable_metadata=config.get("metadata"),
            local_metadata=about,
        )
        manager.handlers = [handler for handler in manager.handlers if _is_notified(handler, context)]
        if tokens_only:
            manager.handlers = [handler for handler in manager.handlers if hears_tokens(handler)]
        (run,) = await manager.on_chat_model_start(
            {"name": model},
            [convert_to_messages([dict(message) for message in request.messages])],
            invocation_params={"model": model, "_type": OWN_TYPE, **request.params()},
            name=model,
        )
        return cls(run, marks, listened=any(map(hears_tokens, manager.handlers)))

    async def emit(self, text: str = "", *, reasoning: str = "") -> None:
        if not self.listened or not (text or reasoning):
            return
        extra = {"reasoning_content": reasoning} if reasoning else {}
        marks = {} if self._sent else self._marks
        await self._send(text, additional_kwargs=extra, response_metadata=_marked(marks))
        self._sent = True

    async def end(self, reply: Reply) -> None:
        """Send what was not sent yet, the usage, and that the answer is complete."""
        metadata = {"model_name": reply.model, "finish_reason": reply.finish_reason, **_marked(self._marks)}
        usage = usage_metadata(reply.usage)
        if self.listened:
            if not self._sent and (reply.text or reply.reasoning):
                await self.emit(reply.text, reasoning=reply.reasoning or "")
            await self._send("", response_metadata=metadata, usage_metadata=usage, chunk_position="last")
        message = AIMessage(
            reply.text,
            id=self._id,
            response_metadata=metadata,
            usage_metadata=usage,
            additional_kwargs={"reasoning_content": reply.reasoning} if reply.reasoning else {},
            tool_calls=[
                {"name": call.name, "args": dict(call.arguments), "id": call.id} for call in reply.tool_calls
            ],
        )
        output = {"model_name": reply.model, "token_usage": dict(usage or {})}
        await self._run.on_llm_end(
            LLMResult(generations=[[ChatGeneration(message=message)]], llm_output=output)
        )

    async def fail(self, error: BaseException) -> None:
        """Notify that there is no answer, and mark what was sent of it as broken."""
        if self._sent:
            message = str(error) or type(error).__name__
            await self._send("", response_metadata=_marked({**self._marks, "broken": message}))
        await self._run.on_llm_error(error)

    async def _send(self, text: str, **fields: Any) -> None:
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=text, id=self._id, **fields))
        run = self._run
        for handler in self._inline:
            try:
                handler.on_llm_new_token(
                    text, chunk=chunk, run_id=run.run_id, parent_run_id=run.parent_run_id, tags=run.tags
                )
            except Exception as error:
                LOGGER.warning("%s did not take a token: %r", type(handler).__name__, error)
                if handler.raise_error:
                    raise
        if self._others is not None:
            await self._others.on_llm_new_token(text, chunk=chunk)


def _takers(
    run: AsyncCallbackManagerForLLMRun,
) -> tuple[list[BaseCallbackHandler], AsyncCallbackManagerForLLMRun | None]:
    """Return who gets each token at once, and the run of all others that want it.

    LangChain makes a task for each token, which runs once all else that is ready has had its turn.
    """
    takers = [handler for handler in run.handlers if not handler.ignore_llm and _takes_tokens(handler)]
    inline = [
        one for one in takers if one.run_inline and not inspect.iscoroutinefunction(one.on_llm_new_token)
    ]
    others = copy.copy(run)
    others.handlers = [handler for handler in takers if handler not in inline]
    return inline, others if others.handlers else None


def _takes_tokens(handler: BaseCallbackHandler) -> bool:
    return type(handler).on_llm_new_token not in _NOTHING


def named(key: CallKey) -> str:
    """Return what names a call within its thread, whichever attempt answers it."""
    return f"{key.task} {key.request_hash[:16]} {key.occurrence}"


def is_listened(context: CallContext) -> bool:
    """Tell whether somebody wants the words of an answer as they come."""
    return any(map(hears_tokens, _handlers(context)))


def _handlers(context: CallContext) -> Sequence[BaseCallbackHandler]:
    """Return the callback handlers that want to know of model calls."""
    return [
        handler
        for handler in handlers_of(context.config)
        if not (handler.ignore_chat_model and handler.ignore_llm)
        and not isinstance(handler, CallObserver)
        and _is_notified(handler, context)
    ]


def _is_notified(handler: BaseCallbackHandler, context: CallContext) -> bool:
    """Leave out Langfuse's own handler where the session sends the call there: it counts once."""
    return context.session is None or not context.session.sends_to_langfuse or not is_langfuses(handler)


def _marked(marks: Mapping[str, Any]) -> dict[str, Any]:
    return {MARKS: dict(marks)} if marks else {}


def usage_metadata(usage: Usage) -> UsageMetadata | None:
    """Return the usage in LangChain's form, None where it is not known."""
    if usage.input is None or usage.output is None:
        return None
    counts = UsageMetadata(
        input_tokens=usage.input, output_tokens=usage.output, total_tokens=usage.input + usage.output
    )
    if usage.cached is not None:
        counts["input_token_details"] = {"cache_read": usage.cached}
    if usage.reasoning is not None:
        counts["output_token_details"] = {"reasoning": usage.reasoning}
    return counts

"""A model that its provider's LangChain class asks, from settings: streamed, priced and explained as our own.

The class makes requests and reads answers. Everything around a call is ours: it retries nothing, calls no
callbacks, and keeps nothing between calls but its connections.
"""

from __future__ import annotations

import asyncio
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from ...state.errors import ModelError
from ...state.event_loops import PerLoop
from ..model import CallContext, Reply, Request, TokenSink
from ..prefix_marks import cache_key, mark_for, marked
from ..provider_table import Capabilities, capabilities_of
from ..settings import ModelSettings
from .backend import Backend
from .completion import ThoughtSplitter, read_completion
from .finish import checked_calls
from .http import MalformedBody
from .http_errors import as_malformed, explained, status_of
from .langchain import schema_format, with_schema_in_prompt
from .langchain_classes import COMPLETION, NOT_OF_RESPONSES, ChatMaker, close, in_this_loop
from .langchain_replies import ChunkedCompletion, ChunkedMessage, checked_completion, read_message
from .langchain_requests import structured_arguments, to_langchain, tool_arguments
from .message_state import LANGCHAIN
from .paused_turns import Paused, Turn
from .refused_params import ParameterLeftOut, RefusedParams
from .strict_schema import StrictForms, strict_schema
from .token_counts import openai_tokens
from .wire_names import WireNames, with_short_ids


class LangChainEndpoint(Backend):
    """A model behind the LangChain class of its provider.

    Raises SettingsError where the package is missing, no key is found, or the class does not take a setting.
    """

    def __init__(self, settings: ModelSettings, can: Capabilities | None = None) -> None:
        self.name = settings.model
        self.address = settings.address or f"{settings.provider}:"
        self.can = can or capabilities_of(settings.provider, settings.overrides)
        self._settings = settings
        self._dials = settings.dials()
        self._maker = ChatMaker(settings)
        self._is_openais = self._maker.known.package == "langchain_openai"
        self._chats: PerLoop[BaseChatModel] = PerLoop(self._open, close)
        self._completions: PerLoop[BaseChatModel] = PerLoop(self._open_completions, close)
        self._refused = RefusedParams.of(self.name, self.address)
        self._strict = StrictForms(self.can.strict)
        self._mark = self.can.prefix_mark or mark_for({self._maker.known.name}, self.name, self.address)
        self.streams = self.can.stream_usage
        self.schema_first = self.can.schema_first
        if settings.params or settings.provider != "openai":
            self.tools = self.can.tools if self._takes_tools else "emulated"
            self.max_tokens = self._limit
        else:  # nothing is left to go wrong, so the package is imported when it is needed: it takes a second
            self.tools = self.can.tools

    @cached_property
    def _sample(self) -> BaseChatModel:
        """An instance to look at."""
        return self._maker.make()

    @property
    def _profile(self) -> Mapping[str, Any]:
        return self._sample.profile or {}

    @property
    def _takes_tools(self) -> bool:
        flag = self._profile.get("tool_calling", True)
        return bool(flag) and type(self._sample).bind_tools is not BaseChatModel.bind_tools

    @property
    def _limit(self) -> int | None:
        """The most tokens of an answer that the class asks for where nobody sets a limit."""
        limit = getattr(self._sample, self._maker.known.limit, None)
        return limit if type(limit) is int and limit > 0 else None

    async def _open(self) -> BaseChatModel:
        if self._maker.known.module not in sys.modules:
            await asyncio.to_thread(self._maker.load)
        return await in_this_loop(self._maker)

    async def _open_completions(self) -> BaseChatModel:
        return await in_this_loop(self._maker, completions=True)

    async def _chat_for(self, request: Request) -> BaseChatModel:
        """Return the instance of this event loop: one for chat completions, for dials that only they have."""
        chat = await self._chats.get()
        if self._is_openais and NOT_OF_RESPONSES & (request.dials or {}).keys() and _uses_responses(chat):
            return await self._completions.get()
        return chat

    async def complete(self, request: Request, context: CallContext) -> Reply:
        names = WireNames.of(request)
        chat = await self._chat_for(request)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                reply = await self._ask(chat, names.request(request), context.sink)
        except Exception as error:
            failed = self._explain(error)
        else:
            if held := reply.state.get(LANGCHAIN):
                reply = replace(reply, state={LANGCHAIN: {**held, "by": self._maker.known.package}})
            return replace(names.reply(reply), latency_s=time.perf_counter() - started)
        raise failed  # out here: the client's own error, as its context, holds the request with the key

    async def _ask(self, chat: BaseChatModel, request: Request, sink: TokenSink | None) -> Reply:
        """Ask; again without the strict form, or a parameter, that the model says it does not take."""
        try:
            return await self._asked_so(chat, request, sink)
        except Exception as error:
            refusal = status_of(error)
            if refusal is None or not self._strict.learn(refusal, request):
                raise
        return await self._asked_so(chat, request, sink)

    async def _asked_so(self, chat: BaseChatModel, request: Request, sink: TokenSink | None) -> Reply:
        messages, arguments = self._call(chat, request)
        listened = sink is not None and sink.listened and _streams(chat)
        turn = Turn()
        while True:
            fit = self._refused.without(turn.arguments(arguments, getattr(chat, "container", None)))
            stop = fit.pop("stop", None)
            try:
                if sink is not None and listened:
                    part = await self._streamed(chat, turn.messages(messages), stop, fit, sink)
                else:
                    part = await self._whole(chat, turn.messages(messages), stop, fit)
                return turn.whole(part)
            except Paused as pause:
                if (cut := turn.add(pause)) is not None:
                    return cut
            except Exception as error:
                refusal = status_of(error)
                if refusal is None or not self._refused.learn(refusal, fit):
                    raise

    async def _whole(self, chat: BaseChatModel, messages: list[BaseMessage], stop: Any, fit: Any) -> Reply:
        result = await chat._agenerate(messages, stop, **fit)  # noqa: SLF001 what each class implements; the
        # public methods would call the callbacks and tracers of the surrounding run a second time
        if not result.generations:
            raise MalformedBody("the answer has no choices")
        generation = result.generations[0]
        if COMPLETION in (generation.generation_info or {}):
            return read_completion(checked_completion(generation.generation_info), self.can, self.name)
        message: Any = generation.message
        sources = (result.llm_output or {}, generation.generation_info or {}, message.response_metadata)
        metadata = {name: value for part in sources for name, value in part.items() if value is not None}
        reply = read_message(message, metadata, self.name, self.can)
        checked_calls(reply.finish_reason, reply.tool_calls)
        return reply

    async def _streamed(
        self, chat: BaseChatModel, messages: list[BaseMessage], stop: Any, fit: Any, sink: TokenSink
    ) -> Reply:
        by_chunks = self._is_openais and not _uses_responses(chat)
        draft = (ChunkedCompletion if by_chunks else ChunkedMessage)(self.name, self.can)
        splitter = ThoughtSplitter()
        stream: Any = chat._astream(messages, stop, **fit)  # noqa: SLF001 as above
        async with aclosing(stream):
            async for chunk in stream:
                text, thought = draft.add(chunk)
                if thought:
                    await sink.emit(reasoning=thought)
                elif draft.calls_tools and not text:
                    await sink.emit()
                for said, meant in splitter.feed(text) if text else ():
                    if said or meant:
                        await sink.emit(said, reasoning=meant)
        said, meant = splitter.rest()
        if said or meant:
            await sink.emit(said, reasoning=meant)
        return draft.reply()

    def _call(self, chat: BaseChatModel, request: Request) -> tuple[list[BaseMessage], dict[str, Any]]:
        """Return the messages, and the arguments of the call."""
        if self._settings.provider in ("openai", "azure_openai"):
            request = with_short_ids(request)
        arguments = self._options(chat, request)
        messages = marked(request, self._mark)
        if request.prefix is not None and self.can.cache_key:
            arguments.setdefault("prompt_cache_key", cache_key(request))
        if request.tools:
            functions = self._strict.functions(request)
            if self._is_openais:
                arguments["tools"] = (
                    functions if not _uses_responses(chat) else list(map(_explicit, functions))
                )
                arguments |= {"tool_choice": "none"} if request.tool_choice == "none" else {}
            else:
                silent = self._maker.known.no_call if request.tool_choice == "none" else None
                arguments |= tool_arguments(chat, functions, silent)
        if request.schema is not None:
            native = self._native(chat, request.schema, request)
            _merge(arguments, native or {})
            if native is None or self.can.schema_in_prompt or self.can.structured == "json_object":
                shared = request.prefix is not None
                messages = with_schema_in_prompt(messages, request.schema, behind=shared)
        echo = self.can.echo if self._is_openais and not _uses_responses(chat) else ()
        return to_langchain(messages, self._maker.known.package, echo), arguments

    def _native(
        self, chat: BaseChatModel, schema: Mapping[str, Any], request: Request
    ) -> dict[str, Any] | None:
        """Return what asks for a schema natively, None where it must go into the prompt."""
        if self.can.structured == "prompt":
            return None
        if self._is_openais:
            form = schema_format(schema, strict=self._strict.may_be(request))
            if self.can.structured == "json_object":
                form = {"type": "json_object"}
            if _uses_responses(chat):
                return {"text": {"format": {"type": form["type"], **form.get("json_schema", {})}}}
            return {"extra_body": {"response_format": form}}
        overrides = self._settings.overrides
        known = chat.profile or {}
        wanted = overrides is not None and overrides.structured == "json_schema"
        if not wanted and not known.get("structured_output"):
            return None
        package = self._maker.known.package
        if request.tools and package == "langchain_google_genai" and "gemini-2" in self.name:
            return None  # before Gemini 3, tools and a schema exclude each other
        if package == "langchain_anthropic" and strict_schema(schema, recursive=False) is None:
            return None  # what it cannot decode by, its class would make another schema of
        return structured_arguments(chat, schema)

    def _options(self, chat: BaseChatModel, request: Request) -> dict[str, Any]:
        settings, known = self._settings, self._maker.known
        temperature = request.temperature if request.temperature is not None else settings.temperature
        limit = request.max_tokens or settings.max_tokens
        options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
        if limit is not None:
            options |= self._limited(limit)
        fields = type(chat).model_fields
        names = {*fields, *(field.alias for field in fields.values()), *known.dials, "stop"}
        names -= NOT_OF_RESPONSES if self._is_openais and _uses_responses(chat) else set()
        for name, value in {**self._dials, **(request.dials or {})}.items():
            if name not in names:
                warnings.warn(
                    f"{known.name} takes no {name}: {self.name} is asked without. Leave it out of the "
                    "question, or bind another model.",
                    ParameterLeftOut,
                    stacklevel=2,
                )
            elif name == "extra_body":
                _merge(options, {name: {**(self._dials.get(name) or {}), **value}})
            else:
                options[name] = list(value) if name == "stop" else value
        return options

    def _limited(self, tokens: int) -> dict[str, Any]:
        """Return the limit on an answer as the class takes it, and as the endpoint behind it does.

        OpenAI's class sends `max_completion_tokens` whatever it is given.
        """
        spelling = self.can.max_tokens
        if not self._is_openais or spelling == "max_completion_tokens":
            return {self._maker.known.limit: tokens}
        own = {self._maker.known.limit: tokens} if spelling == "both" else {}
        return {**own, "extra_body": {"max_tokens": tokens}}

    async def count_tokens(self, request: Request) -> int | None:
        return await openai_tokens(request, self.name) if self.can.tokenizer == "openai" else None

    def _explain(self, error: Exception) -> ModelError:
        return explained(
            as_malformed(error),
            self.name,
            address=self.address if self._settings.address else None,
            secrets=self._maker.secrets,
            key_env=self._maker.key_env,
        )


def _explicit(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function for the Responses API, which makes schemas strict by itself unless told not to."""
    return {**function, "function": {"strict": False, **function["function"]}}


def _uses_responses(chat: BaseChatModel) -> bool:
    return bool(getattr(chat, "use_responses_api", False))


def _streams(chat: BaseChatModel) -> bool:
    kind = type(chat)
    return kind._astream is not BaseChatModel._astream or kind._stream is not BaseChatModel._stream  # noqa: SLF001


def _merge(arguments: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add arguments; what is a table in both becomes one."""
    for name, value in more.items():
        held = arguments.get(name)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        arguments[name] = {**held, **value} if both and held is not None else value

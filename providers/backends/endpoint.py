"""Any OpenAI-compatible endpoint, over one HTTP client for each event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ...state.errors import ModelError
from ...state.keys_in_use import remember
from ..dials import on_the_wire
from ..headers import sent_headers
from ..keys import find_key
from ..model import CallContext, Reply, Request, TokenSink
from ..prefix_marks import cache_key, marked
from ..provider_table import Capabilities, capabilities_of
from ..settings import ModelSettings, key_variable
from .backend import Backend
from .completion import PartialCompletion, ThoughtSplitter, read_completion
from .http import ChatClient, HTTPStatusError
from .http_errors import explained
from .langchain import schema_format, with_schema_in_prompt
from .message_state import with_state
from .refused_params import RefusedParams
from .strict_schema import StrictForms
from .token_counts import ServerTokenizer, openai_tokens
from .tool_media import with_media_beside
from .wire_names import WireNames, with_short_ids


class Endpoint(Backend):
    """A model at an OpenAI-compatible endpoint.

    `can` says what the endpoint is able to do; what it is not is put into the prompt. The answer is
    streamed if the context has a sink that is listened to. Raises SettingsError when the environment
    variable that should hold the key is not set.
    """

    def __init__(
        self, settings: ModelSettings, *, api_key: str | None = None, can: Capabilities | None = None
    ) -> None:
        self.name = settings.model
        self.address = settings.address
        self.can = can or capabilities_of(settings.provider, settings.overrides)
        self.tools = self.can.tools
        self.streams = self.can.stream_usage
        self.schema_first = self.can.schema_first
        self._settings = settings
        self._dials = settings.dials()
        self._key_env = key_variable(settings)
        self._key = api_key or find_key(self._key_env, settings.model, settings.api_key)
        remember(self._key)
        headers, self._secrets = sent_headers(settings.headers, settings.model)
        if settings.organization:
            headers = {"OpenAI-Organization": settings.organization, **headers}
        self.headers = {"Authorization": f"Bearer {self._key or 'none'}", **headers}
        self._wire = ChatClient(self.address, self._key, headers)
        serves = self.can.tokenizer in ("vllm", "llama.cpp")
        tokenizer = ServerTokenizer(self.can.tokenizer, self.address, self._key, headers)
        self._tokenizer = tokenizer if serves else None
        self._refused = RefusedParams.of(self.name, self.address)
        self._strict = StrictForms(self.can.strict)

    async def complete(self, request: Request, context: CallContext) -> Reply:
        names = WireNames.of(request)
        renamed = names.request(request)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                try:
                    reply = await self._ask(self._body(renamed), context.sink)
                except HTTPStatusError as error:
                    if not self._strict.learn(error, renamed):
                        raise
                    reply = await self._ask(self._body(renamed), context.sink)
        except Exception as error:
            raise self.explain(error) from None
        return replace(names.reply(reply), latency_s=time.perf_counter() - started)

    def body(self, request: Request) -> dict[str, Any]:
        """Return the body of a request, without what the model is known to refuse."""
        return self._refused.without(self._body(WireNames.of(request).request(request)))

    def reply(self, request: Request, answer: Mapping[str, Any]) -> Reply:
        """Return the reply that a whole completion holds. Raises MalformedBody or HTTPStatusError."""
        return WireNames.of(request).reply(read_completion(answer, self.can, self.name))

    def learn(self, error: HTTPStatusError, request: Request) -> bool:
        """Note a parameter that the model refuses; tell whether to ask again without it."""
        learnt = self._strict.learn(error, WireNames.of(request).request(request))
        return learnt or self._refused.learn(error, self.body(request))

    async def _ask(self, body: dict[str, Any], sink: TokenSink | None) -> Reply:
        """Ask; again without a parameter that the model says it does not take."""
        listened = sink is not None and sink.listened
        if listened and self.can.stream_usage:
            body = {**body, "stream_options": {"include_usage": True}}
        while True:
            fit = self._refused.without(body)
            try:
                if sink is not None and listened:
                    return await self._streamed(fit, sink)
                return read_completion(await self._wire.ask(fit), self.can, self.name)
            except HTTPStatusError as error:
                if not self._refused.learn(error, fit):
                    raise

    async def count_tokens(self, request: Request) -> int | None:
        if self.can.tokenizer == "openai":
            return await openai_tokens(request, self.name)
        if self._tokenizer is None:
            return None
        return await self._tokenizer.count(self._body(WireNames.of(request).request(request)))

    async def _streamed(self, body: dict[str, Any], sink: TokenSink) -> Reply:
        draft = PartialCompletion(self.can, self.name)
        splitter = ThoughtSplitter()
        chunks = 0
        async with aclosing(self._wire.stream(body)) as stream:
            async for chunk in stream:
                chunks += bool(chunk.get("choices"))
                text, thought = draft.chunk(chunk)
                if thought or (draft.tool_calls and not text):
                    await sink.emit(reasoning=thought)
                for said, meant in splitter.feed(text) if text else ():
                    if said or meant:
                        await sink.emit(said, reasoning=meant)
        said, meant = splitter.rest()
        if said or meant:
            await sink.emit(said, reasoning=meant)
        return read_completion({}, self.can, self.name) if not chunks else draft.reply()

    def _body(self, request: Request) -> dict[str, Any]:
        request = with_short_ids(request) if self._settings.provider == "openai" else request
        messages = marked(request, self.can.prefix_mark)
        body: dict[str, Any] = {"model": self.name}
        if request.schema is not None:
            if self.can.structured == "json_schema":
                strict = self._strict.may_be(request)
                body["response_format"] = schema_format(request.schema, strict=strict)
            elif self.can.structured == "json_object":
                body["response_format"] = {"type": "json_object"}
            if self.can.structured != "json_schema" or self.can.schema_in_prompt:
                shared = request.prefix is not None
                messages = with_schema_in_prompt(messages, request.schema, behind=shared)
        body["messages"] = [with_state(message, self.can.echo) for message in with_media_beside(messages)]
        if request.prefix is not None and self.can.cache_key:
            body["prompt_cache_key"] = cache_key(request)
        body |= self._options(request)
        if request.tools:
            body["tools"] = self._strict.functions(request)
            if request.tool_choice != "auto":
                body["tool_choice"] = request.tool_choice
        return body

    def _options(self, request: Request) -> dict[str, Any]:
        temperature = request.temperature if request.temperature is not None else self._settings.temperature
        limit = request.max_tokens or self._settings.max_tokens
        options = on_the_wire(self._dials, request.dials or {}) if self._dials or request.dials else {}
        if temperature is not None:
            options["temperature"] = temperature
        if limit is not None:
            spelling = self.can.max_tokens
            both = ("max_tokens", "max_completion_tokens")
            options |= dict.fromkeys(both if spelling == "both" else (spelling,), limit)
        return options

    def explain(self, error: Exception) -> ModelError:
        return explained(
            error,
            self.name,
            address=self.address,
            secrets=[*self._secrets, *([self._key] if self._key else [])],
            key_env=self._key_env,
        )

"""LangChain chat models behind the seam, and the ways to ask them for structured answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from pydantic import SecretStr

from ...state.errors import ModelError
from ...state.keys_in_use import remember
from ...state.session.internals import chunk_handler
from ..chat_classes import CHAT_CLASSES
from ..model import CallContext, Message, Reply, Request, with_order
from ..prefix_marks import cache_key, mark_for, marked
from ..provider_table import Capabilities, capabilities_of
from .backend import Backend
from .heard_chunks import HeardChunks
from .http_errors import as_malformed, explained
from .langchain_identity import identity_of
from .langchain_requests import structured_arguments, to_langchain, tool_arguments
from .message_state import LANGCHAIN
from .paused_turns import Paused, Turn
from .strict_schema import strict_schema
from .token_counts import openai_tokens
from .wire_names import WireNames, schema_name


def schema_format(schema: Mapping[str, Any], *, strict: bool = False) -> dict[str, Any]:
    """Return OpenAI's `response_format` for a JSON schema; in strict form if it is to be and can be."""
    fit = strict_schema(schema) if strict else None
    form: dict[str, Any] = {"name": schema_name(schema), "schema": dict(schema) if fit is None else fit}
    return {"type": "json_schema", "json_schema": form if fit is None else {**form, "strict": True}}


def with_schema_in_prompt(
    messages: tuple[Message, ...], schema: Mapping[str, Any], *, behind: bool = False
) -> tuple[Message, ...]:
    """Return the messages with the schema spelled out, for servers that cannot enforce it.

    See `with_order` for `behind`.
    """
    order = "Answer with one JSON object and nothing else. It must fit this JSON schema:\n"
    order += json.dumps(schema, ensure_ascii=False)
    return with_order(messages, order, behind=behind)


RESPONSES = "use_responses_api"
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _host_of(chat: BaseChatModel) -> str:
    address = getattr(chat, "openai_api_base", None) or getattr(chat, "azure_endpoint", None)
    return urlsplit(str(address)).hostname or "" if address else "api.openai.com"


def _limit_of(chat: BaseChatModel, arguments: Mapping[str, Any]) -> int | None:
    """Return the most tokens of an answer that the model itself, or what is bound to it, allows."""
    bound = [arguments[name] for name in _LIMITS if name in arguments]
    limits = bound or [getattr(chat, name, None) for name in _LIMITS]
    return next((limit for limit in limits if type(limit) is int and limit > 0), None)


class ChatModel(Backend):
    """Any LangChain chat model as a `Model`. The caller's object is used as it is.

    `arguments` and `config` are what its wrappers add to each call, see langchain_wrappers.py.

    OpenAI's own class takes a JSON schema, and so do those whose profile says it; others get the schema in
    the prompt, and the answer is validated all the same.
    """

    emits_tokens = True

    def __init__(
        self,
        chat: BaseChatModel,
        arguments: Mapping[str, Any] | None = None,
        config: RunnableConfig | None = None,
    ) -> None:
        self._chat = chat
        for key in _keys_of(chat):
            remember(key)
        self._arguments = dict(arguments or {})
        self._config = config
        self.variant = identity_of(chat, self._arguments)
        self.max_tokens = _limit_of(chat, self._arguments)
        self._package = type(chat).__module__.partition(".")[0]
        classes = {cls.__name__ for cls in type(chat).__mro__}
        known = {name: entry for name, entry in CHAT_CLASSES.items() if entry.name in classes}
        self.provider = next(iter(known), "")
        self._no_call = next((entry.no_call for entry in known.values()), None)
        self._is_openai = "BaseChatOpenAI" in classes
        self._host = _host_of(chat)
        self.tools = "emulated" if type(chat).bind_tools is BaseChatModel.bind_tools else "native"
        names = ("model_name", "model")
        named = (*map(self._arguments.get, names), *(getattr(chat, field, None) for field in names))
        self.name = next((str(n) for n in named if n), type(chat).__name__)
        self._can = self._known()
        self._mark = mark_for(classes, self.name, f"//{self._host}" if self._is_openai else "")
        self.streams = getattr(chat, "stream_usage", True) is not False and not chat.disable_streaming
        self.schema_first = self._is_openai and self._host == "api.openai.com"

    def _known(self) -> Capabilities | None:
        """Return what is known of the provider behind a class; None for a class that nobody knows.

        OpenAI's class is used for compatible endpoints too, which may not always say why an answer ends.
        """
        if self._is_openai:
            known = capabilities_of("openai" if self._host in ("", "api.openai.com") else None)
            return replace(known, always_finishes=True) if self._chat.__dict__.get(RESPONSES) else known
        return capabilities_of(self.provider) if self.provider else None

    async def complete(self, request: Request, context: CallContext) -> Reply:
        names = WireNames.of(request)
        request = names.request(request)
        chat, messages = self._chat, marked(request, self._mark)
        limits = {"temperature": request.temperature, "max_tokens": request.max_tokens}
        arguments = self._arguments
        if request.max_tokens is not None:
            arguments = {name: value for name, value in arguments.items() if name not in _LIMITS}
        arguments = arguments | {name: value for name, value in limits.items() if value is not None}
        if request.prefix is not None and self._is_openai and self._host == "api.openai.com":
            arguments = {"prompt_cache_key": cache_key(request), **arguments}
        arguments |= request.dials or {}
        if request.tools:
            functions = [{"type": "function", "function": dict(tool)} for tool in request.tools]
            if self._is_openai:
                arguments["tools"] = functions
                arguments |= {"tool_choice": "none"} if request.tool_choice == "none" else {}
            else:
                silent = self._no_call if request.tool_choice == "none" else None
                arguments |= tool_arguments(chat, functions, silent)
        if request.schema is not None:
            native = self._native(request)
            arguments |= native or {}
            if native is None:
                shared = request.prefix is not None
                messages = with_schema_in_prompt(messages, request.schema, behind=shared)
        started = time.perf_counter()
        try:
            reply = await self._turn(to_langchain(messages, self._package), arguments, context)
        except ModelError:
            raise
        except Exception as error:
            failed = self._explain(error)
        else:
            if held := reply.state.get(LANGCHAIN):
                reply = replace(reply, state={LANGCHAIN: {**held, "by": self._package}})
            return replace(names.reply(reply), latency_s=time.perf_counter() - started)
        raise failed  # out here: the client's own error, as its context, holds the request with the key

    async def _turn(
        self, messages: list[BaseMessage], arguments: dict[str, Any], context: CallContext
    ) -> Reply:
        config = merge_configs(self._config, context.config) if self._config else context.config
        turn = Turn()
        while True:
            chunks = HeardChunks(self.name, self._can, context.sink)
            handler = chunk_handler(chunks.take, streams=context.sink is not None)
            merged = merge_configs(config, {"callbacks": [handler]})
            fit = turn.arguments(arguments, getattr(self._chat, "container", None))
            message = await self._chat.ainvoke(turn.messages(messages), merged, **fit)
            try:
                return turn.whole(chunks.reply(message))
            except Paused as pause:
                if (cut := turn.add(pause)) is not None:
                    return cut

    def _native(self, request: Request) -> dict[str, Any] | None:
        """Return what asks for the schema natively, None where it goes into the prompt."""
        if request.schema is None:
            return None
        if self._is_openai:
            return {"response_format": schema_format(request.schema)}
        known = self._chat.profile or {}
        if request.tools or not known.get("structured_output"):
            return None
        if strict_schema(request.schema, recursive=False) is None:
            return None  # some classes would make another schema of it
        return structured_arguments(self._chat, request.schema)

    async def count_tokens(self, request: Request) -> int | None:
        """Ask OpenAI's tokenizer for a model that is there; LangChain's own counts are no bounds."""
        at_openai = self._host == "api.openai.com" or self._host.endswith(".openai.azure.com")
        if not self._is_openai or not at_openai:
            return None
        return await openai_tokens(request, self.name)

    def _explain(self, error: Exception) -> ModelError:
        error = error if self._can is None else as_malformed(error)
        return explained(error, self.name, secrets=_keys_of(self._chat))


def _keys_of(chat: BaseChatModel) -> list[str]:
    """Return the secrets that a model's fields hold."""
    held = (getattr(chat, name, None) for name in type(chat).model_fields)
    return [str(value.get_secret_value()) for value in held if isinstance(value, SecretStr)]

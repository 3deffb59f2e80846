"""Any OpenAI-compatible endpoint, through langchain-openai over one shared HTTP client a loop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from openai import DefaultAioHttpClient
from pydantic import SecretStr

from ..state.errors import ModelError, SettingsError
from .chat import ask_chat_model
from .faults import explained
from .loops import PerLoop
from .model import Reply, Request, Site
from .settings import PRESETS, ModelSettings


class _Chat(ChatOpenAI):
    """ChatOpenAI that keeps a model's reasoning text and makes no detour over a thread."""

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._get_request_payload(messages, stop=stop, **kwargs)
        payload.pop("stream", None)
        response = await self.async_client.create(**payload)
        return self._create_chat_result(response)

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        choices = response["choices"] if isinstance(response, dict) else getattr(response, "choices", ())
        for generation, choice in zip(result.generations, choices, strict=False):
            message = choice["message"] if isinstance(choice, dict) else choice.message
            _keep_reasoning(generation.message, _reasoning_in(message))
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> ChatGenerationChunk | None:
        generation = super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )
        if generation is not None and chunk.get("choices"):
            _keep_reasoning(generation.message, _reasoning_in(chunk["choices"][0].get("delta") or {}))
        return generation


def _reasoning_in(message: Any) -> str | None:
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)
        if isinstance(value, str) and value:
            return value
    return None


def _keep_reasoning(message: BaseMessage, reasoning: str | None) -> None:
    if reasoning and isinstance(message, AIMessage):
        message.additional_kwargs["reasoning_content"] = reasoning


class Endpoint:
    """A model at an OpenAI-compatible endpoint.

    Raises SettingsError when the environment variable that should hold the key is not set.
    """

    def __init__(self, settings: ModelSettings, *, api_key: str | None = None) -> None:
        preset = PRESETS.get(settings.provider or "")
        self.name = settings.model
        self.address = settings.base_url or (preset.base_url if preset else "")
        self._settings = settings
        self._key_env = settings.api_key_env or (preset.api_key_env if preset else None)
        self._key = api_key or _read_key(self._key_env, settings.model)
        self._structured = settings.structured or (preset.structured if preset else "json_schema")
        self._is_openai = settings.provider == "openai" and settings.base_url is None
        self._chat: PerLoop[_Chat] = PerLoop(self._open, self._close)

    async def complete(self, request: Request, site: Site) -> Reply:
        return await ask_chat_model(
            await self._chat.get(),
            request,
            site,
            name=self.name,
            structured=self._structured,
            options=self._options(request),
            explain=self._explain,
        )

    def _explain(self, error: Exception) -> ModelError:
        return explained(
            error,
            self.name,
            address=self.address,
            secrets=[self._key] if self._key else [],
            key_env=self._key_env,
        )

    def _options(self, request: Request) -> dict[str, Any]:
        temperature = request.temperature if request.temperature is not None else self._settings.temperature
        limit = request.max_tokens or self._settings.max_tokens
        options: dict[str, Any] = {}
        if temperature is not None:
            options["temperature"] = temperature
        if limit is not None:
            options["max_completion_tokens"] = limit
            if not self._is_openai:
                options["extra_body"] = {"max_tokens": limit}
        return options

    async def _open(self) -> _Chat:
        return _Chat(
            model=self.name,
            base_url=self.address,
            api_key=SecretStr(self._key or "none"),
            http_async_client=DefaultAioHttpClient(timeout=self._settings.timeout_s),
            timeout=self._settings.timeout_s,
            max_retries=0,
            stream_usage=True,
            use_responses_api=False,
        )

    async def _close(self, chat: _Chat) -> None:
        await chat.root_async_client.close()


def _read_key(variable: str | None, model: str) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise SettingsError(f"{model}: the environment variable {variable} is not set; it holds the key.")
    return key

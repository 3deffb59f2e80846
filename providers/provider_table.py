"""The table of providers: where each is found, how it is paid, and what it can do beyond plain chat.

A new provider is one entry in PROVIDERS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel

from .chat_classes import CHAT_CLASSES
from .prefix_marks import Mark
from .sources import NOT_CONFIRMED, sources_of

Structured = Literal["json_schema", "json_object", "prompt"]
Tools = Literal["native", "emulated"]
Tokenizer = Literal["unknown", "openai", "vllm", "llama.cpp"]
Spelling = Literal["max_tokens", "max_completion_tokens", "both"]
Client = Literal["http", "langchain"]


@dataclass(frozen=True)
class Capabilities:
    """What an endpoint can do.

    `structured` is the best way to ask for JSON; "prompt" means that the server enforces nothing, so the
    schema goes into the prompt and the answer is validated. With `schema_in_prompt` the schema goes there
    as well. With `strict` it decodes by schemas of answers and tools in strict form, and is given that form
    wherever a schema can have it. `tools` is "emulated" where the server takes no tools. `reasoning` names
    the fields of a message that may hold the reasoning text, in the order in which they are looked at; text
    between <think> tags at the beginning of an answer is taken for reasoning everywhere. `cached` and
    `cost` are paths within `usage`. `tokenizer` says what counts a prompt's tokens before it is sent:
    OpenAI's own, by the model's name, or the server; without one, a budget takes them by their bytes.
    `echo` names the fields of a message that are sent back as they came. `finish` are finish reasons of the
    endpoint's own; with `always_finishes` an answer without one was cut. `prefix_mark` marks the end of a
    prefix that requests share, where nothing is cached without; `cache_key` names the prefix beside it;
    `schema_first` says that the schema is read before the prefix. `sources` says for each field where it is
    documented, see providers/sources.py; a field without one is what an endpoint compatible with OpenAI's is
    taken to do.
    """

    structured: Structured = "json_schema"
    schema_in_prompt: bool = False
    strict: bool = False
    tools: Tools = "native"
    logprobs: bool = True
    stream_usage: bool = True
    reasoning: tuple[str, ...] = ("reasoning_content", "reasoning")
    max_tokens: Spelling = "both"
    cached: tuple[str, ...] = ("prompt_tokens_details.cached_tokens",)
    cost: str | None = None
    tokenizer: Tokenizer = "unknown"
    echo: tuple[str, ...] = ("reasoning_details", "extra_content")
    finish: tuple[str, ...] = ()
    always_finishes: bool = False
    prefix_mark: Mark | None = None
    cache_key: bool = False
    schema_first: bool = False
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (name, value, source) of every field, for readers."""
        shown = []
        for item in fields(self):
            if item.name == "sources":
                continue
            value = getattr(self, item.name)
            text = ", ".join(value) if isinstance(value, tuple) else str(value)
            shown.append((item.name, text, self.sources.get(item.name, NOT_CONFIRMED)))
        return shown


class Overrides(BaseModel, frozen=True, extra="forbid"):
    """What a settings file says otherwise about an endpoint; None keeps the provider's own."""

    structured: Structured | None = None
    schema_in_prompt: bool | None = None
    strict: bool | None = None
    tools: Tools | None = None
    logprobs: bool | None = None
    stream_usage: bool | None = None
    reasoning: tuple[str, ...] | None = None
    max_tokens: Spelling | None = None
    cached: tuple[str, ...] | None = None
    cost: str | None = None
    tokenizer: Tokenizer | None = None
    echo: tuple[str, ...] | None = None
    finish: tuple[str, ...] | None = None
    always_finishes: bool | None = None
    prefix_mark: Mark | None = None
    cache_key: bool | None = None
    schema_first: bool | None = None


# What can be assumed of an endpoint that only says it is compatible with OpenAI's.
COMPATIBLE = Capabilities()


@dataclass(frozen=True)
class Provider:
    """Everything that is known of one provider.

    `base_url` is empty for the model on this machine. `api_key_env` is the variable that holds the key, None
    if there is none; `address_env` is the one that its own tools read an address from. `prices` is its name
    in genai-prices, where that has its prices; `is_free` says that it costs nothing. `client` is what asks
    it unless the settings say otherwise: our own HTTP client, or the class in providers/chat_classes.py.
    """

    name: str
    base_url: str = ""
    api_key_env: str | None = None
    prices: str | None = None
    is_free: bool = False
    capabilities: Capabilities = COMPATIBLE
    address_env: str | None = None
    client: Client = "http"

    @property
    def address(self) -> str:
        """Where it is: what the provider's own variable says, else what is known."""
        named = os.environ.get(self.address_env or "", "").strip()
        return _url(named, self.base_url) if named else self.base_url


def _url(named: str, usual: str) -> str:
    """Return an address with what is left out: Ollama's variable may hold a host, a port, or both."""
    if "://" in named:
        parts = urlsplit(named)
    else:
        parts = urlsplit(f"http://{named}" if not named.startswith(":") else f"http://localhost{named}")
        if parts.port is None:
            parts = parts._replace(netloc=f"{parts.netloc}:{urlsplit(usual).port}")
    if parts.hostname == "0.0.0.0":  # noqa: S104 where a server listens is nowhere to go
        parts = parts._replace(netloc=parts.netloc.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
    return parts._replace(path=parts.path.rstrip("/") or urlsplit(usual).path).geturl()


LOCAL = "local"

_PROVIDERS = (
    Provider(
        "openai",
        "https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        address_env="OPENAI_BASE_URL",
        client="langchain",
        prices="openai",
        capabilities=Capabilities(
            sources=sources_of("openai"),
            strict=True,
            reasoning=(),
            max_tokens="max_completion_tokens",
            tokenizer="openai",
            echo=(),
            always_finishes=True,
            cache_key=True,
            schema_first=True,
        ),
    ),
    Provider(
        "openrouter",
        "https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        prices="openrouter",
        capabilities=Capabilities(
            sources=sources_of("openrouter"),
            strict=True,
            max_tokens="max_tokens",
            reasoning=("reasoning", "reasoning_content"),
            cost="cost",
            tokenizer="openai",  # of those of its models that are OpenAI's, openai/…
            echo=("reasoning_details",),
            always_finishes=True,
            prefix_mark="cache_control",
        ),
    ),
    Provider(
        "together",
        "https://api.together.xyz/v1",
        api_key_env="TOGETHER_API_KEY",
        prices="together",
        capabilities=Capabilities(
            sources=sources_of("together"),
            schema_in_prompt=True,
            max_tokens="max_tokens",
            reasoning=("reasoning", "reasoning_content"),
            cached=("cached_tokens", "prompt_tokens_details.cached_tokens"),
            echo=(),
            always_finishes=True,
        ),
    ),
    Provider(
        "deepseek",
        "https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        prices="deepseek",
        capabilities=Capabilities(
            sources=sources_of("deepseek"),
            structured="json_object",
            max_tokens="max_tokens",
            reasoning=("reasoning_content",),
            cached=("prompt_cache_hit_tokens", "prompt_tokens_details.cached_tokens"),
            echo=("reasoning_content",),
            always_finishes=True,
        ),
    ),
    Provider(
        "vllm",
        "http://localhost:8000/v1",
        capabilities=Capabilities(
            sources=sources_of("vllm"),
            reasoning=("reasoning", "reasoning_content"),
            tokenizer="vllm",
            echo=("reasoning", "reasoning_content"),
            always_finishes=True,
        ),
    ),
    Provider(
        "ollama",
        "http://localhost:11434/v1",
        address_env="OLLAMA_HOST",
        capabilities=Capabilities(
            sources=sources_of("ollama"),
            schema_in_prompt=True,
            max_tokens="max_tokens",
            reasoning=("reasoning", "reasoning_content"),
            cached=(),
            echo=("reasoning",),
            always_finishes=True,
        ),
    ),
    # llama.cpp's server, for the model on this machine. Its small models never emit tool calls (measured).
    Provider(
        LOCAL,
        is_free=True,
        capabilities=Capabilities(
            sources=sources_of(LOCAL),
            tools="emulated",
            max_tokens="max_tokens",
            tokenizer="llama.cpp",
            echo=(),
            always_finishes=True,
        ),
    ),
)

# What LangChain's classes make of their providers' answers is alike for all of them.
_BY_LANGCHAIN = Capabilities(reasoning=(), logprobs=False, echo=())
_ANSWERS_WITH_AN_END = {"azure_openai", "anthropic", "google_genai"}
_OF_LANGCHAIN = tuple(
    Provider(
        name,
        known.address,
        api_key_env=known.api_key_env,
        prices=known.prices,
        capabilities=replace(
            _BY_LANGCHAIN,
            max_tokens="max_completion_tokens" if name == "azure_openai" else "max_tokens",
            always_finishes=name in _ANSWERS_WITH_AN_END,
            sources=sources_of(name),
            strict=name == "azure_openai",
            cache_key=name == "azure_openai",
            prefix_mark="cache_control" if name == "anthropic" else None,
            schema_first="anthropic" in name,
        ),
        address_env=known.address_env,
        client="langchain",
    )
    for name, known in CHAT_CLASSES.items()
    if name not in {provider.name for provider in _PROVIDERS}
)
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in (*_PROVIDERS, *_OF_LANGCHAIN)}
REMOTE = tuple(provider.name for provider in _PROVIDERS if provider.base_url)
_COMPATIBLE = Provider("")


def provider_named(name: str | None) -> Provider:
    """Return what is known of a provider; of one that is not named, nothing but that it is compatible."""
    return PROVIDERS.get(name or "", _COMPATIBLE)


def capabilities_of(provider: str | None, overrides: Overrides | None = None) -> Capabilities:
    """Return a provider's capabilities, with what the settings say otherwise.

    It holds at the provider's own address and by way of a proxy; where no provider is named, the address
    is taken to be compatible with OpenAI's, and nothing more is assumed.
    """
    known = provider_named(provider).capabilities
    own: dict[str, Any] = overrides.model_dump(exclude_none=True) if overrides else {}
    if not own:
        return known
    return replace(known, **own, sources={**known.sources, **dict.fromkeys(own, "the settings")})

"""A LangChain chat model made from settings: what its constructor takes is known before anything is paid."""

from __future__ import annotations

import importlib
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel, SecretStr, ValidationError

from ...state.errors import SettingsError, did_you_mean
from ...state.event_loops import PerLoop
from ...state.keys_in_use import remember
from ..chat_classes import ChatClass, chat_class
from ..headers import sent_headers
from ..keys import find_key
from ..settings import ModelSettings, key_variable
from .http import KEEP_ALIVE_S
from .httpx_bounds import UNPACKED, bound

# With one of these, another credential than the key opens the door.
_CREDENTIALS: Final = re.compile(r"credential|token|project|vertexai|profile_name|aws_", re.IGNORECASE)
_HEADERS: Final = ("default_headers", "additional_headers")
_TIMEOUTS: Final = ("timeout", "request_timeout", "default_request_timeout")
_KEYS: Final = ("api_key", "apikey")


@dataclass
class ChatMaker:
    """Makes instances of the class that the settings name: one for each event loop, for HTTP clients that
    belong to one. Raises SettingsError for what the class does not take, before it is asked anything.
    """

    settings: ModelSettings
    known: ChatClass = field(init=False)
    secrets: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.known = chat_class(self.settings.provider)
        if not self.known.is_installed:
            raise SettingsError(
                f"{self.settings.model}: the provider {self.settings.provider!r} needs the package "
                f"{self.known.package.replace('_', '-')}, which is not installed. Install it with: "
                f"{self.known.install}"
            )
        self._key_env = key_variable(self.settings)
        self._key = self._find_key()

    @property
    def key_env(self) -> str | None:
        return self._key_env

    def _find_key(self) -> str | None:
        settings = self.settings
        if any(_CREDENTIALS.search(name) for name in settings.params) and settings.api_key is None:
            return os.environ.get(self._key_env or "") or None
        if settings.provider == "google_genai" and settings.api_key_env is None:
            self._key_env = next(
                (n for n in (self._key_env, "GEMINI_API_KEY") if n in os.environ), self._key_env
            )
        key = find_key(self._key_env, settings.model, settings.api_key)
        if key:
            self.secrets.append(key)
        return key

    def load(self) -> Any:
        """Import the class."""
        try:
            kind = getattr(importlib.import_module(self.known.module), self.known.name)
            return _reading_nothing(kind) if self.known.package == "langchain_openai" else kind
        except (ImportError, AttributeError) as error:
            raise SettingsError(
                f"{self.settings.model}: {self.known.name} of the package "
                f"{self.known.package.replace('_', '-')} cannot be imported ({error}). Install it anew with: "
                f"{self.known.install} --upgrade"
            ) from None

    def make(self, *, completions: bool = False, **more: Any) -> BaseChatModel:
        """Return an instance; with `completions` one that keeps to OpenAI's chat completions.

        Raises SettingsError.
        """
        kind = self.load()
        settings, known = self.settings, self.known
        names = _names(kind)
        arguments = self._arguments(names, completions) | more
        try:
            make = getattr(kind, known.maker) if known.maker else kind
            chat: BaseChatModel = make(**{known.model: settings.model}, **arguments)
        except (ValidationError, ValueError, TypeError, ImportError) as error:
            raise SettingsError(
                f"{settings.model}: {known.name} does not take these settings: {self._problem(error)}"
            ) from None
        if "temperature" in names:  # what the settings and the question say goes with each call
            chat.__dict__["temperature"] = None  # also where the class takes none for the lack of one
        return chat

    def _problem(self, error: Exception) -> str:
        if isinstance(error, ValidationError):
            message = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}".removeprefix(": ")
                for item in error.errors(include_url=False, include_input=False)
            )
        else:
            message = str(error)
        for secret in self.secrets:
            message = message.replace(secret, "***")
        return message

    def _arguments(self, names: set[str], completions: bool) -> dict[str, Any]:
        settings, known = self.settings, self.known
        params = self._params(names)
        arguments: dict[str, Any] = {}
        if self._key is not None:
            name = next(
                (n for n in (*_KEYS, *(n for n in names if n.endswith("_api_key"))) if n in names), None
            )
            arguments |= {} if name is None else {name: SecretStr(self._key)}
        if "max_retries" in names:  # RetryLayer tries again, and every attempt is on record
            arguments["max_retries"] = 0
        timeout = next((name for name in _TIMEOUTS if name in names), None)
        arguments |= {} if timeout is None else {timeout: settings.timeout_s}
        if settings.headers:
            arguments[self._named(names, _HEADERS, "headers")], secret = sent_headers(
                settings.headers, settings.model
            )
            self.secrets.extend(secret)
        if settings.organization:
            arguments[self._named(names, ("organization",), "organization")] = settings.organization
        if settings.address and (settings.base_url or known.endpoint):
            arguments |= self._endpoint(names)
        for name in settings.dials():
            if name != "stop" and name not in names and name not in known.dials:
                raise SettingsError(f"{settings.model}: {known.name} takes no {name}. Leave it out.")
        if "stream_usage" in names:
            arguments["stream_usage"] = True
        if known.package == "langchain_openai":
            arguments |= self._openais(params, completions)
        return arguments | params

    def _params(self, names: set[str]) -> dict[str, Any]:
        for name in self.settings.params:
            if name not in names and not self.known.maker:
                raise SettingsError(
                    f"{self.settings.model}: {self.known.name} has no parameter {name!r}. "
                    f"{did_you_mean(name, sorted(names))}"
                )
        return {name: self._resolved(name, value) for name, value in self.settings.params.items()}

    def _resolved(self, name: str, value: Any) -> Any:
        """Return a param with the values of environment variables in the place of their names."""
        if isinstance(value, Mapping):
            return {key: self._resolved(f"{name}.{key}", part) for key, part in value.items()}
        if not isinstance(value, str) or not re.fullmatch(r"\$[A-Za-z_]\w*", value):
            return value
        held = os.environ.get(value[1:])
        if not held:
            raise SettingsError(
                f"{self.settings.model}: the environment variable {value[1:]} is not set; the setting "
                f"params.{name} needs it."
            )
        self.secrets.append(held.strip())
        remember(held.strip())
        return held.strip()

    def _named(self, names: set[str], ways: Iterable[str], setting: str) -> str:
        for way in ways:
            if way in names:
                return way
        raise SettingsError(f"{self.settings.model}: {self.known.name} takes no {setting}. Leave it out.")

    def _endpoint(self, names: set[str]) -> dict[str, Any]:
        ways = (self.known.endpoint, "base_url", "endpoint_url", "endpoint", "url")
        name = self._named(names, [way for way in ways if way], "base_url")
        parts = urlsplit(self.settings.address)
        query = dict(parse_qsl(parts.query))
        address = parts._replace(query="").geturl()
        if name == "azure_endpoint":
            version = {"api_version": query.pop("api-version")} if "api-version" in query else {}
            if not (version or self.settings.params.get("api_version") or os.environ.get(AZURE_VERSION)):
                raise SettingsError(
                    f"{self.settings.model}: Azure OpenAI needs the version of its API. Put it into base_url "
                    f'("{address}?api-version=2024-10-21"), into params = {{ api_version = "…" }}, or into '
                    f"the environment variable {AZURE_VERSION}."
                )
            return {name: address, **version, **({"default_query": query} if query else {})}
        return {name: address, **({"default_query": query} if query and "default_query" in names else {})}

    def _openais(self, params: Mapping[str, Any], completions: bool) -> dict[str, Any]:
        """Return what OpenAI's classes are given beside: no probing of sockets, no state kept at OpenAI."""
        arguments: dict[str, Any] = {"http_socket_options": ()}
        use_responses = params.get("use_responses_api", True if params.keys() & _OF_RESPONSES else None)
        if use_responses is None:
            use_responses = not completions and self._fits_responses()
        arguments["use_responses_api"] = use_responses
        if (
            use_responses
        ):  # the reasoning goes back encrypted, so that nothing hangs on what a server remembers
            arguments |= {"output_version": "responses/v1"}
            if not params.get("use_previous_response_id"):
                arguments |= {"store": False, "include": ["reasoning.encrypted_content"]}
        if not self._key and not params:
            arguments["api_key"] = SecretStr("none")
        return arguments

    def _fits_responses(self) -> bool:
        """Tell whether the Responses API is the better one: OpenAI's own, for a model that reasons.

        Other servers may not know it; Azure has it for some deployments, so there params ask for it.
        """
        host = urlsplit(self.settings.address).hostname or ""
        if self.known.name != "ChatOpenAI" or not f".{host}".endswith(".api.openai.com"):
            return False
        if self.settings.dials().keys() & NOT_OF_RESPONSES:
            return False
        model: BaseChatModel = self.load()(model=self.settings.model, api_key=SecretStr("none"))
        return bool((model.profile or {}).get("reasoning_output"))


AZURE_VERSION: Final = "OPENAI_API_VERSION"
NOT_OF_RESPONSES: Final = {"seed", "stop", "frequency_penalty", "presence_penalty"}
_OF_RESPONSES: Final = {
    "reasoning",
    "include",
    "truncation",
    "context_management",
    "use_previous_response_id",
}


COMPLETION: Final = "stepgraph_completion"
"""Where a result, or a chunk, of OpenAI's classes has the answer as it came."""


OWN_FIELDS: Final = "stepgraph_fields"
"""Where a message has what its provider wants back, and OpenAI's class would not send."""


@cache
def _reading_nothing(kind: Any) -> Any:
    """Return OpenAI's class with chat completions handed on as they came, for the reader of our own client.

    It reads fewer of them: no reasoning, cost, refusals or sounds in streams, and counts that it adds up. Nor
    does it send back what a compatible endpoint wants back with a message.
    """

    def create(_: Any, response: Any, *__: Any) -> ChatResult:
        completion = response.model_dump(warnings=False) if isinstance(response, BaseModel) else response
        generation = ChatGeneration(message=AIMessage(""), generation_info={COMPLETION: completion})
        return ChatResult(generations=[generation])

    def convert(_: Any, chunk: Any, *__: Any) -> ChatGenerationChunk:
        return ChatGenerationChunk(message=AIMessageChunk(content=""), generation_info={COMPLETION: chunk})

    def payload(self: Any, messages: Any, **options: Any) -> dict[str, Any]:
        body: dict[str, Any] = kind._get_request_payload(self, messages, **options)  # noqa: SLF001
        for message, sent in zip(messages, body.get("messages") or (), strict=False):
            held = message.additional_kwargs.get(OWN_FIELDS)
            if held is not None:
                sent |= held
        return body

    own = {
        "_get_request_payload": payload,
        "_create_chat_result": create,
        "_convert_chunk_to_generation_chunk": convert,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), own)


def _names(kind: Any) -> set[str]:
    """Return the names that a class's constructor takes."""
    fields = kind.model_fields.items()
    return {name for name, _ in fields} | {known.alias for _, known in fields if known.alias}


async def in_this_loop(maker: ChatMaker, *, completions: bool = False) -> BaseChatModel:
    """Return an instance whose HTTP client belongs to the running event loop, and is closed with it.

    The packages of OpenAI and Anthropic share one client among all loops of a process, whose connections
    fail in every loop but the first.
    """
    package = maker.known.package
    if package == "langchain_openai":
        return maker.make(completions=completions, http_async_client=await _clients["openai"].get())
    chat = maker.make()
    if package == "langchain_anthropic":
        instance: Any = chat
        client = await _clients["anthropic"].get()
        kind = importlib.import_module("anthropic").AsyncAnthropic
        # which is where its cached property looks first
        instance.__dict__["_async_client"] = kind(**instance._client_params, http_client=client)  # noqa: SLF001
    return chat


async def close(chat: Any) -> None:
    """Close what an instance opened by itself."""
    if hasattr(chat, "aclose"):
        await chat.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """Return what all clients trust: the system's certificates, or those that SSL_CERT_FILE names."""
    return ssl.create_default_context()


def _opened(package: str) -> Callable[[], Awaitable[Any]]:
    async def open_client() -> Any:
        sdk = importlib.import_module(package)
        limits = type(sdk.DEFAULT_CONNECTION_LIMITS)(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_S
        )
        return sdk.DefaultAsyncHttpxClient(
            limits=limits,
            follow_redirects=False,
            verify=_tls(),
            headers=UNPACKED,
            event_hooks={"response": [bound]},
        )

    return open_client


async def _closed(client: Any) -> None:
    await client.aclose()


_clients: dict[str, PerLoop[Any]] = {
    package: PerLoop(_opened(package), _closed) for package in ("openai", "anthropic")
}

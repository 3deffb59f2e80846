"""Any LangChain chat model by its name in a spec or a table, and what is told before it is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langchain.chat_models.base import _BUILTIN_PROVIDERS
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.langchain_classes import ChatMaker
from stepgraph.providers.backends.langchain_endpoint import LangChainEndpoint
from stepgraph.providers.chat_classes import CHAT_CLASSES, LEFT_OUT, ChatClass
from stepgraph.providers.provider_table import PROVIDERS, Provider
from stepgraph.providers.settings import parse_spec, read_file
from stepgraph.providers.stack.pricing import price_list
from stepgraph.providers.stack.stack import from_settings, member_of
from stepgraph.state.errors import SettingsError

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in CHAT_CLASSES.values():
        if known.api_key_env:
            monkeypatch.setenv(known.api_key_env, KEY)
        if known.address_env:
            monkeypatch.delenv(known.address_env, raising=False)


def made(**settings: Any) -> Any:
    return ChatMaker(parse_spec(settings, "here")).make()


def test_the_table_has_the_classes_that_langchain_itself_names() -> None:
    theirs = {name: entry[:2] for name, entry in _BUILTIN_PROVIDERS.items() if name not in LEFT_OUT}
    assert theirs == {name: (known.module, known.name) for name, known in CHAT_CLASSES.items()}


def test_every_price_is_looked_up_under_a_name_that_the_list_has() -> None:
    listed = {provider.id for provider in price_list()[0].providers}
    assert {provider.prices for provider in PROVIDERS.values() if provider.prices} <= listed


@pytest.mark.parametrize("name", CHAT_CLASSES)
def test_any_of_them_is_a_spec_and_a_missing_package_is_named_with_the_line_that_installs_it(
    name: str,
) -> None:
    settings = parse_spec({"provider": name, "model": "m", "client": "langchain"}, "here")
    known = CHAT_CLASSES[name]
    if known.is_installed:
        assert parse_spec(f"{name.replace('_', '-')}:m:1", "here").model == "m:1"
        return
    with pytest.raises(SettingsError, match=f"m: the provider '{name}' needs the package") as caught:
        from_settings(settings)
    assert f"pip install {known.package.replace('_', '-')}" in str(caught.value)


def test_the_client_is_langchains_for_openai_and_for_what_only_langchain_knows() -> None:
    kinds = {
        name: type(member_of(parse_spec({"provider": name, "model": "m"}, "here")).backend)
        for name in ("openai", "anthropic", "google_genai", "vllm", "ollama", "deepseek", "openrouter")
    }
    by_class = {name for name, kind in kinds.items() if kind is LangChainEndpoint}
    assert by_class == {"openai", "anthropic", "google_genai"}
    http = parse_spec({"provider": "openai", "model": "m", "client": "http"}, "here")
    assert type(member_of(http).backend) is Endpoint
    own: dict[str, Any] = {"base_url": "http://localhost:1/v1", "model": "m", "client": "langchain"}
    assert isinstance(ChatMaker(parse_spec(own, "here")).make(), ChatOpenAI)


def test_what_all_have_goes_to_each_class_under_its_own_name() -> None:
    common: dict[str, Any] = {"model": "m", "timeout_s": 7, "headers": {"X-Team": "a"}}
    azure = {"base_url": "https://x.openai.azure.com?api-version=2025-04-01"}
    chats: dict[str, Any] = {
        "openai": made(provider="openai", **common),
        "azure": made(provider="azure_openai", **common, **azure),
        "anthropic": made(provider="anthropic", **common, base_url="http://proxy:1"),
        "google": made(provider="google_genai", **common, base_url="http://proxy:1"),
    }
    kinds = (ChatOpenAI, AzureChatOpenAI, ChatAnthropic, ChatGoogleGenerativeAI)
    assert all(isinstance(chat, kind) for chat, kind in zip(chats.values(), kinds, strict=True))
    openai, azure_chat, claude, gemini = chats.values()
    assert [chat.max_retries for chat in chats.values()] == [0, 0, 0, 0]
    assert openai.request_timeout == azure_chat.request_timeout == claude.default_request_timeout == 7
    assert gemini.timeout == 7
    assert openai.default_headers == claude.default_headers == gemini.additional_headers == {"X-Team": "a"}
    assert (claude.anthropic_api_url, gemini.base_url) == ("http://proxy:1", "http://proxy:1")
    assert (azure_chat.azure_endpoint, azure_chat.openai_api_version) == (
        "https://x.openai.azure.com",
        "2025-04-01",
    )
    assert openai.openai_api_key.get_secret_value() == claude.anthropic_api_key.get_secret_value() == KEY
    assert all(chat.temperature is None for chat in chats.values())


def test_params_are_handed_to_the_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert (
        made(provider="anthropic", model="claude-sonnet-4-5", params={"thinking": thinking}).thinking
        == thinking
    )
    monkeypatch.setenv("AD", "ad-token-1")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    params = {"azure_ad_token": "$AD", "api_version": "2025-04-01"}
    chat = made(provider="azure_openai", model="m", base_url="https://x.openai.azure.com", params=params)
    assert chat.azure_ad_token.get_secret_value() == "ad-token-1"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"provider": "anthropic", "params": {"thinkin": {}}},
            "no parameter 'thinkin'. Did you mean 'thinking'",
        ),
        ({"provider": "anthropic", "params": {"top_k": "many"}}, "does not take these settings: top_k"),
        ({"provider": "anthropic", "params": {"model": "x"}}, "Use the setting model"),
        ({"provider": "anthropic", "params": {"max_retries": 3}}, "Use the setting retries"),
        ({"provider": "anthropic", "params": {"anthropic_api_key": KEY}}, "looks like a key"),
        ({"provider": "anthropic", "params": {"model_kwargs": {"secret": KEY}}}, "looks like a key"),
        ({"provider": "azure_openai", "params": {"azure_ad_token": "$NOT_SET"}}, "NOT_SET is not set"),
        ({"provider": "anthropic", "seed": 3}, "ChatAnthropic takes no seed"),
        (
            {"provider": "google_genai", "service_tier": "flex"},
            "ChatGoogleGenerativeAI takes no service_tier",
        ),
        ({"provider": "anthropic", "organization": "o"}, "takes no organization"),
        ({"provider": "anthropic", "client": "http"}, "asked by LangChain's class only"),
        ({"provider": "vllm", "params": {"top_k": 1}}, "our own client asks this model"),
        ({"provider": "local", "client": "langchain"}, "no class of LangChain's"),
        ({"provider": "openai", "client": "curl"}, "client: Input should be 'http' or 'langchain'"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_asked(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        from_settings(parse_spec({"model": "m", **settings}, "here"))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google_genai", "azure_openai"])
def test_a_missing_key_is_told_with_its_variable(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = CHAT_CLASSES[provider].api_key_env
    assert variable is not None
    monkeypatch.delenv(variable)
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=f"{variable} is not set"):
        from_settings(parse_spec(f"{provider}:m", "here"))


def test_a_settings_file_binds_them(tmp_path: Path) -> None:
    path = tmp_path / "stepgraph.toml"
    path.write_text(
        '[models]\nsmall = "anthropic:claude-haiku-4-5"\n[models.large]\nprovider = "google_genai"\n'
        'model = "gemini-2.5-flash"\nparams = { thinking_budget = 128 }\n',
        encoding="utf-8",
    )
    large = read_file(path)["large"]
    backend = from_settings(large).members[0].backend
    assert isinstance(backend, LangChainEndpoint)
    assert (backend.name, backend.address) == (
        "gemini-2.5-flash",
        "https://generativelanguage.googleapis.com",
    )


def test_params_tell_two_models_apart_and_no_key_does() -> None:
    def identity(**settings: Any) -> str:
        return member_of(parse_spec({"provider": "anthropic", "model": "m", **settings}, "here")).identity

    assert identity() != identity(params={"top_k": 5}) != identity(params={"top_k": 6})
    assert KEY not in identity(params={"top_k": 5})


def test_a_class_of_ones_own_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("acme_chat")
    module.__spec__ = sys.modules[__name__].__spec__
    module.ChatAcme = FakeListChatModel
    monkeypatch.setitem(sys.modules, "acme_chat", module)
    monkeypatch.setitem(CHAT_CLASSES, "acme", ChatClass("acme_chat", "ChatAcme", model="name"))  # type: ignore[arg-type]
    monkeypatch.setitem(PROVIDERS, "acme", Provider("acme", client="langchain"))  # type: ignore[arg-type]
    settings = parse_spec({"provider": "acme", "model": "a-1", "params": {"responses": ["yes"]}}, "here")
    backend = member_of(settings).backend
    assert (backend.name, backend.address, backend.tools) == ("a-1", "acme:", "emulated")

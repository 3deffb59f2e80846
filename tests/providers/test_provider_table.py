"""The table of providers: one entry is all that a new one needs."""

from __future__ import annotations

import pytest

from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.chat_classes import CHAT_CLASSES
from stepgraph.providers.provider_table import (
    LOCAL,
    PROVIDERS,
    REMOTE,
    Capabilities,
    Provider,
    provider_named,
)
from stepgraph.providers.settings import key_variable, parse_spec
from stepgraph.providers.stack.pricing import PriceListTariff, TokenTariff, tariff_for


def test_a_new_provider_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    acme = Provider(
        "acme",
        "https://acme.example/v1",
        api_key_env="ACME_KEY",
        prices="openai",
        capabilities=Capabilities(structured="json_object"),
    )
    monkeypatch.setitem(PROVIDERS, "acme", acme)  # type: ignore[arg-type]
    monkeypatch.setenv("ACME_KEY", "k")
    settings = parse_spec("acme:m", "here")
    endpoint = Endpoint(settings)
    assert key_variable(settings) == "ACME_KEY"
    assert (endpoint.address, endpoint.can.structured) == ("https://acme.example/v1", "json_object")
    assert isinstance(tariff_for(settings, "m"), PriceListTariff)


def test_the_entries_go_by_their_names() -> None:
    assert all(provider.name == name for name, provider in PROVIDERS.items())
    assert set(REMOTE) | {LOCAL} | set(CHAT_CLASSES) == set(PROVIDERS)


def test_a_provider_without_a_name_is_only_known_to_be_compatible() -> None:
    assert provider_named(None) == provider_named("not-there") == Provider("")


def test_only_the_model_on_this_machine_is_free_without_a_price() -> None:
    tariffs = {name: tariff_for(parse_spec(f"{name}:m", "here"), "m") for name in PROVIDERS}
    kinds = {name: type(tariff) for name, tariff in tariffs.items() if tariff is not None}
    listed = dict.fromkeys((name for name, known in PROVIDERS.items() if known.prices), PriceListTariff)
    assert {"openai", "openrouter", "together", "deepseek", "anthropic", "azure_openai"} < listed.keys()
    assert kinds == {**listed, "local": TokenTariff}
    assert tariffs["local"] is not None
    assert tariffs["local"].most(1, 1) == 0

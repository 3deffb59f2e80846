"""Two LangChain chat models that send different requests have different identities, and keys are in none."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import ChatOpenAI
from pydantic import Field, PrivateAttr

from stepgraph.providers.backends import langchain_identity
from stepgraph.providers.backends.langchain import ChatModel
from stepgraph.providers.backends.langchain_identity import identity_of
from stepgraph.providers.stack.roles import as_model

CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"reasoning_effort": "low"},
    {"reasoning_effort": "high"},
    {"top_p": 0.1},
    {"temperature": 0.9},
    {"seed": 1},
    {"stop": ["END"]},
    {"n": 2},
    {"logprobs": True},
    {"max_tokens": 5},
    {"verbosity": "low"},
    {"presence_penalty": 0.5},
    {"frequency_penalty": 0.5},
    {"service_tier": "flex"},
    {"extra_body": {"thinking": True}},
    {"extra_body": {"thinking": {"budget": 5}}},
    {"model_kwargs": {"user": "u"}},
    {"base_url": "http://127.0.0.1:2/v1"},
    {"use_responses_api": True},
    {"default_headers": {"x-beta": "on"}},
    {"default_query": {"version": "2"}},
]
SAME: list[dict[str, Any]] = [
    {"api_key": "another"},
    {"max_retries": 7},
    {"timeout": 3},
    {"verbose": True},
    {"tags": ["t"]},
    {"metadata": {"a": 1}},
    {"cache": False},
    {"default_headers": {"Authorization": "Bearer other"}},
]


def chat(**settings: Any) -> ChatOpenAI:
    return ChatOpenAI(
        **{"model": "gpt-5-mini", "api_key": "key", "base_url": "http://127.0.0.1:1/v1", **settings}
    )


def test_configurations_that_send_different_requests_have_different_identities() -> None:
    # This model takes no temperature: LangChain sends the same as without one.
    by_request: dict[str, str] = {}
    for settings in CONFIGURATIONS:
        model = chat(**settings)
        sent = model._get_request_payload([("user", "x")])
        place = [model.openai_api_base, model.default_headers, model.default_query]
        by_request[json.dumps([sent, place], sort_keys=True, default=str)] = identity_of(model)
    assert len(set(by_request.values())) == len(by_request) == len(CONFIGURATIONS) - 1


@pytest.mark.parametrize("settings", SAME[:-1], ids=lambda settings: next(iter(settings)))
def test_what_cannot_change_an_answer_is_in_no_identity(settings: dict[str, Any]) -> None:
    assert identity_of(chat(**settings)) == identity_of(chat())


def test_a_key_in_a_header_is_left_out() -> None:
    one, other = (chat(default_headers={"Authorization": f"Bearer {n}"}) for n in range(2))
    assert identity_of(one) == identity_of(other)


def test_the_class_counts() -> None:
    class Own(ChatOpenAI):
        pass

    assert identity_of(Own(model="m", api_key="k")) != identity_of(ChatOpenAI(model="m", api_key="k"))


class Tuned(FakeListChatModel):
    """A model with one setting of each kind."""

    responses: list[str] = Field(default=["ok"])
    top_k: int = 40
    seed: int | None = None
    stops: list[str] = Field(default_factory=list)
    style: str = Field("plain", exclude=True)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"top_k": 40}, True),
        ({"top_k": 41}, False),
        ({"seed": None}, True),
        ({"seed": 0}, False),
        ({"stops": []}, True),
        ({"stops": ["a"]}, False),
        ({"style": "bold"}, True),
    ],
    ids=str,
)
def test_a_setting_counts_where_it_differs_from_its_default(settings: dict[str, Any], same: bool) -> None:
    assert (identity_of(Tuned(**settings)) == identity_of(Tuned())) is same


def test_a_default_that_comes_with_a_new_release_changes_no_identity() -> None:
    class Later(Tuned):
        temperature: float = 0.7
        label: str | None = None

    Later.__qualname__ = Tuned.__qualname__
    assert identity_of(Later()) == identity_of(Tuned())
    assert identity_of(Later(label="x")) != identity_of(Tuned())


def test_an_identity_is_the_same_in_every_process() -> None:
    code = (
        "from langchain_openai import ChatOpenAI\n"
        "from stepgraph.providers.backends.langchain_identity import identity_of\n"
        "chat = ChatOpenAI(model='m', api_key='k', stop=['a'], extra_body={'b': 1, 'a': {'x', 'y'}})\n"
        "print(identity_of(chat))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1


def test_a_value_that_cannot_be_compared_equals_no_other_and_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opaque:
        pass

    class Odd(FakeListChatModel):
        helper: Any = None
        _count: int = PrivateAttr(default=0)

    monkeypatch.setattr(langchain_identity, "_warned", set())
    with caplog.at_level(logging.WARNING):
        one, other = (Odd(responses=["a"], helper=Opaque()) for _ in range(2))
        assert identity_of(one) == identity_of(one) != identity_of(other)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["Odd.helper is a Opaque"]


def test_the_journal_goes_by_it() -> None:
    low, again, high = (as_model(chat(reasoning_effort=e), "t").members[0] for e in ("low", "low", "high"))
    assert isinstance(low.backend, ChatModel)
    assert low.identity == again.identity != high.identity

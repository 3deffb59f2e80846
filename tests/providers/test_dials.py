"""What a user sets for a model or a question reaches the wire, the record and the key; nothing else does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stepgraph import Ask, Session, chain, run, step, using
from stepgraph.errors import InputError, SettingsError
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.backends.http import ChatClient, proxy_for
from stepgraph.providers.backends.http_errors import _retry_after
from stepgraph.providers.dials import Dials
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.provider_table import provider_named
from stepgraph.providers.settings import parse_spec, read_file
from stepgraph.providers.stack.stack import from_settings
from stepgraph.state.errors import ModelError

from ..servers import ChatServer, Fault

DIALS: dict[str, Any] = {
    "reasoning_effort": "low",
    "verbosity": "low",
    "seed": 7,
    "top_p": 0.9,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "stop": ["END"],
    "service_tier": "flex",
    "extra_body": {"chat_template_kwargs": {"enable_thinking": False}},
}
ON_THE_WIRE = {**{n: v for n, v in DIALS.items() if n != "extra_body"}, **DIALS["extra_body"]}
HELLO = Request(({"role": "user", "content": "Hello"},))


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.", params={"seed": 8, "extra_body": {"top_k": 3}})


@step("draft")
def plain(post: Post) -> Ask[str]:
    return Ask("Write.")


@pytest.mark.parametrize("name", DIALS)
def test_each_dial_of_the_settings_reaches_the_wire_the_record_and_the_key(
    name: str, server: ChatServer, session: Session
) -> None:
    app = chain(plain).compile()
    for settings in ({name: DIALS[name]}, {}):
        with using(server.spec(**settings)):
            run(app, Post(), session, f"t{len(settings)}")
    with_it, without = server.bodies
    sent = DIALS[name] if name == "extra_body" else {name: DIALS[name]}
    assert {key: with_it[key] for key in sent} == sent
    assert not sent.keys() & without.keys()
    params = session.journal.query("SELECT params FROM calls ORDER BY started_at")
    assert [json.loads(row["params"]).get("settings") for row in params] == [{name: DIALS[name]}, None]
    with using(server.spec(**{name: DIALS[name]})):  # no answer of another configuration is taken
        run(app, Post(), session, "again", cache_s=3600)
    assert len(server.bodies) == 2
    other = {"seed": 9} if name == "seed" else {"seed": 9, name: DIALS[name]}
    with using(server.spec(**other)):
        run(app, Post(), session, "other", cache_s=3600)
    assert len(server.bodies) == 3


def test_a_questions_own_go_before_those_of_the_settings(server: ChatServer, session: Session) -> None:
    with using(server.spec(seed=1, top_p=0.5, extra_body={"top_k": 1, "min_p": 0.1})):
        run(chain(write).compile(), Post(), session)
    (body,) = server.bodies
    assert {n: body[n] for n in ("seed", "top_p", "top_k", "min_p")} == {
        "seed": 8,
        "top_p": 0.5,
        "top_k": 3,
        "min_p": 0.1,
    }
    (row,) = session.journal.query("SELECT params FROM calls")
    assert json.loads(row["params"])["dials"] == {"seed": 8, "extra_body": {"top_k": 3}}


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"reasoning_efort": "low"}, "Did you mean 'reasoning_effort'"),
        ({"top_k": 3}, "extra_body"),
        ({"temperature": 1}, "set elsewhere, as the question's or the model's temperature"),
        ({"n": 3}, "vote"),
        ({"top_p": 2}, "top_p: Input should be less"),
        ({"extra_body": {"messages": []}}, "set elsewhere: the question's prompt"),
        ({"extra_body": {"seed": 1}}, "beside extra_body"),
    ],
)
def test_a_param_that_is_none_is_told_before_anything_is_paid(params: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Ask("Write.", params=params)


@pytest.mark.parametrize("name", ["messages", "stream", "n", "tools", "max_tokens", "model"])
def test_extra_body_cannot_break_a_promise(name: str) -> None:
    with pytest.raises(SettingsError, match=f"'{name}' is set elsewhere"):
        parse_spec({"model": "m", "base_url": "http://h/v1", "extra_body": {name: 1}}, "here")


def test_settings_with_dials_are_read_from_a_file_and_share_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "stepgraph.toml"
    text = (
        '[models.default]\nmodel = "m"\nbase_url = "http://h/v1"\nreasoning_effort = "low"\nstop = ["END"]\n'
        "extra_body = { chat_template_kwargs = { enable_thinking = false } }\n"
        'headers = { X-Title = "desk" }\n'
    )
    path.write_text("\ufeff" + text, encoding="utf-8")  # as Windows' editors save it
    settings = read_file(path)["default"]
    assert from_settings(settings) is from_settings(read_file(path)["default"])


async def test_headers_go_along_and_those_of_the_environment_stay_secret(
    server: ChatServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY", "tok-very-secret-1\n")
    seen: list[str] = []
    spec = server.spec(headers={"X-Title": "desk", "X-Gateway": "$GATEWAY"}, organization="org-1", retries=0)
    endpoint = Endpoint(parse_spec(spec, "here"))
    sent = endpoint._wire._headers
    assert sent["X-Gateway"] == "tok-very-secret-1"
    assert (sent["X-Title"], sent["OpenAI-Organization"]) == ("desk", "org-1")
    server.will(Fault(400, json.dumps({"error": {"message": "bad token tok-very-secret-1"}})))
    with pytest.raises(ModelError) as caught:
        await endpoint.complete(HELLO, CallContext("s"))
    seen.append(str(caught.value))
    with using(spec):
        assert (await chain(plain).compile().ainvoke(Post(), session.config("t")))["draft"] == "ok"
    seen += [str(row) for row in session.journal.query("SELECT * FROM calls")]
    assert not [text for text in seen if "very-secret" in text]
    monkeypatch.delenv("GATEWAY")
    with pytest.raises(SettingsError, match="GATEWAY is not set; the header X-Gateway"):
        Endpoint(parse_spec(spec, "here"))


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"X Title": "a"}, "no name of a header"),
        ({"X-Title": "a\nb"}, "X-Title"),
        ({"Content-Type": "text/plain"}, "set by the client"),
    ],
)
def test_a_header_that_cannot_be_is_refused(headers: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parse_spec({"model": "m", "base_url": "http://h/v1", "headers": headers}, "here")


def test_an_address_may_have_a_query_but_no_key_in_it() -> None:
    spec = {"model": "m", "base_url": "https://h/openai/v1/?api-version=2026-01-01"}
    address = parse_spec(spec, "here").address
    assert ChatClient(address, None).url == "https://h/openai/v1/chat/completions?api-version=2026-01-01"
    for query in ("api-key=x", "subscription_key=x", "sig=x", "access_token=x"):
        with pytest.raises(SettingsError, match="a user, a password or a key"):
            parse_spec({"model": "m", "base_url": f"https://h/v1?{query}"}, "here")


@pytest.mark.parametrize(
    ("provider", "variable", "value", "address"),
    [
        ("openai", "OPENAI_BASE_URL", "http://gateway:4000/v1/", "http://gateway:4000/v1"),
        ("openai", "OPENAI_BASE_URL", "", "https://api.openai.com/v1"),
        ("ollama", "OLLAMA_HOST", "http://gpu:11434", "http://gpu:11434/v1"),
        ("ollama", "OLLAMA_HOST", "gpu", "http://gpu:11434/v1"),
        ("ollama", "OLLAMA_HOST", "gpu:8080", "http://gpu:8080/v1"),
        ("ollama", "OLLAMA_HOST", ":8080", "http://localhost:8080/v1"),
        ("ollama", "OLLAMA_HOST", "0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("vllm", "OPENAI_BASE_URL", "http://gateway/v1", "http://localhost:8000/v1"),
    ],
)
def test_addresses_of_the_environment(
    provider: str, variable: str, value: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert provider_named(provider).address == address
    own = parse_spec({"provider": provider, "model": "m", "base_url": "http://own/v1"}, "here")
    assert own.address == "http://own/v1"


@pytest.mark.parametrize(
    ("milliseconds", "seconds"),
    [("1500", 1.5), ("-1", 0.0), ("soon", 9), ("", 9), ("nan", 9), ("inf", 9)],
)
def test_milliseconds_to_wait(milliseconds: str, seconds: float) -> None:
    assert _retry_after({"retry-after-ms": milliseconds, "retry-after": "9"}) == seconds


@pytest.mark.parametrize(
    ("proxy", "used"),
    [("proxy.corp:3128", "http://proxy.corp:3128"), ("//proxy.corp:3128", "http://proxy.corp:3128"),
     ("user:pw@p:1", "http://user:pw@p:1"), ("https://p:1", "https://p:1"), ("HTTP://p:1", "HTTP://p:1"),
     ("socks5://user:pw@p:1", None), ("ftp://p:1", None)],
)  # fmt: skip
def test_a_proxy_is_used_or_told(proxy: str, used: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    if used is not None:
        assert proxy_for("http://api.example.com/v1") == used
        return
    with pytest.raises(SettingsError, match="only HTTP proxies can be used") as caught:
        proxy_for("http://api.example.com/v1")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("address", ["localhost:8000/v1", "user:pass-1234@host/v1", "", "/v1"])
def test_an_address_without_a_scheme_is_told_before_anything_is_asked(address: str) -> None:
    with pytest.raises(SettingsError, match="base_url does not begin with http://") as caught:
        parse_spec({"base_url": address, "model": "m"}, "here")
    assert "pass-1234" not in str(caught.value)


@pytest.mark.parametrize("name", ["reasoning_effort", "verbosity"])
def test_a_dial_that_is_a_word_has_at_least_one_letter(name: str) -> None:
    assert getattr(Dials.model_validate({name: "x"}), name) == "x"
    with pytest.raises(ValidationError):
        Dials.model_validate({name: ""})

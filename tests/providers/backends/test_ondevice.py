"""The real model on this machine: it starts with the first test and serves all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import aiohttp
import pytest
from pydantic import BaseModel

from stepgraph import Ask, Session, chain, step, using
from stepgraph.providers.backends import ondevice
from stepgraph.providers.backends.ondevice import (
    MAX_ITEMS,
    MAX_STRING,
    bounded,
    shipped_weights,
    start_server,
)
from stepgraph.state.errors import SettingsError

pytestmark = [pytest.mark.local, pytest.mark.xdist_group("local")]


class Person(BaseModel):
    name: str
    mood: Literal["glad", "sad"]


@dataclass
class Note:
    text: str = "Ann smiles."
    person: Person | None = None
    reply: str = ""


@step("person")
def read(note: Note) -> Ask[Person]:
    return Ask(f"Who is it, and in what mood? {note.text}", max_tokens=60, temperature=0)


@step("reply")
def answer(note: Note) -> Ask[str]:
    return Ask(f"Say hello to {note.text}", max_tokens=12)


async def test_a_structured_answer_of_the_real_model(session: Session) -> None:
    with using("local"):
        result = await chain(read, answer).compile().ainvoke(Note(), session.config())
    assert isinstance(result["person"], Person)
    assert result["reply"]
    calls = session.journal.query("SELECT model_asked, cost_usd, output_tokens, finish_reason FROM calls")
    assert {call["model_asked"] for call in calls} == {"SmolLM2-135M-Instruct.Q4_1"}
    assert {call["cost_usd"] for call in calls} == {0.0}
    assert all(0 < call["output_tokens"] <= 60 for call in calls)


async def test_the_server_listens_on_loopback_only_and_wants_its_key() -> None:
    running = start_server(shipped_weights())
    assert urlparse(running.address).hostname == "127.0.0.1"
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    async with aiohttp.ClientSession() as client:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {running.key}"}, 200),
        ):
            url = f"{running.address}/v1/chat/completions"
            async with client.post(url, json=body, headers=headers) as response:
                assert response.status == status


def test_there_is_one_server_for_one_file() -> None:
    assert start_server(shipped_weights()) is start_server(shipped_weights())


def test_every_string_and_list_gets_a_bound() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "free": {"type": "string"},
            "short": {"type": "string", "maxLength": 5},
            "fixed": {"type": "string", "enum": ["a"]},
            "many": {"type": "array", "items": {"type": "string"}},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }
    made = bounded(schema)["properties"]
    assert made["free"]["maxLength"] == MAX_STRING
    assert made["short"]["maxLength"] == 5
    assert "maxLength" not in made["fixed"]
    assert made["many"] == {
        "type": "array",
        "maxItems": MAX_ITEMS,
        "items": {"type": "string", "maxLength": MAX_STRING},
    }
    assert made["maybe"]["anyOf"][0]["maxLength"] == MAX_STRING
    assert "maxLength" not in schema["properties"]["free"]


def test_a_file_that_is_not_there_is_named() -> None:
    with (
        using("local:/nowhere/model.gguf"),
        pytest.raises(SettingsError, match=r"There is no GGUF file /nowhere/model\.gguf"),
    ):
        answer.invoke(Note())


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(SettingsError, match=r"llama\.cpp cannot load .*bad\.gguf"):
        start_server(tmp_path / "bad.gguf")


def test_weights_with_another_hash_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ondevice, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(SettingsError, match=r"is not the file it should be \(sha256 b179c952.*Reinstall"):
        shipped_weights()


def test_weights_that_are_not_installed_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ondevice, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(SettingsError, match="weights are not installed"):
        shipped_weights()

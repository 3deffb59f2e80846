from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO

import keyring
import pytest
from keyring.backend import KeyringBackend

from stepgraph.providers.keys import SERVICE
from stepgraph.providers.testing.checks import CHECKS

from ..imitator import KEY, MODEL
from ..imitators import DeepSeek
from ..openrouter_imitator import OpenRouter
from ..servers import HTML, Answer, ChatServer
from .conftest import Command


class Remembering(KeyringBackend):
    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get(username) if service == SERVICE else None

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[username]


@pytest.fixture
def ring() -> Iterator[Remembering]:
    before, ring = keyring.get_keyring(), Remembering()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_an_endpoint_is_examined(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with DeepSeek() as server:
        done = command("models", "conform", server.url, "--model", MODEL, "--key-env", "SOME_KEY")
    assert done.code == 0, done.out
    assert done.out.startswith(f"{MODEL} at {server.url}\n")
    assert "This response_format type is unavailable now" in done.out
    assert '{ structured = "json_object", echo = ["reasoning_content"] }' in done.out
    assert KEY not in done.out + done.err
    assert f"{len(CHECKS)} " not in done.out.splitlines()[-2]


def test_for_programs_it_is_json(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with OpenRouter() as server:
        done = command("models", "conform", server.url, "--model", MODEL, "--key-env", "SOME_KEY", "--json")
    *findings, last = done.rows
    assert [row["check"] for row in findings] == list(CHECKS)
    assert last["failed"] == 0
    assert {row["outcome"] for row in findings} <= {"pass", "unsupported"}


def test_a_failed_check_is_the_exit_code(command: Command, server: ChatServer) -> None:
    server.always = Answer("hello", usage=False)
    done = command("models", "conform", server.url, "--model", "m", "--at-once", "1")
    assert done.code == 1
    assert "its cost and budget are unknown" in done.out


def test_an_endpoint_that_does_not_answer(command: Command, server: ChatServer) -> None:
    server.always = HTML
    done = command("models", "conform", server.url, "--model", "m")
    assert done.code == 1
    assert f"The other {len(CHECKS) - 1} checks were not made" in done.out
    assert server.calls == 1


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("opnai", "Did you mean 'openai'"),
        ("localhost:8000", "is no address: expected http://"),
        ("openai", "OPENAI_API_KEY is not set"),
        ("http://127.0.0.1:9/v1", "lists no model .*--model NAME"),
    ],
)
def test_what_cannot_be_examined_is_told(
    where: str, problem: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = command("models", "conform", where)
    assert done.code == 2
    assert re.search(problem, done.err)


def test_a_key_is_kept_and_deleted(
    command: Command, ring: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("sk-secret-of-mine\n"))
    done = command("models", "key", "openai")
    assert (done.code, ring.kept) == (0, {"OPENAI_API_KEY": "sk-secret-of-mine"})
    assert "sk-secret" not in done.out + done.err
    assert command("models", "key", "openai", "--delete").code == 0
    assert ring.kept == {}


@pytest.mark.parametrize(
    ("name", "typed", "problem"),
    [
        ("opnai", "x", "Did you mean 'openai'"),
        ("vllm", "x", "takes no key of its own"),
        ("MY_KEY", "", "No key was given"),
    ],
)
def test_a_key_that_cannot_be_kept(
    name: str,
    typed: str,
    problem: str,
    command: Command,
    ring: Remembering,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(typed))
    done = command("models", "key", name)
    assert done.code == 2
    assert problem in done.err
    assert json.dumps(ring.kept) == "{}"

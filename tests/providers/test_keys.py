from __future__ import annotations

import logging
import pickle
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from stepgraph import Ask, chain, step, using
from stepgraph.providers.backends.endpoint import Endpoint
from stepgraph.providers.keys import PlainKeyWarning, asking_nobody, find_key, store_key, stored_key
from stepgraph.providers.settings import file_bindings, parse_spec, read_file
from stepgraph.providers.stack.stack import from_settings
from stepgraph.state.errors import ModelError, SettingsError
from stepgraph.state.session.session import Session

from ..servers import CUT, HTML, Answer, ChatServer, Fault

KEY = "sk-Very/Secret+0123456789="


class Remembering(KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.kept:
            raise PasswordDeleteError("not there")
        del self.kept[service, username]


class Locked(Remembering):
    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringLocked("locked")


@pytest.fixture
def ring() -> Iterator[Remembering]:
    before = keyring.get_keyring()
    ring = Remembering()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


@dataclass
class Post:
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask("Write.")


def test_the_environment_comes_before_the_keyring(
    ring: Remembering, monkeypatch: pytest.MonkeyPatch, server: ChatServer
) -> None:
    store_key("SOME_KEY", "from-the-ring")
    with using(server.spec(api_key_env="SOME_KEY")):
        write.invoke(Post())
    monkeypatch.setenv("SOME_KEY", "from-the-environment")
    assert find_key("SOME_KEY", "m") == "from-the-environment"
    assert server.keys == ["Bearer from-the-ring"]


def test_a_key_can_be_deleted(ring: Remembering) -> None:
    store_key("SOME_KEY", KEY)
    store_key("SOME_KEY", None)
    assert stored_key("SOME_KEY") is None
    with pytest.raises(SettingsError, match=r"not there.*environment variable SOME_KEY"):
        store_key("SOME_KEY", None)


def test_a_key_that_nobody_has_says_where_it_could_be(ring: Remembering) -> None:
    with pytest.raises(SettingsError, match=r"variable SOME_KEY is not set.*stepgraph models key SOME_KEY"):
        find_key("SOME_KEY", "m")


def test_a_locked_keyring_holds_nothing_for_us() -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(Locked())
    try:
        assert stored_key("SOME_KEY") is None
    finally:
        keyring.set_keyring(before)


@pytest.mark.parametrize("key", [KEY, None])
def test_without_the_package_there_is_no_key_and_none_can_be_kept(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert stored_key("SOME_KEY") is None
    with pytest.raises(SettingsError, match=r'pip install "stepgraph\[keyring\]"'):
        store_key("SOME_KEY", key)


def test_a_key_in_the_settings_file_works_with_a_warning(tmp_path: Path, server: ChatServer) -> None:
    path = tmp_path / "stepgraph.toml"
    path.write_text(f'[models.default]\nmodel = "m"\nbase_url = "{server.url}"\napi_key = "{KEY}"\n')
    with pytest.warns(PlainKeyWarning, match="plain text. Safer: .*variable MY_KEY.*keyring") as warned:
        settings = read_file(path)["default"]
    assert KEY not in str(warned[0].message)
    with using(settings):  # type: ignore[arg-type]
        write.invoke(Post())
    assert server.keys == [f"Bearer {KEY}"]


def test_the_safer_name_is_the_providers(tmp_path: Path) -> None:
    with pytest.warns(PlainKeyWarning, match='api_key_env = "DEEPSEEK_API_KEY"'):
        parse_spec({"provider": "deepseek", "model": "deepseek-chat", "api_key": KEY}, "here")


ECHO = f'{{"error": {{"message": "no key {KEY} here"}}}}'


@pytest.mark.parametrize("place", ["environment", "keyring", "settings"])
@pytest.mark.parametrize(
    "outcome",
    [
        Answer("fine"),
        Fault(401, body=ECHO),
        Fault(400, body=ECHO),
        Fault(503, body=ECHO),
        Fault(200, body=ECHO),
        Fault(200, body=f"<html>{KEY}</html>", content_type="text/html"),
        HTML,
        CUT,
    ],
    ids=repr,
)
async def test_a_key_reaches_no_log_error_journal_or_repr(
    place: str,
    outcome: Answer | Fault,
    ring: Remembering,
    server: ChatServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    server.always = outcome
    spec = server.spec(retries=0)
    if place == "settings":
        with pytest.warns(PlainKeyWarning):
            settings = parse_spec({**spec, "api_key": KEY}, "here")
    else:
        if place == "environment":
            monkeypatch.setenv("SOME_KEY", KEY)
        else:
            store_key("SOME_KEY", KEY)
        settings = parse_spec({**spec, "api_key_env": "SOME_KEY"}, "here")
    told: list[Any] = [repr(settings), str(settings), settings.model_dump_json(), repr(Endpoint(settings))]
    graph = chain(write).compile()
    file = tmp_path / "runs.sqlite"
    with Session(file) as session, using(settings):
        try:
            told.append(await graph.ainvoke(Post(), session.config()))
        except ModelError as error:
            told += [error, pickle.dumps(error), error.__cause__, error.__context__, error.__dict__]
    assert server.keys == [f"Bearer {KEY}"]
    with closing(sqlite3.connect(file)) as database:
        told += list(database.iterdump())
    told += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    told += [caplog.text, *capsys.readouterr()]
    for text in told:
        assert KEY not in str(text)
    file_bindings.cache_clear()


@pytest.mark.parametrize("written", ["sk-1234567\n", " sk-1234567\r\n", "\ufeffsk-1234567", "sk-1234567"])
def test_blanks_around_a_key_are_no_part_of_it(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", written)
    assert find_key("SOME_KEY", "m") == "sk-1234567"


@pytest.mark.parametrize("written", ["“sk-1234567”", "sk-123\n4567", "sk 1234567", "sk-1234567é", "sk-\x00"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\x00" not in written:
        monkeypatch.setenv("SOME_KEY", written)
    else:
        monkeypatch.setattr("stepgraph.providers.keys.stored_key", lambda name: written)
    with pytest.raises(SettingsError, match=r"SOME_KEY is malformed.*U\+") as caught:
        find_key("SOME_KEY", "m")
    assert "567" not in str(caught.value)


def test_a_model_that_was_made_without_its_key_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPSEEK_API_KEY", raising=False)
    settings = parse_spec("deepseek:only-estimated", "here")
    with asking_nobody():
        assert from_settings(settings).members[0].backend.name == "only-estimated"
    with pytest.raises(SettingsError, match="DEEPSEEK_API_KEY is not set"):
        from_settings(settings)

"""SIGTERM in the midst of what goes to Postgres: the program ends, and what was to be written is written."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state import sigterm
from stepgraph.state.journal.postgres.traffic import Traffic
from stepgraph.state.journal.postgres.wire import Wire

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture
def under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    work = object()
    sigterm.begin(work)
    yield
    sigterm.end(work)


def struck(kind: type[Any], method: str, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
    """Have SIGTERM come once, before a method of a class is run or behind it."""
    whole = getattr(kind, method)

    def run(self: Any, *values: Any) -> Any:
        monkeypatch.setattr(kind, method, whole)
        if before:
            os.kill(os.getpid(), signal.SIGTERM)
        result = whole(self, *values)
        if not before:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(kind, method, run)


@pytest.mark.usefixtures("under_way")
@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize(
    ("kind", "method"),
    [(Wire, "send"), (Traffic, "_land"), (Traffic, "_launch")],
    ids=["send", "land", "launch"],
)
def test_a_session_closes_and_has_written_all(
    kind: type[Any], method: str, before: bool, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', 1.0, 1.0)"
    with Session(postgres_url) as session:
        session.journal.query("SELECT 1 AS n")
        struck(kind, method, monkeypatch, before=before)
        with pytest.raises(SystemExit) as ended:
            session.journal.write([(insert, ("a",))])
        assert ended.value.code == sigterm.EXIT_CODE
    with Session(postgres_url) as session:
        assert session.journal.query("SELECT thread_id FROM runs") == [{"thread_id": "a"}]

"""A signal in the midst of what goes to Postgres: the program ends, and what was to be written is written."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state import sigterm
from stepgraph.state.journal.postgres.traffic import Traffic
from stepgraph.state.journal.postgres.wire import Wire
from stepgraph.state.sheltered_lock import ShelteredLock

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals")


def interrupting(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture(params=["SIGTERM", "SIGTERM of others", "SIGINT"])
def strike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[int, type[BaseException]]]:
    """Yield a signal, and what its handler raises."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    number = signal.Signals[request.param.split()[0]]
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, interrupting if request.param == "SIGTERM of others" else signal.SIG_DFL)
    work = object()
    sigterm.begin(work)
    own = {each: signal.getsignal(each) for each in handlers}
    yield number, SystemExit if request.param == "SIGTERM" else KeyboardInterrupt
    assert {each: signal.getsignal(each) for each in handlers} == own  # each is put back
    sigterm.end(work)
    for each, handler in handlers.items():
        signal.signal(each, handler)


def struck(
    kind: type[Any], method: str, number: int, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    """Have a signal come once, before a method of a class is run or behind it."""
    whole = getattr(kind, method)

    def run(self: Any, *values: Any) -> Any:
        monkeypatch.setattr(kind, method, whole)
        if before:
            os.kill(os.getpid(), number)
        result = whole(self, *values)
        if not before:
            os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(kind, method, run)


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize(
    ("kind", "method"),
    [(Wire, "send"), (Traffic, "_land"), (Traffic, "_launch")],
    ids=["send", "land", "launch"],
)
def test_a_session_closes_and_has_written_all(
    kind: type[Any],
    method: str,
    before: bool,
    strike: tuple[int, type[BaseException]],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', 1.0, 1.0)"
    number, raised = strike
    with Session(postgres_url) as session:
        session.journal.query("SELECT 1 AS n")
        struck(kind, method, number, monkeypatch, before=before)
        with pytest.raises(raised) as ended:
            session.journal.write([(insert, ("a",))])
        assert getattr(ended.value, "code", sigterm.EXIT_CODE) == sigterm.EXIT_CODE
    with Session(postgres_url) as session:
        assert session.journal.query("SELECT thread_id FROM runs") == [{"thread_id": "a"}]


def test_signals_that_come_under_two_locks_are_heard_once_all_are_let_go(
    strike: tuple[int, type[BaseException]],
) -> None:
    number, raised = strike
    lock, reached = ShelteredLock(threading.RLock()), []

    def hold() -> None:
        with lock:
            with lock:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)
                reached.append("inner")
            reached.append("outer")
        reached.append("never")

    with pytest.raises(raised):
        hold()
    assert reached == ["inner", "outer"]
    with lock:  # nothing of it is left
        reached.append("later")
    assert reached == ["inner", "outer", "later"]

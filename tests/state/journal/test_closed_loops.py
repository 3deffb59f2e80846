"""An answer that was paid for is committed, once, though its event loop is closed meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.state.errors import StoreError
from stepgraph.state.journal.records import Call

CALL = Call(
    id="1",
    thread_id="t",
    task="write:2",
    path="write",
    step="write",
    role=None,
    request_hash="h",
    occurrence=0,
    attempt=1,
    status="answered",
    model_asked="m",
    messages="[]",
    params="{}",
    latency_s=0.1,
    started_at=1.0,
    answer="Boil.",
)


def run(session: Session, passes: int) -> None:
    """Let a loop make so many passes, and end it as `asyncio.run` does: what is left is cancelled."""

    async def main() -> None:
        waits = asyncio.create_task(session.journal.commit_call(CALL))
        for _ in range(passes):
            await asyncio.sleep(0)
        del waits

    asyncio.run(main())


def leave(session: Session, passes: int) -> None:
    """Let a loop make so many passes, and close it with all that is left in it."""
    loop = asyncio.new_event_loop()
    waits: Any = loop.create_task(session.journal.commit_call(CALL))
    for _ in range(passes):
        loop.call_soon(loop.stop)
        loop.run_forever()
    waits._log_destroy_pending = False
    loop.close()


@pytest.fixture(params=["file", "postgres_url"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path | str:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if request.param == "file":
        return tmp_path / "runs.sqlite"
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.mark.parametrize("passes", range(1, 5))
@pytest.mark.parametrize("end", [run, leave])
def test_an_answer_outlives_its_loop(
    database: Path | str, end: Callable[[Session, int], None], passes: int
) -> None:
    with Session(database) as session:
        end(session, passes)
        spilled = session.journal.store._spill.path
    assert not spilled.exists()
    assert answers_in(database) == ["answered"]


def test_an_answer_that_cannot_be_written_is_kept_elsewhere_though_its_loop_is_closed(
    database: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(database) as session:
        store = session.journal.store
        begun: Future[None] = Future()
        monkeypatch.setattr(store, "begin_write", lambda statements: begun)
        leave(session, 2)
        begun.set_exception(StoreError("It is away."))
        session.journal._commits.close()
        assert store._spill.path.exists()
    assert answers_in(database) == ["answered"]


def answers_in(database: Path | str) -> list[str]:
    with Session(database) as session:
        return [row["status"] for row in session.journal.query("SELECT status FROM calls")]

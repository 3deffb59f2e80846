"""Whether a side effect happened is decided once, though two people say so at once, here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.errors import InputError
from stepgraph.state.journal import effects
from stepgraph.state.journal.effects import EffectRecord, begin_effect, find_effect
from stepgraph.state.journal.journal import Journal


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite_file("Postgres is another parameter")),
        pytest.param("postgres", marks=pytest.mark.xdist_group("cluster")),
    ]
)
def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Session, Session]]:
    """Two sessions on one record, as two processes have them."""
    server: PostgresServer | None = None
    place: str | Path = tmp_path / "runs.sqlite"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        assert server is not None
        place = server.lend()
    with Session(place) as session, Session(place) as other:
        yield session, other
    if server is not None:
        server.take_back(str(place))


async def test_of_two_who_decide_at_once_the_second_is_told_what_the_first_said(
    sessions: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = sessions
    both_have_read = Barrier(2)
    await begin_effect(session.journal, "k", "t", "mail", again=False)

    def find(journal: Journal, key: str) -> EffectRecord | None:
        record = find_effect(journal, key)
        if record is not None and record.status == "started":
            both_have_read.wait(60)
        return record

    monkeypatch.setattr(effects, "find_effect", find)

    def decide(who: str, at: Session, happened: bool) -> str:
        try:
            at.decide_effect("k", happened=happened, by=who)
        except InputError as problem:
            return str(problem)
        return ""

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, ("ada", "bob"), sessions, (True, False)))
    first, told = ("ada", done[1]) if done[0] == "" else ("bob", done[0])
    record = find_effect(session.journal, "k")
    assert record is not None
    assert record.status == ("done" if first == "ada" else "undone")
    assert f"It was decided by {first} on " in told
    assert told.endswith("Your decision was not taken.")


async def test_a_decision_is_changed_on_purpose_only(sessions: tuple[Session, Session]) -> None:
    session, other = sessions
    await begin_effect(session.journal, "k", "t", "mail", again=False)
    session.decide_effect("k", happened=False, by="ada")
    with pytest.raises(InputError, match=r"decided by ada on .* that it did not happen.*--change"):
        other.decide_effect("k", happened=True)
    other.decide_effect("k", happened=True, by="bob", change=True)
    with pytest.raises(InputError, match=r"decided by bob on .* that it happened"):
        session.decide_effect("k", happened=True, by="ada")


async def test_a_decision_about_one_start_holds_for_no_later_one(sessions: tuple[Session, Session]) -> None:
    session, other = sessions
    await begin_effect(session.journal, "k", "t", "mail", again=False)
    (seen,) = other.undecided_effects()
    session.decide_effect("k", happened=False)
    await begin_effect(session.journal, "k", "t", "mail", again=False)
    with pytest.raises(InputError, match="started again"):
        other.decide_effect("k", happened=True, started_at=seen.started_at)
    (open_one,) = session.undecided_effects()
    assert (open_one.status, open_one.ended_at) == ("started", None)

"""The databases in which the tests of conformance run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.state.journal.records import Call

CALL = Call(
    id="1",
    thread_id="t",
    task="write:1",
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
    input_tokens=7,
    output_tokens=3,
    cost_usd=0.1,
)


Place = Callable[[str], Any]


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite_file("Postgres is another parameter")),
        pytest.param("postgres", marks=pytest.mark.xdist_group("cluster")),
        pytest.param("pgbouncer", marks=pytest.mark.xdist_group("cluster")),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return what names an empty database of the kind, the same for the same name."""
    if request.param == "sqlite":
        yield lambda name: tmp_path / f"{name}.sqlite"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    way = str
    if request.param == "pgbouncer":
        bouncer: PgBouncer = request.getfixturevalue("pgbouncer")
        way = bouncer.url
    url = server.lend()
    yield lambda name: f"{way(url)}?schema={name}"
    server.take_back(url)


@pytest.fixture
def session(place: Place) -> Iterator[Session]:
    with Session(place("runs")) as session:
        yield session


@pytest.fixture
def other(session: Session, place: Place) -> Iterator[Session]:
    """The session of another process, so to speak."""
    with Session(place("runs")) as other:
        yield other


# The store: statements, transactions, values


def _run(thread: str, at: float = 1.0) -> tuple[str, tuple[Any, ...]]:
    sql = "INSERT INTO runs (thread_id, status, started_at, updated_at) VALUES (?, 'done', ?, ?)"
    return sql, (thread, at, at)

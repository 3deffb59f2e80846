"""A server, a database, a role or a PgBouncer that takes no more connections."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cluster.postgres import PostgresServer
from stepgraph import Session
from stepgraph.errors import StoreError
from stepgraph.state.database import PostgresAddress, database_of
from stepgraph.state.journal.postgres.connecting import explained


def test_who_comes_too_late_is_told_so(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    limit = f"ALTER DATABASE {postgres_url.rpartition('/')[2]} CONNECTION LIMIT"
    with Session(postgres_url) as session:
        postgres_server.admin.execute(f"{limit} 1".encode())  # the one that this session has
        try:
            with pytest.raises(
                StoreError, match=r"has no connection left: .*raise max_connections, or connect"
            ):
                Session(postgres_url)
            assert session.journal.query("SELECT 1 AS n") == [{"n": 1}]
        finally:
            postgres_server.admin.execute(f"{limit} -1".encode())


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for role "stepgraph"',
        "FATAL:  no more connections allowed (max_client_conn)",
    ],
    ids=["server", "reserved", "role", "pgbouncer"],
)
def test_each_way_to_say_it_is_understood(said: str) -> None:
    address = database_of("postgresql://stepgraph@db.example.org/runs")
    assert isinstance(address, PostgresAddress)
    told = str(explained(psycopg.OperationalError(f"connection failed: {said}"), address))
    assert "has no connection left" in told
    assert said.partition("FATAL:")[2].strip() in told

"""The suite on Postgres: STEPGRAPH_TEST_STORE=postgres keeps every session in a schema instead of a file.

One database serves a test process. A path stands for a schema in it, in child processes too. A schema that
a test leaves is emptied and kept for the next one: to make one anew takes a quarter of a second. Tests about
a file are marked `sqlite_file("why")` and skipped.
"""

from __future__ import annotations

import importlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection, OperationalError

from cluster.postgres import PostgresServer
from stepgraph.state.session.default import default_sessions

from .children import sitecustomize

IN_POSTGRES = os.environ.get("STEPGRAPH_TEST_STORE") == "postgres"
_CHILDREN = str(Path(__file__).with_name("children"))
_EMPTY = """
DO $$
DECLARE found record;
BEGIN
  FOR found IN SELECT tablename AS name FROM pg_tables WHERE schemaname = '{schema}' AND tablename <> 'format'
  LOOP EXECUTE 'DELETE FROM {schema}.' || quote_ident(found.name); END LOOP;
  PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false)
  FROM pg_sequences WHERE schemaname = '{schema}';
  ALTER SCHEMA {schema} RENAME TO {name};
END $$
"""
_BUSY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND state <> 'idle'
"""


class Schemas:
    """The schemas of one test process: in use, or empty and free."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.url = server.create("suite")
        self._opened, self._process = server.connect("suite"), os.getpid()
        self._numbers = itertools.count()
        self._free: list[str] = []
        self._used: set[str] = set()
        self._lock = threading.Lock()

    @property
    def _connection(self) -> Connection[Any]:
        """The connection; a test that stops the server closes it, and a forked child has one of its own."""
        if self._process != os.getpid():
            self._opened, self._process = self._server.connect("suite"), os.getpid()
        try:
            self._opened.execute("SELECT 1")
        except OperationalError:
            self._opened = self._server.connect("suite")
        return self._opened

    def prepare(self, schema: str) -> None:
        """Rename a free schema to this one, unless there is one."""
        with self._lock:
            if schema in self._used or not self._free or schema in self._present():
                return
            self._used.add(schema)
            self._connection.execute(f"ALTER SCHEMA {self._free.pop()} RENAME TO {schema}".encode())

    def present(self) -> set[str]:
        """Return the schemas in use."""
        return self._present()

    def empty(self, schemas: set[str]) -> None:
        """Free schemas, whoever may still be connected."""
        if not schemas:
            return
        self._connection.execute(_BUSY, ["suite"])
        for schema in schemas:
            name = f"free_{next(self._numbers)}"
            self._connection.execute(_EMPTY.format(schema=schema, name=name).encode())
            self._free.append(name)
            self._used.discard(schema)

    def close(self) -> None:
        """Leave the database."""
        self._opened.close()

    def _present(self) -> set[str]:
        rows = self._connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\\_%'")
        return {row[0] for row in rows}


def skip_what_is_about_a_file(items: list[pytest.Item]) -> None:
    """Skip the tests that are marked so, each with its reason."""
    for item in items:
        marker = item.get_closest_marker("sqlite_file")
        if marker is None:
            continue
        if not marker.args:
            raise pytest.UsageError(f'{item.nodeid}: say why it is about a file: sqlite_file("why").')
        if IN_POSTGRES:
            item.add_marker(pytest.mark.skip(reason=f"about a file: {marker.args[0]}"))


@pytest.fixture(scope="session")
def schemas(postgres_server: PostgresServer) -> Iterator[Schemas]:
    """Switch this process, and those that it starts, to Postgres."""
    schemas = Schemas(postgres_server)
    for name in sitecustomize.MODULES:
        sitecustomize.switch(importlib.import_module(name), schemas.url, schemas.prepare)
    os.environ[sitecustomize.VARIABLE] = schemas.url
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_CHILDREN, os.environ.get("PYTHONPATH"))))
    yield schemas
    schemas.close()


@pytest.fixture(scope="session", autouse=True)
def all_in_postgres(request: pytest.FixtureRequest) -> None:
    """Switch before any module's own fixture opens a session."""
    if IN_POSTGRES:
        request.getfixturevalue("schemas")


@pytest.fixture(autouse=True)
def in_postgres(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep a test's sessions in Postgres, where the whole suite is to run there."""
    if not IN_POSTGRES:
        yield
        return
    schemas: Schemas = request.getfixturevalue("schemas")
    before = schemas.present()
    yield
    default_sessions.close()  # one that a test left would write to what is another's by then
    schemas.empty(schemas.present() - before)

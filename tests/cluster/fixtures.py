"""Postgres, PgBouncer and Temporal for tests: one server of each per test process, started at the first use.

Every test that names one of these fixtures belongs to one group: one worker of pytest-xdist starts servers.
A machine without Postgres skips these tests; in CI, which is to run them, its absence is a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.pgbouncer import PgBouncer, find_pgbouncer
from cluster.postgres import PostgresServer, find_programs
from cluster.processes import own_folder
from cluster.temporal import TemporalServer, find_temporal

SERVERS = ("postgres_server", "pgbouncer", "temporal_server", "postgres_url", "pgbouncer_url")


def group_servers(items: list[pytest.Item]) -> None:
    """Put the tests that need a server into one group."""
    for item in items:
        needs = isinstance(item, pytest.Function) and not set(SERVERS).isdisjoint(item.fixturenames)
        if needs and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("cluster"))


def _need(found: object, what: str) -> None:
    if found is None and os.environ.get("CI"):
        pytest.fail(f"CI is to have {what}: `make .venv/.cluster`, as root, installs it.", pytrace=False)
    if found is None:
        pytest.skip(f"there is no {what} on this machine: `make .venv/.cluster`, as root, installs it")


@pytest.fixture(scope="session")
def _cluster_folder() -> Iterator[Path]:
    folder = own_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(_cluster_folder: Path) -> Iterator[PostgresServer]:
    """The server: lend() and take_back() databases, stop("immediate"), start(), restart()."""
    _need(find_programs(), "Postgres")
    server = PostgresServer(_cluster_folder)
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of the test's own."""
    if not postgres_server.server.is_running:  # a test before left it stopped
        postgres_server.start()
    url = postgres_server.lend()
    yield url
    if not postgres_server.server.is_running:
        postgres_server.start()
    postgres_server.take_back(url)


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before the server; url() makes a database's URL lead through it."""
    _need(find_pgbouncer(), "PgBouncer")
    bouncer = PgBouncer(postgres_server)
    bouncer.start()
    yield bouncer
    bouncer.stop()


@pytest.fixture
def pgbouncer_url(pgbouncer: PgBouncer, postgres_url: str) -> str:
    """An empty database of the test's own, through PgBouncer."""
    return pgbouncer.url(postgres_url)


@pytest.fixture(scope="session")
def temporal_server(_cluster_folder: Path) -> Iterator[TemporalServer]:
    """Temporal's development server: `address` for a client, restart(), kill(), start()."""
    _need(find_temporal(), "Temporal server")
    server = TemporalServer(_cluster_folder, kept=True)
    server.start()
    yield server
    server.kill()

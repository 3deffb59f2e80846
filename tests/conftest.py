"""What every test stands on: no settings from outside, and a server, a session and a folder of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepgraph.providers.settings import ENVIRONMENT_PREFIX, file_bindings
from stepgraph.providers.stack.stack import forget_endpoints
from stepgraph.state.session.budget_rules import budget_rules
from stepgraph.state.session.default import _warned, session_table
from stepgraph.state.session.session import Session
from stepgraph.state.settings_file import working_folders_file

from .cluster.fixtures import (
    _cluster_folder as _cluster_folder,
    group_servers,
    pgbouncer as pgbouncer,
    pgbouncer_url as pgbouncer_url,
    postgres_server as postgres_server,
    postgres_url as postgres_url,
    temporal_server as temporal_server,
)
from .cluster.switch import (
    all_in_postgres as all_in_postgres,
    in_postgres as in_postgres,
    schemas as schemas,
    skip_what_is_about_a_file,
)
from .servers import ChatServer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts, and stops by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SETTINGS = ("STEPGRAPH_DB", "STEPGRAPH_OUTBOX", "STEPGRAPH_SANDBOX")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    group_servers(items)
    skip_what_is_about_a_file(items)


@pytest.fixture(autouse=True)
def _nothing_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith((ENVIRONMENT_PREFIX, *SETTINGS))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    file_bindings.cache_clear()
    working_folders_file.cache_clear()
    session_table.cache_clear()
    budget_rules.cache_clear()
    _warned.clear()
    forget_endpoints()
    yield
    file_bindings.cache_clear()
    working_folders_file.cache_clear()
    session_table.cache_clear()
    budget_rules.cache_clear()
    _warned.clear()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        yield server


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite") as session:
        yield session

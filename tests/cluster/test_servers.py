"""The servers that other tests stand on: what they promise, and that they end with their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from temporalio.client import Client

from cluster.pgbouncer import PgBouncer
from cluster.postgres import PostgresServer
from cluster.processes import is_alive, running_pid
from cluster.temporal import TemporalServer

ROOT = Path(__file__).parents[2]
STARTS = """
import sys
from pathlib import Path
from cluster.processes import Server, own_folder
folder = own_folder()
server = Server("sleep", folder)
server.launch(Path("/bin/sleep"), ["600"], lambda: server.is_running)
print(server.pid_file.read_text().strip(), folder, flush=True)
sys.stdin.read()
"""


def _one(url: str, statement: str) -> object:
    with psycopg.connect(url, prepare_threshold=None) as connection:
        row = connection.execute(statement).fetchone()  # type: ignore[arg-type]
        return row and row[0]


def test_a_lent_database_is_empty_each_time(postgres_server: PostgresServer, pgbouncer: PgBouncer) -> None:
    for way in (str, pgbouncer.url, str):
        url = postgres_server.lend()
        assert _one(way(url), "SELECT to_regclass('mine')") is None
        with psycopg.connect(way(url), prepare_threshold=None) as connection:
            connection.execute("CREATE TABLE mine (a int)")
        postgres_server.take_back(url)


def test_the_role_is_no_superuser(postgres_url: str) -> None:
    assert (
        _one(postgres_url, "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
        is False
    )


def test_what_was_committed_survives_an_immediate_stop(
    postgres_server: PostgresServer, postgres_url: str, pgbouncer_url: str
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS a")
    postgres_server.restart("immediate")
    assert _one(postgres_url, "SELECT a FROM kept") == 7


@pytest.mark.engine
async def test_temporal_serves(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    assert (await client.count_workflows()).count >= 0


def test_a_server_ends_with_a_killed_process() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert starter.stdout
    assert starter.stdin
    pid, folder = starter.stdout.readline().split()
    assert is_alive(int(pid))
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdin.close()
    starter.stdout.close()
    ends = time.monotonic() + 30
    while _runs(int(pid)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not _runs(int(pid))
    # The next one that makes a folder removes what the killed one left.
    next_one = "from cluster.processes import own_folder; own_folder().rmdir()"
    subprocess.run(
        [sys.executable, "-c", next_one], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert not Path(folder).exists()


def test_a_number_that_another_process_has_by_now_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "temporal.pid").write_text(f"{os.getpid()}\n")
    assert running_pid(tmp_path, "temporal") is None
    assert running_pid(tmp_path, "postgres-server") is None


def _runs(pid: int) -> bool:
    """Say whether a process does; one that is dead and that its new parent has not reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"

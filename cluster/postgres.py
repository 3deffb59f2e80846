"""A Postgres server on loopback: a free port, data in a folder, a role that owns its databases."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .processes import Server, ServerFailed, command_of, free_port, give

if TYPE_CHECKING:
    import psycopg

ROLE = "stepgraph"
# What tests need: nothing survives a power cut, and nothing runs beside them.
_QUICK = (
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=64MB",
)
# Connections in a transaction first, since they hold locks (idle ones may be PgBouncer's, which would not
# notice in time that one is gone); then all schemas that are not Postgres's own.
_EMPTY = f"""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle';
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT nspname FROM pg_namespace
  WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
  LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
  CREATE SCHEMA public AUTHORIZATION {ROLE};
END $$;
"""
REPLICATED = ("wal_level=replica", "max_wal_senders=4")  # what a server with a standby needs
_STOPS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def find_programs() -> Path | None:
    """Return the folder with initdb and postgres: Debian keeps one per version, off the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    by_version = sorted(versions, key=lambda path: float(path.parents[1].name), reverse=True)
    if by_version:
        return by_version[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class PostgresServer:
    """One server. `start` makes its data where there is none yet; with `quick`, for tests, without fsync."""

    def __init__(
        self,
        folder: Path,
        *,
        tied: bool = True,
        quick: bool = True,
        port: int | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        programs = find_programs()
        if programs is None:
            raise ServerFailed("Postgres is not installed: `apt-get install postgresql`, as root.")
        self._programs, self._quick, self._settings = programs, quick, settings
        self._data, self._secrets = folder / "postgres", folder / "postgres.passwords"
        self.port = port or free_port()
        self.server = Server("postgres-server", folder, tied=tied, death=signal.SIGQUIT)
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._admin: psycopg.Connection[Any] | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "jit=off"]
        settings += ["timezone=UTC", "max_connections=200", *(_QUICK if self._quick else ()), *self._settings]
        (self._data / "postmaster.pid").unlink(
            missing_ok=True
        )  # of a killed one: its pid may be another's now
        arguments = ["-D", str(self._data), *(part for setting in settings for part in ("-c", setting))]
        self.server.launch(self._programs / "postgres", arguments, self._is_ready)
        if not self.admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
            self.admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._passwords[1]}'")

    def stop(self, mode: str = "fast") -> None:
        """Stop it as `pg_ctl stop -m` does: smart, fast or immediate."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        self.server.signal(_STOPS[mode])

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it: every connection ends, what was committed stays."""
        self.stop(mode)
        self.start()

    def follow(self, folder: Path) -> PostgresServer:
        """Return a standby of this server, with its data in a folder of its own, before it is started.

        This server needs the settings REPLICATED. `promote` makes the standby one that is written to.
        """
        standby = PostgresServer(folder, settings=self._settings)
        standby._secrets.write_bytes(self._secrets.read_bytes())
        standby._data.mkdir(mode=0o700)
        give(standby._data)
        arguments = ["-D", str(standby._data), "-d", self.url("postgres", superuser=True)]
        _run(self._programs / "pg_basebackup", *arguments, "-R", "-c", "fast", "--no-sync")
        return standby

    def promote(self) -> None:
        """Have a standby end its following; returns once it can be written to."""
        self.admin.execute("SELECT pg_promote()")

    @property
    def admin(self) -> psycopg.Connection[Any]:
        """A superuser's connection, of which each statement commits."""
        if self._admin is None or self._admin.closed:
            self._admin = self.connect("postgres")
        return self._admin

    def url(self, database: str, *, superuser: bool = False) -> str:
        """Return the URL of a database, with the password of its owner, or of the superuser."""
        user, password = ("admin", self._passwords[0]) if superuser else (ROLE, self._passwords[1])
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def lend(self) -> str:
        """Return the URL of an empty database: making one takes ten times as long as emptying one."""
        return self._free.pop() if self._free else self.create(f"lent_{next(self._numbers)}")

    def take_back(self, url: str) -> None:
        """Empty a database that was lent, whoever is connected, and keep it for the next."""
        with self.connect(url.rpartition("/")[2]) as connection:
            connection.execute(_EMPTY)
        self._free.append(url)

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """Open a superuser's connection to a database, of which each statement commits."""
        import psycopg

        return psycopg.connect(self.url(database, superuser=True), autocommit=True)

    def create(self, name: str) -> str:
        """Make an empty database, owned by the role, and return its URL."""
        self.admin.execute(f'CREATE DATABASE "{name}" OWNER {ROLE} TEMPLATE template0')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected."""
        name = url.rpartition("/")[2]
        self.admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @property
    def passwords_file(self) -> Path:
        """Who may log in, in PgBouncer's form."""
        return self._secrets

    @property
    def _passwords(self) -> list[str]:
        """The superuser's password and the role's."""
        lines = self._secrets.read_text(encoding="utf-8").splitlines()
        return [line.split('"')[3] for line in lines]

    def _initialise(self) -> None:
        admin, own = secrets.token_hex(12), secrets.token_hex(12)
        self._secrets.touch(mode=0o600)
        self._secrets.write_text(f'"admin" "{admin}"\n"{ROLE}" "{own}"\n', encoding="utf-8")
        give(self._secrets)
        only = self._secrets.with_suffix(".initial")
        only.touch(mode=0o600)
        only.write_text(admin, encoding="utf-8")
        give(only)
        # md5 makes a connection cheap; a server that stays gets what Postgres itself prefers.
        method = "md5" if self._quick else "scram-sha-256"
        options = [
            "-D",
            str(self._data),
            "-U",
            "admin",
            "-A",
            method,
            f"--pwfile={only}",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        try:
            _run(self._programs / "initdb", *options, *(["--no-sync"] if self._quick else []))
        finally:
            only.unlink()

    def _is_ready(self) -> bool:
        """Its pid file says so in the eighth line."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return lines[7].strip() in ("ready", "standby")
        except (OSError, IndexError):
            return False


def _run(program: Path, *arguments: str) -> None:
    """Run one of Postgres's own programs to its end. Raises ServerFailed."""
    done = subprocess.run(  # noqa: S603 - our own list, no shell
        command_of(program, *arguments),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise ServerFailed(f"{program.name} failed: {done.stderr or done.stdout}")
